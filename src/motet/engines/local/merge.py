"""Answers of rows that failed in an earlier run, put into that run's output at their places.

The output has all rows of its run but those that failed, in order, so the file of failures alone tells where each belongs.
Files of the output are written anew one by one, each by one rename, and a note in the journal says beforehand how many rows
each had: a merge that was killed is gone on with, and no row gets in twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from motet.engines.local.done import DONE
from motet.engines.local.folder_output import FINISHED
from motet.engines.local.journal import PieceJournal
from motet.engines.local.output import Output
from motet.engines.local.rows import count_rows
from motet.engines.local.selection import Chosen, Ids
from motet.errors import InputError, RunError
from motet.io import Source, open_source, open_writer
from motet.io.arrow.unify import unified_type
from motet.io.files import TABLE_SUFFIXES, FoundFile, find_files, suffix_of
from motet.io.fitted import fitted, may_fit
from motet.io.lines import LINES, lines_of, read_lines
from motet.io.places import place_of
from motet.io.sink import CountingWriter
from motet.io.stream import join
from motet.io.take import take_batch
from motet.io.target import MemoryTarget, write_file

__all__ = ["MergedOutput", "seems_output_of"]

READ_ROWS, READ_BYTES = 8_192, 16 << 20
"""The most rows that are put together at a time."""
_TEXT = ("csv", "jsonl")
_COLUMNS = "keep the columns that the output has, with --keep and --drop"


@dataclass
class _Part:
    """A file of the output.

    Attributes:
        file: the file.
        rows: rows it had before anything was merged.
    """

    file: FoundFile
    rows: int

    @property
    def format(self) -> str:
        return TABLE_SUFFIXES[suffix_of(self.file.name)]


class MergedOutput(Output):
    """An output that gets the answers of rows that failed in it.

    Args:
        path: the output.
        journal: holds the answers and the failures of this run, all of them when it is closed.
        rows: those that the output's own run played.
        failed: those of them that failed in it.
        answers: the answers of this run, in order.
        columns: their names.
        goes_on: whether the journal is of an earlier part of this run, and not of another one.
    """

    def __init__(
        self,
        path: str,
        journal: PieceJournal,
        rows: Chosen,
        failed: Ids,
        answers: Callable[[], Iterator[pa.RecordBatch]],
        columns: Sequence[str],
        *,
        goes_on: bool,
    ) -> None:
        self._goes_on = goes_on
        self._columns = list(columns)
        self.path, self._journal, self._rows, self._failed, self._answers = path, journal, rows, failed, answers
        self._parts: list[_Part] = []
        self._num_rows = 0

    @property
    def rows(self) -> int:
        """See `Output`."""
        return self._num_rows

    def check(self, schema: pa.Schema) -> None:
        """See that the output is the one in which the rows failed, before they are played again.

        Raises:
            InputError: when it is not, as far as its rows and columns tell; or cannot be merged into.
        """
        if place_of(f"{self.path.rstrip('/')}/{DONE}").exists():
            raise InputError(
                "was appended to, so it has rows of several runs",
                where=self.path,
                hint=f"write the answers to an output of their own: --output; {DONE} says which files a run has read",
            )
        files = find_files(self.path)
        for file in files:
            if suffix_of(file.name) not in TABLE_SUFFIXES or "=" in file.path.removeprefix(file.root):
                raise InputError(
                    f"holds {file.name}, of a format or in a folder that cannot be merged into",
                    where=self.path,
                    hint="write the answers to an output of their own: --output",
                )
        noted = json.loads(self._journal.note() or "{}") if self._goes_on else {}
        self._parts = [_Part(file, noted[file.name] if file.name in noted else _count(file)) for file in files]
        total, before = self._total(), sum(part.rows for part in self._parts)
        if before != total - len(self._failed):
            raise InputError(
                f"has {before:,} rows; {total:,} were played, and {len(self._failed):,} of them failed",
                where=self.path,
                hint="give the output and all the failures of one run, and its options that choose rows",
            )
        self._check_columns(schema)

    def _total(self) -> int:
        total = self._rows.total
        assert total is not None
        outside = ~self._rows.has(self._failed)
        if outside.any() or (len(self._failed) and self._ranks()[-1] >= total):
            raise InputError(
                f"row {self._failed[outside][0] if outside.any() else self._failed[-1]} failed, and is none of those chosen",
                where="only_failed",
                hint="give the options of the run that the rows failed in",
            )
        return total

    def _check_columns(self, schema: pa.Schema) -> None:
        """See that the output has the columns that would be written, as far as their types are known."""
        for part in self._parts:
            if part.format not in _TEXT:
                _unified(_open(part.file).schema, schema, self._columns, str(part.file))
            elif part.format == "csv" and part.rows and len(schema) == len(self._columns):
                there = _Cursor(read_lines(part.file, quotes=True), str(part.file)).take(1)
                _check_header(there, _rendered([], schema, part), str(part.file))

    def _open(self, schema: pa.Schema) -> None:
        """Nothing is written before the journal has all of it."""

    def _write(self, batch: pa.RecordBatch) -> None:
        self._num_rows += len(batch)

    def start_over(self) -> None:
        """See `Output`."""
        super().start_over()
        self._num_rows = 0

    def abort(self) -> None:
        """Nothing is half written."""

    def close(self) -> None:
        """Put the answers at their places."""
        places = self._places()
        self._journal.put_note(json.dumps({part.file.name: part.rows for part in self._parts}))
        answers = _Cursor(self._answers(), self._journal.folder.where)
        first = 0
        for number, part in enumerate(self._parts):
            end = first + part.rows
            last = number == len(self._parts) - 1
            inside = places[slice(*np.searchsorted(places, [first, end + 1 if last else end]))] - first
            self._merge(part, inside, answers)
            first = end
        answers.end()
        self._mark(first + len(places))

    def _mark(self, rows: int) -> None:
        """Say of a folder how many rows its parts have now."""
        finished = place_of(f"{self.path.rstrip('/')}/{FINISHED}")
        if not place_of(self.path).names_folder or not finished.exists():
            return
        write_file(finished.plain, (json.dumps({"parts": len(self._parts), "rows": rows}) + "\n").encode())

    def _ranks(self) -> Ids:
        """Where the rows that failed stood among those of the output's own run."""
        return self._rows.ranks(self._failed)

    def _places(self) -> Ids:
        """For each answer, how many rows of the output come before it."""
        ranks = self._ranks() - np.arange(len(self._failed))
        again = [failure.row for piece in self._journal.pieces() for failure in self._journal.failures(piece)]
        return ranks[~np.isin(self._failed, np.array(again, np.int64))]

    def _merge(self, part: _Part, places: Ids, answers: _Cursor) -> None:
        """Write a file anew with the next answers at these places, unless that was done before this run was killed."""
        if not len(places):
            return
        there = _count(part.file)
        if there == part.rows + len(places):
            answers.pass_over(len(places))
            return
        if there != part.rows:
            raise RunError(f"has {there:,} rows now, and had {part.rows:,}", where=str(part.file))
        assert self.schema is not None
        write = _merge_text if part.format in _TEXT else _merge_typed
        write(part, places, answers, self.schema)


class _Cursor:
    """Batches as rows that are taken from their start on.

    Args:
        batches: the batches.
        where: what errors call them.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch], where: str) -> None:
        self._batches, self._where = batches, where
        self._held: list[pa.RecordBatch] = []

    def take(self, rows: int) -> list[pa.RecordBatch]:
        """The next so many rows."""
        found: list[pa.RecordBatch] = []
        while rows > 0:
            batch = self._held.pop() if self._held else next(self._batches, None)
            if batch is None:
                raise RunError(f"ends {rows:,} rows too early", where=self._where)
            found.append(batch.slice(0, rows))
            if len(batch) > rows:
                self._held.append(batch.slice(rows))
            rows -= len(found[-1])
        return found

    def some(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The next so many rows, batch by batch."""
        while rows > 0:
            for batch in self.take(min(rows, READ_ROWS)):
                rows -= len(batch)
                yield batch

    def pass_over(self, rows: int) -> None:
        """Leave the next so many rows out."""
        for _ in self.some(rows):
            pass

    def end(self) -> None:
        """See that nothing is left."""
        left = sum(map(len, chain(self._held, self._batches)))
        if left:
            raise RunError(f"has {left:,} rows too many", where=self._where)


def _interleaved(old: _Cursor, rows: int, new: _Cursor, places: Ids, size: int) -> Iterator[pa.RecordBatch]:
    """Rows of which each new one comes before the old one of its place, so many at a time."""
    at = places + np.arange(len(places))
    for start in range(0, rows + len(places), size):
        stop = min(rows + len(places), start + size)
        low, high = np.searchsorted(at, [start, stop])
        is_new = np.zeros(stop - start, bool)
        is_new[at[low:high] - start] = True
        together = join([*new.take(high - low), *old.take(stop - start - (high - low))])
        order = np.empty(stop - start, np.int64)
        order[is_new], order[~is_new] = np.arange(high - low), np.arange(high - low, stop - start)
        yield together if low == high else take_batch(together, order)
    old.end()
    new.end()


def _merge_typed(part: _Part, places: Ids, answers: _Cursor, schema: pa.Schema) -> None:
    """Merge into a file of Parquet or Arrow; its columns widen where those of the answers are wider."""
    source = _open(part.file)
    where = str(part.file)
    wanted = _unified(source.schema, schema, schema.names, where)
    row_bytes = (part.file.state()[0] or 1) / max(1, part.rows)
    size = _rows_of(row_bytes)
    old = _Cursor((_fitted(batch, wanted, where) for batch in source.batches(size, wanted.names)), where)
    new = _Cursor((_fitted(batch, wanted, where) for batch in answers.some(len(places))), where)
    rows = _interleaved(old, part.rows, new, places, size)
    _write(open_writer(part.file.place.plain, wanted), rows, part.rows + len(places), where)


def _merge_text(part: _Part, places: Ids, answers: _Cursor, schema: pa.Schema) -> None:
    """Merge into a file of CSV or JSON Lines; rows that are there stay what they are to the byte."""
    where = str(part.file)
    old = _Cursor(read_lines(part.file, quotes=part.format == "csv"), where)
    new = _Cursor(_rendered(answers.some(len(places)), schema, part), where)
    header: list[pa.RecordBatch] = []
    if part.format == "csv":
        header = new.take(1)
        there = old.take(1)
        if part.rows:
            _check_header(there, iter(header), where)
    size = _rows_of((part.file.state()[0] or 1) / max(1, part.rows))
    rows = _interleaved(old, part.rows, new, places, size)
    lines = part.rows + len(places) + len(header)
    _write(open_writer(part.file.place.plain, LINES, format="lines"), chain(header, rows), lines, where)


def _write(writer: CountingWriter, batches: Iterable[pa.RecordBatch], rows: int, where: str) -> None:
    """Write a file of so many rows."""
    try:
        for batch in batches:
            writer.write(batch)
        if writer.rows != rows:
            raise RunError(f"would have {writer.rows:,} rows in place of {rows:,}", where=where)
    except BaseException:
        writer.abort()
        raise
    writer.close()


def _rendered(batches: Iterable[pa.RecordBatch], schema: pa.Schema, part: _Part) -> Iterator[pa.RecordBatch]:
    """Answers as the bytes of their rows, in CSV behind those of the header."""
    is_csv, name = part.format == "csv", f"rows.{part.format}"
    for place, batch in enumerate(chain([schema.empty_table().to_batches()], ([each] for each in batches))):
        target = MemoryTarget()
        writer = open_writer(name, schema, target=target)
        for each in batch:
            writer.write(each)
        writer.close()
        rows = lines_of(target.content, quotes=is_csv)
        yield rows.slice(1) if place and is_csv else rows


def _check_header(there: Sequence[pa.RecordBatch], wanted: Iterator[pa.RecordBatch], where: str) -> None:
    """See that a file of CSV has the columns that the answers have."""
    names = [str(each.column(0)[0].as_py(), "utf-8", "replace").strip() for each in (there[0], next(wanted))]
    if names[0] != names[1]:
        raise InputError(f"has the columns {names[0]}; the answers have {names[1]}", where=where, hint=_COLUMNS)


def _unified(found: pa.Schema, schema: pa.Schema, columns: Sequence[str], where: str) -> pa.Schema:
    """The columns of both, of types that hold the values of both."""
    if set(found.names) != set(columns):
        names = f"has the columns {', '.join(found.names)}; the answers have {', '.join(columns)}"
        raise InputError(names, where=where, hint=_COLUMNS)
    fields = []
    for field in schema:
        kind = _of_both(found.field(field.name).type, field.type)
        if kind is None:
            what = f"column {field.name!r} is {found.field(field.name).type}; that of the answers is {field.type}"
            raise InputError(what, where=where, hint="write the answers to an output of their own: --output")
        fields.append(field.with_type(kind))
    return pa.schema(fields)


def _of_both(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type for the values of both: told by the types, else floats for numbers that are all floats, which is seen row by row."""
    known = unified_type(one, other)
    floats = [
        kind for kind in (other, one) if pa.types.is_floating(kind) and may_fit(one, kind) and may_fit(other, kind)
    ]
    return known if known is not None else next(iter(floats), None)


def _fitted(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(fitted(batch.select(schema.names), schema, where).columns, schema=schema)


def _rows_of(row_bytes: float) -> int:
    """Rows that are put together at a time, of this size."""
    return max(1, min(READ_ROWS, int(READ_BYTES / row_bytes)))


def _open(file: FoundFile) -> Source:
    return open_source(file.place.plain)


def seems_output_of(path: str, rows: int, failed: int) -> bool:
    """Whether an output has as many rows as a run of so many rows has answered, of which so many failed."""
    try:
        return sum(map(_count, find_files(path))) == rows - failed
    except (InputError, KeyError):  # it is none that can be read
        return False


def _count(file: FoundFile) -> int:
    """Rows of a file of an output."""
    format = TABLE_SUFFIXES[suffix_of(file.name)]
    if format in _TEXT:
        rows = sum(len(batch) for batch in read_lines(file, quotes=format == "csv"))
        return max(0, rows - 1) if format == "csv" else rows
    source = _open(file)
    return count_rows(source, source.schema.names)
