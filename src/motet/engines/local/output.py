"""The final files: one file, or a folder that keeps the parts; and the failures beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from motet.engines.local.layout import FAILURES, failures_table
from motet.engines.local.replay import INPUT
from motet.errors import Failure
from motet.io import Writer, open_writer
from motet.io.files import TABLE_SUFFIXES, suffix_of
from motet.io.places import file_system, place_of
from motet.io.plugins import find_plugin
from motet.io.remote import asking, check_bucket
from motet.io.sink import can_hold, check_held

__all__ = ["FailureFile", "Output", "default_failed", "exists", "holds", "is_folder", "work_folder"]

PART_ROWS = 1_000_000
"""Rows of a part of a folder."""
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
    return bool(os.listdir(place.path)) if place.is_local and os.path.isdir(place.path) else place.exists()


def holds(output: str, field: pa.Field) -> bool:
    """Whether an output can hold a column; the parts of a folder are Parquet."""
    return can_hold("part.parquet" if is_folder(output) else output, field)


def default_failed(output: str) -> str:
    """Where failures go unless something else is said."""
    return f"{output.rstrip('/')}.failed.parquet"


def work_folder(output: str) -> Path:
    """Where a run keeps what is finished until the output is there."""
    place = place_of(output)
    if place.is_local:
        path = Path(place.path.rstrip("/"))
        return path.with_name(f"{path.name}.unfinished")
    from hashlib import sha256

    from motet.system.places import cache_folder

    return cache_folder() / "runs" / f"{sha256('://'.join(place.key).encode()).hexdigest()[:24]}.unfinished"


class Output:
    """Writes answers to a file, or to the parts of a folder; the same rows give the same bytes however they arrive.

    What is not finished stands in a folder of its own and is moved by rename, so that nobody sees half a file, and a
    killed run leaves nothing beside the output.

    Args:
        path: the file or folder; the parts of a folder are Parquet.
        scratch: where files stand until they are finished, on the same file system.
    """

    def __init__(self, path: str, scratch: Path) -> None:
        self.path, self._scratch = path, scratch
        self._folder = is_folder(path)
        self._writer: Writer | None = None
        self._schema: pa.Schema | None = None
        self._part = self._rows = 0

    def open(self, schema: pa.Schema) -> None:
        """Begin with this schema.

        Raises:
            InputError: when the format is unknown, or cannot hold a column.
        """
        self._schema = schema
        if self._folder:
            self._begin_folder()
        self._writer = _open(self._name(), schema, self._scratch)

    def _begin_folder(self) -> None:
        files, path = file_system(self.path.rstrip("/"))
        if files is None:
            Path(path).mkdir(parents=True, exist_ok=True)
            (Path(path) / FINISHED).unlink(missing_ok=True)
            return
        check_bucket(self.path, files, path)
        with asking(self.path, files):
            if files.exists(f"{path}/{FINISHED}"):
                files.rm_file(f"{path}/{FINISHED}")

    def _name(self) -> str:
        return f"{self.path.rstrip('/')}/part-{self._part:05d}.parquet" if self._folder else self.path

    @property
    def is_open(self) -> bool:
        """Whether the schema is known."""
        return self._schema is not None

    def check(self, schema: pa.Schema) -> None:
        """See that the format is known, and holds the columns of which the types are known, before rows are played.

        Raises:
            InputError: when it is or does not.
        """
        name = self._name()
        if suffix_of(name) not in TABLE_SUFFIXES and find_plugin("motet.sinks", name, None) is None:
            open_writer(name, FAILURES)
        check_held(name, schema, self.path)

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows; an output that was not opened has the types of the first ones."""
        if self._schema is None:
            self.open(batch.schema)
        self._write_parts(batch)

    def _write_parts(self, batch: pa.RecordBatch) -> None:
        while self._folder and self._rows + batch.num_rows > PART_ROWS:
            room = PART_ROWS - self._rows
            self._write(batch.slice(0, room))
            batch = batch.slice(room)
            self._next_part()
        self._write(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self._writer is not None
        self._writer.write(batch)
        self._rows += batch.num_rows

    def _next_part(self) -> None:
        assert self._writer is not None
        self._writer.close()
        _move(self._name(), self._scratch)
        self._part, self._rows = self._part + 1, 0
        self._writer = _open(self._name(), self._schema, self._scratch)

    def start_over(self) -> None:
        """Forget what was written, and its types."""
        self.abort()
        self._writer = self._schema = None
        self._part = self._rows = 0

    def close(self) -> None:
        """Put the file, or the last part, where it belongs."""
        if self._writer is not None:
            self._writer.close()
            _move(self._name(), self._scratch)
        if self._folder:
            text = json.dumps({"parts": self._part + 1, "rows": self._part * PART_ROWS + self._rows}) + "\n"
            self._end_folder(text)

    def _end_folder(self, text: str) -> None:
        """Remove parts of an earlier, longer result, and say that all is there."""
        files, path = file_system(self.path.rstrip("/"))
        if files is None:
            for part in Path(path).glob("part-*"):
                if self._is_other(part.stem):
                    part.unlink()
            (Path(path) / FINISHED).write_text(text, encoding="utf-8")
            return
        with asking(self.path, files):
            for name in files.glob(f"{path}/part-*"):
                if self._is_other(Path(name).stem):
                    files.rm_file(name)
            files.pipe_file(f"{path}/{FINISHED}", text.encode())

    def _is_other(self, stem: str) -> bool:
        number = stem.removeprefix("part-")
        return number.isdecimal() and int(number) > self._part

    def abort(self) -> None:
        """Leave nothing half-written."""
        if self._writer is not None:
            self._writer.abort()


def _open(path: str, schema: pa.Schema, scratch: Path) -> Writer:
    """A writer of what will be at `path`."""
    if _is_elsewhere(path, scratch):
        return open_writer(path, schema)
    scratch.mkdir(parents=True, exist_ok=True)
    return open_writer(scratch / Path(path).name, schema, where=path)


def _move(path: str, scratch: Path) -> None:
    if not _is_elsewhere(path, scratch):
        (scratch / Path(path).name).replace(path)


def _is_elsewhere(path: str, scratch: Path) -> bool:
    """Whether a rename from the scratch folder cannot reach a path: its writer takes care of it then."""
    if "://" in path:
        return True
    parent = Path(path).parent
    return not parent.is_dir() or parent.stat().st_dev != scratch.parent.stat().st_dev


class FailureFile:
    """Writes failures, to Parquet or by the suffix of the path.

    Args:
        path: the file.
        scratch: where it stands until it is finished, on the same file system.
        identity: what tells the input from others, None where nothing does; asked for when the first row failed.
        always: whether it is written when no row failed.
        path_of: the file of a row of the source, written beside its failure; None where rows have none.
    """

    def __init__(
        self,
        path: str,
        scratch: Path,
        identity: Callable[[], str | None],
        *,
        always: bool,
        path_of: Callable[[int], str] | None = None,
    ) -> None:
        self.path, self._scratch, self._identity, self._path_of = path, scratch, identity, path_of
        self._schema = (FAILURES if path_of is None else FAILURES.append(PATH)).append(INPUT)
        self._writer: Writer | None = _open(path, self._schema, scratch) if always else None

    def write(self, failures: Sequence[Failure]) -> None:
        """Write failures."""
        if not failures:
            return
        if self._writer is None:
            self._writer = _open(self.path, self._schema, self._scratch)
        table = failures_table(failures)
        if self._path_of is not None:
            table = table.append_column(PATH, pa.array([self._path_of(each.row) for each in failures], PATH.type))
        inputs = pa.repeat(pa.scalar(self._identity(), INPUT.type), len(failures))
        self._writer.write(table.append_column(INPUT, inputs))

    def close(self) -> str:
        """Put the file where it belongs; a stale one goes when no row failed. The path, empty where there is no file."""
        if self._writer is not None:
            self._writer.close()
            _move(self.path, self._scratch)
            return self.path
        if "://" not in self.path:
            Path(self.path).unlink(missing_ok=True)
        return ""

    def abort(self) -> None:
        """Leave nothing half-written."""
        if self._writer is not None:
            self._writer.abort()
