"""Folders of parts as output: parts of so many rows, or by the values of columns.

They stand aside until all are finished, and what was there stays until then. At the end the mark that all parts are there
goes, then the parts of an earlier result, then the new ones come, and last the mark: who lists the folder never sees parts
of two results.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from motet.engines.local.done import DONE
from motet.engines.local.output import Output
from motet.engines.local.work import UNFINISHED, WorkFolder
from motet.errors import InputError, RunError, UnknownNameError
from motet.io import open_writer
from motet.io.as_text import as_text, text_type
from motet.io.cutter import Cutter
from motet.io.files import TABLE_SUFFIXES, suffix_of
from motet.io.hive import NULL
from motet.io.places import file_system
from motet.io.remote import asking
from motet.io.sink import GROUP_BYTES, CountingWriter, check_format
from motet.io.stream import join
from motet.io.take import take_batch
from motet.io.target import DiskTarget, writing
from motet.io.uploads import StoreTarget, remove_files
from motet.system.limits import at_most

__all__ = ["Added", "FolderOutput", "FolderParts", "PartitionedOutput"]

FINISHED = "_finished.json"
"""Stands in a folder whose parts are all there."""
MOST_PARTITIONS = 10_000
_PART = re.compile(r"(?:[^/=]+=[^/]*/)*part-(\d+)\.(?:parquet|arrow|csv|jsonl)(?:\.\w+)?")


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


class FolderParts:
    """The parts of a folder.

    Args:
        path: the folder.
        work: where parts stand until they are finished.
        format: see `motet.io.open_writer`.
        added: how parts are added to those that are there; None replaces these.
    """

    def __init__(self, path: str, work: WorkFolder, format: str, added: Added | None = None) -> None:
        self.path, self._work, self._format, self._added = path.rstrip("/"), work, format, added
        self.first = 0 if added is None else added.first
        self._files, self._folder = file_system(self.path)
        self._staged: dict[str, str] = {}

    def check(self, schema: pa.Schema) -> None:
        """See that the format holds columns, and that the folder has no files that no run wrote: parts would be lost among them.

        Raises:
            InputError: when it does not, or has.
        """
        check_format(self.path, schema, format=self._format)
        with asking(self.path, self._files):
            visible = (name for name in self._found() if not any(part[0] in "_." for part in name.split("/")))
            foreign = [name for name in visible if suffix_of(name) in TABLE_SUFFIXES and not _PART.fullmatch(name)]
        if foreign:
            raise InputError(
                f"holds {foreign[0]}, which no run wrote; who reads the folder would read both",
                where=self.path,
                hint="write to another folder, or move it away",
            )

    def _found(self) -> list[str]:
        """The files below the folder, by their paths in it."""
        if self._files is not None:
            self._files.invalidate_cache()
            return [path[len(self._folder) + 1 :] for path in self._files.find(self._folder)]
        found = []
        for folder, folders, names in os.walk(self._folder):
            folders[:] = [name for name in folders if name != UNFINISHED]
            found += [os.path.relpath(os.path.join(folder, name), self._folder) for name in names]
        return found

    def begin(self, schema: pa.Schema) -> None:
        """See that parts of this schema may be added to those that are there.

        Raises:
            InputError: when they may not.
        """
        if self._added is not None:
            self._added.check(schema)

    def open(self, folder: str, number: int, schema: pa.Schema) -> CountingWriter:
        """A writer of the part of this number, in a folder of the output, which ends with a slash where it is another one."""
        name = self._name(folder, number)
        path, where = self._work.part(name), f"{self.path}/{name}"
        target = DiskTarget(path, where=where) if self._files is None else StoreTarget(where, self._files, path, None)
        self._staged[name] = path
        return open_writer(where, schema, format=self._format, target=target)

    def take(self, number: int, path: str) -> None:
        """Have a file of the output's file system, which somebody else has written, as the part of this number."""
        self._staged[self._name("", number)] = path

    def _name(self, folder: str, number: int) -> str:
        return f"{folder}part-{number:05d}.{self._format}"

    def publish(self, rows: int, end: int) -> None:
        """Put all parts where they belong, in place of those of an earlier result or beside them.

        Args:
            rows: rows that they hold.
            end: the number behind the last part.
        """
        with asking(self.path, self._files):
            there = self._found()
        old = [name for name in there if self._is_old(name)]
        kept = sum(_PART.fullmatch(name) is not None for name in there) - len(old)
        before = 0 if self._added is None else self._added.rows
        marks = {FINISHED: json.dumps({"parts": kept + len(self._staged), "rows": before + rows}) + "\n"}
        if self._added is not None:
            marks = {DONE: self._added.record(end), **marks}
        gone = [FINISHED] if self._added is not None else [FINISHED, DONE]
        if self._files is None:
            with writing(self.path):
                self._publish(Path(self._folder), gone, old, marks)
        else:
            with asking(self.path, self._files):
                self._publish_in_store(gone, old, marks)

    def _is_old(self, name: str) -> bool:
        """Whether a file is a part that goes when the new ones come: one that they replace, or of a run that was killed."""
        part = _PART.fullmatch(name)
        return part is not None and int(part[1]) >= self.first

    def _publish(self, folder: Path, gone: Sequence[str], old: Sequence[str], marks: Mapping[str, str]) -> None:
        for name in (*gone, *old):
            (folder / name).unlink(missing_ok=True)
        for name, path in self._staged.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, folder / name)
        for name in sorted({os.path.dirname(name) for name in old}, key=len, reverse=True):
            while name:
                with suppress(OSError):  # a folder that is not empty, or that is gone
                    (folder / name).rmdir()
                name = os.path.dirname(name)
        for name, text in marks.items():
            target = DiskTarget(str(folder / name), self._work.part(name))
            with target.open() as file:
                file.write(text.encode())
            target.publish()

    def _publish_in_store(self, gone: Sequence[str], old: Sequence[str], marks: Mapping[str, str]) -> None:
        staged = list(self._staged.values())
        for names in (gone, old):
            remove_files(self._files, [f"{self._folder}/{name}" for name in names])
        self._files.copy(staged, [f"{self._folder}/{name}" for name in self._staged])
        for name, text in marks.items():
            self._files.pipe_file(f"{self._folder}/{name}", text.encode())
        remove_files(self._files, staged)

    def discard(self) -> None:
        """Leave none."""
        staged, self._staged = list(self._staged.values()), {}
        with asking(self.path, self._files):
            if self._files is not None:
                remove_files(self._files, staged)
            else:
                for path in staged:
                    Path(path).unlink(missing_ok=True)


class FolderOutput(Output):
    """A folder of parts of so many rows.

    Args:
        parts: the folder.
        part_rows: rows of a part.
    """

    def __init__(self, parts: FolderParts, part_rows: int) -> None:
        self._parts, self._part_rows = parts, part_rows
        self._writer: CountingWriter | None = None
        self._count = self._rows = self._in_part = 0

    @property
    def rows(self) -> int:
        """See `Output`."""
        return self._rows + (0 if self._writer is None else self._writer.rows)

    def check(self, schema: pa.Schema) -> None:
        """See `Output`, and `FolderParts`."""
        self._parts.check(schema)

    def _open(self, schema: pa.Schema) -> None:
        self._parts.begin(schema)
        self._next_part(schema)

    def _next_part(self, schema: pa.Schema) -> None:
        self._writer = self._parts.open("", self._parts.first + self._count, schema)
        self._count, self._in_part = self._count + 1, 0

    def _write(self, batch: pa.RecordBatch) -> None:
        while self._in_part + batch.num_rows > self._part_rows:
            room = self._part_rows - self._in_part
            self._write_to_part(batch.slice(0, room))
            batch = batch.slice(room)
            self._close_part()
            self._next_part(self.schema)
        self._write_to_part(batch)

    def _close_part(self) -> None:
        assert self._writer is not None
        self._writer.close()
        self._rows, self._writer = self._rows + self._writer.rows, None

    def _write_to_part(self, batch: pa.RecordBatch) -> None:
        assert self._writer is not None
        self._writer.write(batch)
        self._in_part += batch.num_rows

    def start_over(self) -> None:
        """See `Output`."""
        super().start_over()
        self._writer = None
        self._count = self._rows = 0

    def close(self) -> None:
        """See `Output`."""
        self._close_part()
        self._parts.publish(self._rows, self._parts.first + self._count)

    def abort(self) -> None:
        """See `Output`."""
        if self._writer is not None:
            self._writer.abort()
        self._parts.discard()


class PartitionedOutput(Output):
    """A folder of folders, one for each value of a column, as Hive has them: `year=2024/month=1/part-00000.parquet`.

    Rows are put together in stretches of `part_rows` rows, or of `GROUP_BYTES` where they hold more; of each stretch every
    partition is one file, written at once, so that one file is open at a time. The order of rows is kept in a partition. The
    columns that it is by are in the names of the folders alone.

    Args:
        parts: the folder.
        by: the columns, the outer folder's first.
        part_rows: rows of a stretch.
    """

    def __init__(self, parts: FolderParts, by: Sequence[str], part_rows: int) -> None:
        self._parts, self._by, self._part_rows = parts, tuple(by), part_rows
        self._begin()

    def _begin(self) -> None:
        self._cutter = Cutter(self._part_rows, at_most(GROUP_BYTES, part=8), self._write_stretch)
        self._folders: set[str] = set()
        self._stretch, self._rows = self._parts.first, 0

    @property
    def rows(self) -> int:
        """See `Output`."""
        return self._cutter.rows

    def check(self, schema: pa.Schema) -> None:
        """See `Output`, and `FolderParts`."""
        for name in set(self._by) & set(schema.names):
            self._check_column(schema.field(name))
        self._parts.check(pa.schema([field for field in schema if field.name not in self._by]))

    def _open(self, schema: pa.Schema) -> None:
        """See `Output.open`.

        Raises:
            InputError: also when a column that it is by is not written, has no values that can be names, or is all there is.
        """
        for name in self._by:
            if name not in schema.names:
                raise UnknownNameError("column", name, schema.names, where="partition_by")
            self._check_column(schema.field(name))
        if len(schema) == len(self._by):
            raise InputError("no column is left to write", where="partition_by", hint="partition by fewer columns")
        self._parts.begin(pa.schema([field for field in schema if field.name not in self._by]))

    def _check_column(self, field: pa.Field) -> None:
        if pa.types.is_nested(field.type) or text_type(field.type) is None or set("/=") & set(field.name):
            raise InputError(
                f"no folder can be named by column {field.name!r} ({field.type})",
                where="partition_by",
                hint="partition by columns of numbers, strings, booleans, dates or times",
            )

    def _write(self, batch: pa.RecordBatch) -> None:
        self._cutter.add(batch)

    def _write_stretch(self, held: Sequence[pa.RecordBatch]) -> None:
        batch = join(held)
        rest = batch.drop_columns(list(self._by))
        for folder, rows in self._partitions(batch):
            self._folders.add(folder)
            if len(self._folders) > MOST_PARTITIONS:
                raise RunError(
                    f"there are more than {MOST_PARTITIONS:,} partitions by {', '.join(self._by)}",
                    where=self._parts.path,
                    hint="partition by a column of fewer values",
                )
            writer = self._parts.open(f"{folder}/", self._stretch, rest.schema)
            writer.write(take_batch(rest, rows))
            writer.close()
            self._rows += writer.rows
        self._stretch += 1

    def _partitions(self, batch: pa.RecordBatch) -> list[tuple[str, Any]]:
        """The folders of a stretch in the order in which they first come, and the rows of each."""
        codes = np.zeros(batch.num_rows, np.int64)
        names = [""]
        for name in self._by:
            texts = as_text(batch.column(name)).cast(pa.string()).dictionary_encode(null_encoding="encode")
            segments = [f"{name}={_segment(value)}" for value in texts.dictionary.to_pylist()]
            codes = codes * len(segments) + texts.indices.to_numpy()
            chosen, codes = np.unique(codes, return_inverse=True)
            names = [f"{names[code // len(segments)]}/{segments[code % len(segments)]}" for code in chosen.tolist()]
        order = np.argsort(codes, kind="stable")
        rows = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        pairs = [(names[codes[each[0]]][1:], each) for each in rows]
        return sorted(pairs, key=lambda pair: int(pair[1][0]))

    def start_over(self) -> None:
        """See `Output`."""
        super().start_over()
        self._begin()

    def close(self) -> None:
        """See `Output`."""
        self._cutter.flush()
        if self._rows != self.rows:
            raise RunError(f"took {self.rows:,} rows and wrote {self._rows:,}", where=self._parts.path)
        self._parts.publish(self._rows, self._stretch)

    def abort(self) -> None:
        """See `Output`."""
        self._parts.discard()


def _segment(value: str | None) -> str:
    """What names a value in a path: percent-encoded, so that it is what it was when it is read."""
    if value == NULL:
        raise RunError(f"no folder can be named {NULL}, which stands for null", hint="partition by another column")
    return NULL if value is None else quote(value, safe="")
