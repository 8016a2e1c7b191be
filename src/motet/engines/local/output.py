"""The final files: one file, or a folder of parts; and the failures beside them. Nobody sees half of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from motet.engines.local.done import DONE
from motet.engines.local.layout import FAILURES, failures_table
from motet.engines.local.replay import INPUT
from motet.engines.local.work import UNFINISHED, WorkFolder
from motet.errors import Failure, InputError
from motet.io import Writer, open_writer
from motet.io.files import TABLE_SUFFIXES, suffix_of
from motet.io.places import file_system, place_of
from motet.io.plugins import find_plugin
from motet.io.remote import asking
from motet.io.sink import CountingWriter, can_hold, check_held
from motet.io.target import DiskTarget, StoreTarget, target_of, writing
from motet.io.uploads import remove_files

__all__ = [
    "Added", "FailureFile", "FileOutput", "FolderOutput", "Output", "default_failed", "exists", "holds", "is_folder", "open_output"
]  # fmt: skip
PATH = pa.field("path", pa.string(), nullable=False)
"""The file that a failed row was read from, where a row is a file."""
FINISHED = "_finished.json"
"""Stands in a folder whose parts are all there."""


def is_folder(output: str) -> bool:
    """Whether an output is a folder of parts: its path ends in `/`, or a folder is there."""
    return place_of(output).names_folder


def exists(output: str) -> bool:
    """Whether an output is there already: a file, or a folder with something in it."""
    place = place_of(output)
    if not is_folder(output):
        return place.exists()
    with asking(output, place.fs):
        return any(name != UNFINISHED for name in _names(place.fs, place.path))


def _names(files: Any, folder: str) -> list[str]:
    """The names of what is in a folder; none where there is no folder."""
    try:
        if files is None:
            return os.listdir(folder)
        files.invalidate_cache()
        return [path.rstrip("/").rpartition("/")[2] for path in files.ls(folder.rstrip("/"), detail=False)]
    except FileNotFoundError:
        return []


def holds(output: str, field: pa.Field) -> bool:
    """Whether an output can hold a column; the parts of a folder are Parquet."""
    return can_hold("part.parquet" if is_folder(output) else output, field)


def default_failed(output: str) -> str:
    """Where failures go unless something else is said."""
    return f"{output.rstrip('/')}.failed.parquet"


class Output(Protocol):
    """Where answers are written to; the same rows give the same bytes however they arrive. One thread may touch it."""

    @property
    def is_open(self) -> bool:
        """Whether the schema is known."""
        ...

    @property
    def rows(self) -> int:
        """Rows that its writers have taken, as they count them."""
        ...

    def check(self, schema: pa.Schema) -> None:
        """See that the format is known, and holds the columns of which the types are known, before rows are played.

        Raises:
            InputError: when it is or does not.
        """
        ...

    def open(self, schema: pa.Schema) -> None:
        """Begin with this schema.

        Raises:
            InputError: when the format is unknown, or cannot hold a column.
        """
        ...

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows; an output that was not opened has the types of the first ones."""
        ...

    def start_over(self) -> None:
        """Forget what was written, and its types."""
        ...

    def close(self) -> None:
        """Put all of it where it belongs."""
        ...

    def abort(self) -> None:
        """Leave what was there as it was, and nothing half-written."""
        ...


class FileOutput:
    """One file.

    Args:
        path: the file.
        work: where it stands until it is finished.
    """

    def __init__(self, path: str, work: WorkFolder) -> None:
        self._path, self._work = path, work
        self._writer: CountingWriter | None = None

    @property
    def is_open(self) -> bool:
        """See `Output`."""
        return self._writer is not None

    @property
    def rows(self) -> int:
        """See `Output`."""
        return 0 if self._writer is None else self._writer.rows

    def check(self, schema: pa.Schema) -> None:
        """See `Output`."""
        _check_format(self._path, schema, self._path)

    def open(self, schema: pa.Schema) -> None:
        """See `Output`."""
        self._writer = _open(self._path, schema, self._work)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `Output`."""
        if self._writer is None:
            self.open(batch.schema)
        assert self._writer is not None
        self._writer.write(batch)

    def start_over(self) -> None:
        """See `Output`."""
        self.abort()
        self._writer = None

    def close(self) -> None:
        """See `Output`."""
        assert self._writer is not None
        self._writer.close()

    def abort(self) -> None:
        """See `Output`."""
        if self._writer is not None:
            self._writer.abort()


@dataclass(frozen=True)
class Added:
    """How parts are added to a folder that has some.

    Attributes:
        first: the number of the first one to write; those from there on that are there are of a run that was killed, and go.
        rows: rows that those before hold.
        check: told the schema of the parts; refuses another than theirs.
        record: gives the text of the record of what is done, of the number behind the last part.
    """

    first: int
    rows: int
    check: Callable[[pa.Schema], None]
    record: Callable[[int], str]


class FolderOutput:
    """A folder of parts. They stand aside until all are finished, and what was there stays until then.

    At the end the mark that all parts are there goes, then the parts of an earlier result, then the new ones come, and last
    the mark: who lists the folder never sees parts of two results.

    Args:
        path: the folder.
        work: where parts stand until they are finished.
        part_rows: rows of a part.
        added: how parts are added to those that are there; None replaces these.
    """

    def __init__(self, path: str, work: WorkFolder, part_rows: int, added: Added | None = None) -> None:
        self._added, self._first = added, 0 if added is None else added.first
        self.path, self._work, self._part_rows = path, work, part_rows
        self._files, self._folder = file_system(path.rstrip("/"))
        self._writer: CountingWriter | None = None
        self._schema: pa.Schema | None = None
        self._parts: list[str] = []
        self._rows = self._in_part = 0

    @property
    def is_open(self) -> bool:
        """See `Output`."""
        return self._schema is not None

    @property
    def rows(self) -> int:
        """See `Output`."""
        return self._rows + (0 if self._writer is None else self._writer.rows)

    def check(self, schema: pa.Schema) -> None:
        """See `Output`.

        Raises:
            InputError: also when the folder holds files that no run wrote, among which the parts would be lost.
        """
        _check_format("part.parquet", schema, self.path)
        foreign = [
            name
            for name in _names(self._files, self._folder)
            if not name.startswith(("_", ".")) and suffix_of(name) in TABLE_SUFFIXES and not _PART.fullmatch(name)
        ]
        if foreign:
            raise InputError(
                f"holds {foreign[0]}, which no run wrote; who reads the folder would read both",
                where=self.path,
                hint="write to another folder, or move it away",
            )

    def open(self, schema: pa.Schema) -> None:
        """See `Output`."""
        if self._added is not None:
            self._added.check(schema)
        self._schema = schema
        self._next_part()

    def _next_part(self) -> None:
        name = f"part-{self._first + len(self._parts):05d}.parquet"
        path, where = self._work.part(name), f"{self.path.rstrip('/')}/{name}"
        target = DiskTarget(path, where=where) if self._files is None else StoreTarget(where, self._files, path, None)
        self._writer = open_writer(where, self._schema, target=target)
        self._parts.append(name)
        self._in_part = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """See `Output`."""
        if not self.is_open:
            self.open(batch.schema)
        assert self._writer is not None
        while self._in_part + batch.num_rows > self._part_rows:
            room = self._part_rows - self._in_part
            self._write(batch.slice(0, room))
            batch = batch.slice(room)
            self._close_part()
            self._next_part()
        self._write(batch)

    def _close_part(self) -> None:
        assert self._writer is not None
        self._writer.close()
        self._rows, self._writer = self._rows + self._writer.rows, None

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self._writer is not None
        self._writer.write(batch)
        self._in_part += batch.num_rows

    def start_over(self) -> None:
        """See `Output`."""
        self.abort()
        self._writer = self._schema = None
        self._rows = 0

    def close(self) -> None:
        """See `Output`."""
        self._close_part()
        end, before = self._first + len(self._parts), 0 if self._added is None else self._added.rows
        marks = {FINISHED: json.dumps({"parts": end, "rows": before + self._rows}) + "\n"}
        if self._added is not None:
            marks = {DONE: self._added.record(end), **marks}
        if self._files is None:
            with writing(self.path):
                self._end(marks)
        else:
            with asking(self.path, self._files):
                self._end_in_store(marks)

    def _is_old(self, name: str) -> bool:
        """Whether a file goes when the new parts come: a part that they replace, or of a run that was killed; and marks."""
        if name in (FINISHED, DONE):
            return name == FINISHED or self._added is None
        part = _PART.fullmatch(name)
        return part is not None and int(part[1]) >= self._first

    def _end(self, marks: Mapping[str, str]) -> None:
        folder = Path(self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(filter(self._is_old, _names(None, self._folder))):  # the marks first
            (folder / name).unlink()
        for name in self._parts:
            os.replace(self._work.part(name), folder / name)
        for name, text in marks.items():
            Path(self._work.part(name)).write_text(text, encoding="utf-8")
            os.replace(self._work.part(name), folder / name)

    def _end_in_store(self, marks: Mapping[str, str]) -> None:
        staged = [self._work.part(name) for name in self._parts]
        old = sorted(filter(self._is_old, _names(self._files, self._folder)))
        remove_files(self._files, [f"{self._folder}/{name}" for name in old if name in (FINISHED, DONE)])
        remove_files(self._files, [f"{self._folder}/{name}" for name in old if name not in (FINISHED, DONE)])
        self._files.copy(staged, [f"{self._folder}/{name}" for name in self._parts])
        for name, text in marks.items():
            self._files.pipe_file(f"{self._folder}/{name}", text.encode())
        remove_files(self._files, staged)

    def abort(self) -> None:
        """See `Output`."""
        if self._writer is not None:
            self._writer.abort()
        staged, self._parts = [self._work.part(name) for name in self._parts], []
        with asking(self.path, self._files):
            if self._files is not None:
                remove_files(self._files, staged)
            else:
                for path in staged:
                    Path(path).unlink(missing_ok=True)


_PART = re.compile(r"part-(\d+)\.parquet")


def open_output(path: str, work: WorkFolder, part_rows: int, added: Added | None = None) -> Output:
    """The output of a path: a folder of parts, or a file."""
    return FolderOutput(path, work, part_rows, added) if is_folder(path) else FileOutput(path, work)


def _check_format(name: str, schema: pa.Schema, where: str) -> None:
    """See that a format is known, and holds columns."""
    if suffix_of(name) not in TABLE_SUFFIXES and find_plugin("motet.sinks", name, None) is None:
        open_writer(name, FAILURES)
    check_held(name, schema, where)


def _open(path: str, schema: pa.Schema, work: WorkFolder) -> CountingWriter:
    """A writer of a file, which stands aside until it is finished where a rename reaches it from there."""
    files, there = file_system(path)
    folder = os.path.dirname(os.path.realpath(there))
    near = files is None and work.device is not None and os.path.isdir(folder) and os.stat(folder).st_dev == work.device
    partial = work.part(os.path.basename(there)) if near else None
    return open_writer(path, schema, target=target_of(path, partial, where=path))


class FailureFile:
    """Writes failures, to Parquet or by the suffix of the path.

    Args:
        path: the file.
        work: where it stands until it is finished.
        identity: what tells the input from others, None where nothing does; asked for when the first row failed.
        always: whether it is written when no row failed.
        path_of: the file of a row of the source, written beside its failure; None where rows have none.
    """

    def __init__(
        self,
        path: str,
        work: WorkFolder,
        identity: Callable[[], str | None],
        *,
        always: bool,
        path_of: Callable[[int], str] | None = None,
    ) -> None:
        self.path, self._work, self._identity, self._path_of = path, work, identity, path_of
        self._schema = (FAILURES if path_of is None else FAILURES.append(PATH)).append(INPUT)
        self._writer: Writer | None = _open(path, self._schema, work) if always else None

    def write(self, failures: Sequence[Failure]) -> None:
        """Write failures."""
        if not failures:
            return
        if self._writer is None:
            self._writer = _open(self.path, self._schema, self._work)
        table = failures_table(failures)
        if self._path_of is not None:
            table = table.append_column(PATH, pa.array([self._path_of(each.row) for each in failures], PATH.type))
        inputs = pa.repeat(pa.scalar(self._identity(), INPUT.type), len(failures))
        self._writer.write(table.append_column(INPUT, inputs))

    def close(self) -> str:
        """Put the file where it belongs; a stale one goes when no row failed. The path, empty where there is no file."""
        if self._writer is not None:
            self._writer.close()
            return self.path
        files, path = file_system(self.path)
        if files is None:
            Path(path).unlink(missing_ok=True)
        else:
            with asking(self.path, files):
                remove_files(files, [path])
        return ""

    def abort(self) -> None:
        """Leave nothing half-written."""
        if self._writer is not None:
            self._writer.abort()
