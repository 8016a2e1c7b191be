"""Several sources one after another, such as the parts of a folder, as one: with the columns that they have together."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import combinations

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.io.arrow import arrow_type
from motet.io.arrow.unify import unified_fields, unified_type
from motet.io.fitted import UNREADABLE, fitted, may_fit
from motet.io.hive import FolderColumn, with_folder_columns
from motet.io.marks import drop_rows, mark_all
from motet.io.splits import Split, runs, whole
from motet.io.stream import Seen, Stream
from motet.types import ColumnType

__all__ = ["PartsSource"]

_MEASURED_PARTS = 64


class PartsSource(Stream):
    """Sources one after another, such as the parts of a folder.

    It has every column that a part has; in parts without it, it is null. Types are unified (see `unified_type`); where they
    cannot, numbers are read as their declared type, row by row, and any other column can only be left out: it carries
    `UNREADABLE`, and reading it is refused. A part without rows has no say.

    Args:
        parts: at least one.
        description: what they are together.
        types: declared column types.
        folders: columns that the folders of each part have; one that a part has itself is read from there.
    """

    def __init__(
        self,
        parts: Sequence[Stream],
        description: str,
        types: Mapping[str, ColumnType] | None = None,
        folders: Sequence[Mapping[str, FolderColumn]] | None = None,
    ) -> None:
        self._parts, self.description, self._types = list(parts), description, types or {}
        self._folders = [_lacking(part, each) for part, each in zip(parts, folders or [{}] * len(parts), strict=True)]
        heard = [(part, _schema(part, each)) for part, each in zip(parts, self._folders, strict=True)]
        heard = [each for each in heard if each[0].num_rows != 0] or heard[:1]
        found = unified_fields([schema for _, schema in heard])
        fields = [field or _settled(name, heard, self._types.get(name)) for name, field in found.items()]
        self.schema = pa.schema(fields)

    def has_itself(self, name: str) -> bool:
        """Whether a part has a column, and not only its folders."""
        return any(name in part.schema.names and name not in part.lacks for part in self._parts)

    @property
    def num_rows(self) -> int | None:
        """The rows of all parts, None where one does not know."""
        counts = [part.num_rows for part in self._parts]
        return None if None in counts else sum(filter(None, counts))

    def fingerprint(self) -> str:
        """A digest of the parts' own, and of what their folders say."""
        said = [[f"{name}={column.value}" for name, column in each.items()] for each in self._folders if each]
        own = "\n".join(part.fingerprint() for part in self._parts)
        return hashlib.sha256(f"{own}{said or ''}".encode()).hexdigest()

    def count(self) -> int | None:
        """See `Stream.count`."""
        counts = [part.count() for part in self._parts]
        return None if None in counts else sum(filter(None, counts))

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `Stream.splits`; those of large parts, and several small parts together."""
        cut = [part.splits(target_bytes) for part in self._parts]
        sizes = [sum(each.bytes for each in splits) if len(splits) < 2 else 2 * target_bytes for splits in cut]
        found, first = [], 0
        for several in runs(sizes, target_bytes):
            inside = [split for splits in cut[several] for split in splits]
            rows = sum(each.rows for each in inside)
            if several.stop - several.start > 1:
                inside = whole(self._some(self._parts[several], several), rows, sum(each.bytes for each in inside))
            else:
                inside = [replace(each, source=self._some([each.source], several)) for each in inside]
            found += [replace(each, first=first + each.first) for each in inside]
            first += rows
        return found

    def _some(self, parts: Sequence[Stream], places: slice) -> PartsSource:
        """A source of some of the parts, with the columns of all."""
        some = copy(self)
        some._parts, some._folders, some.reads = list(parts), self._folders[places], ()
        return some

    def files(self) -> Sequence[Seen]:
        """See `Stream.files`."""
        return [seen for part in self._parts for seen in part.files()]

    def stored_row_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.stored_row_bytes`; by some parts from all over."""
        some = self._parts[:: max(1, len(self._parts) // _MEASURED_PARTS)]
        names = [[name for name in columns if name in part.schema.names] for part in some]
        return max((part.stored_row_bytes(each) for part, each in zip(some, names, strict=True)), default=0.0)

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; parts that are skipped whole are not opened where they know their rows."""
        yield from mark_all(self._pieces(columns, skip, rows), skip)

    def _pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        for part, folders in zip(self._parts, self._folders, strict=True):
            count = part.num_rows
            inside = skip if count is None else min(skip, count)
            if count is None:
                seen = 0
                for piece in part.counted(part.pieces(_present(part, columns, folders), 0, rows), 0):
                    yield from self._unified(drop_rows([piece], max(0, skip - seen)), columns, part, folders)
                    seen += len(piece)
                inside = min(skip, seen)
            elif inside < count:
                pieces = part.counted(part.pieces(_present(part, columns, folders), inside, rows), inside)
                yield from self._unified(pieces, columns, part, folders)
            skip -= inside

    def pieces_at(self, positions: Indices, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces_at`; only parts that hold a position are opened where all know their rows."""
        total = self.num_rows
        if total is None or (len(positions) and positions[-1] >= total):
            yield from super().pieces_at(positions, columns, rows)
            return
        start = 0
        for part, folders in zip(self._parts, self._folders, strict=True):
            stop = start + (part.num_rows or 0)
            low, high = np.searchsorted(positions, [start, stop])
            if high > low:
                pieces = part.pieces_at(positions[low:high] - start, _present(part, columns, folders), rows)
                yield from self._unified(pieces, columns, part, folders)
            start = stop

    def _unified(
        self,
        pieces: Iterator[pa.RecordBatch],
        columns: Sequence[str],
        part: Stream,
        folders: Mapping[str, FolderColumn],
    ) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([self.schema.field(name) for name in columns])
        pieces = with_folder_columns(pieces, folders, columns) if folders else pieces
        return (fitted(piece, schema, part.description, self._types) for piece in pieces)


def _present(part: Stream, columns: Sequence[str], folders: Collection[str]) -> list[str]:
    """The columns that a part has; one of its others where it has none of them, so that its rows are counted."""
    own = [name for name in part.schema.names if name not in folders]
    return [name for name in columns if name in own] or own[:1] or part.schema.names[:1]


def _lacking(part: Stream, folders: Mapping[str, FolderColumn]) -> dict[str, FolderColumn]:
    """The columns of folders that a part does not have itself."""
    return {name: column for name, column in folders.items() if name not in part.schema.names or name in part.lacks}


def _schema(part: Stream, folders: Mapping[str, FolderColumn]) -> pa.Schema:
    """The columns of a part, and those that its folders have."""
    own = (field for field in part.schema if field.name not in folders)
    return pa.schema([*own, *(pa.field(name, column.value.type) for name, column in folders.items())])


def _settled(name: str, parts: Sequence[tuple[Stream, pa.Schema]], kind: ColumnType | None) -> pa.Field:
    """The field of a column whose types do not unify: its declared type where that is of numbers, as all of them are."""
    stored = {field.type: part for part, schema in parts for field in schema if field.name == name}
    declared = arrow_type(kind) if kind is not None and not kind.shape else None
    if declared is not None and all(may_fit(each, declared) for each in stored):
        return pa.field(name, declared)
    pairs = combinations(stored, 2)
    one, other = next((pair for pair in pairs if unified_type(*pair) is None), (next(iter(stored)), None))
    reason = f"differs: it is {one} in {stored[one].description}"
    reason += (
        f", {other} in {stored[other].description}" if other is not None else " in one of two columns of this name"
    )
    return pa.field(name, one, metadata={UNREADABLE: reason.encode()})
