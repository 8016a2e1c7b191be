"""Several sources one after another, such as the parts of a folder, as one: with the columns that they have together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.io.arrow import arrow_type
from motet.io.arrow.unify import unified_fields, unified_type
from motet.io.fitted import UNREADABLE, fitted, may_fit
from motet.io.stream import Stream, drop_rows
from motet.types import ColumnType

__all__ = ["PartsSource"]


class PartsSource(Stream):
    """Sources one after another, such as the parts of a folder.

    It has every column that a part has; in parts without it, it is null. Types are unified (see `unified_type`); where they
    cannot, numbers are read as their declared type, row by row, and any other column can only be left out: it carries
    `UNREADABLE`, and reading it is refused. A part without rows has no say.

    Args:
        parts: at least one.
        description: what they are together.
        types: declared column types.
    """

    def __init__(
        self, parts: Sequence[Stream], description: str, types: Mapping[str, ColumnType] | None = None
    ) -> None:
        self._parts, self.description, self._types = list(parts), description, types or {}
        heard = [part for part in parts if part.num_rows != 0] or parts[:1]
        found = unified_fields([part.schema for part in heard])
        fields = [field or _settled(name, heard, self._types.get(name)) for name, field in found.items()]
        self.schema = pa.schema(fields)

    @property
    def num_rows(self) -> int | None:
        """The rows of all parts, None where one does not know."""
        counts = [part.num_rows for part in self._parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    def fingerprint(self) -> str:
        """A digest of the parts' own."""
        return hashlib.sha256("\n".join(part.fingerprint() for part in self._parts).encode()).hexdigest()

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; parts that are skipped whole are not opened where they know their rows."""
        for part in self._parts:
            count = part.num_rows
            inside = skip if count is None else min(skip, count)
            if count is None:
                seen = 0
                for piece in part.pieces(_present(part, columns), 0, rows):
                    yield from self._unified(drop_rows([piece], max(0, skip - seen)), columns, part)
                    seen += len(piece)
                inside = min(skip, seen)
            elif inside < count:
                yield from self._unified(part.pieces(_present(part, columns), inside, rows), columns, part)
            skip -= inside

    def pieces_at(
        self, positions: npt.NDArray[np.int64], columns: Sequence[str], rows: int
    ) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces_at`; only parts that hold a position are opened where all know their rows."""
        total = self.num_rows
        if total is None or (len(positions) and positions[-1] >= total):
            yield from super().pieces_at(positions, columns, rows)
            return
        start = 0
        for part in self._parts:
            stop = start + (part.num_rows or 0)
            low, high = np.searchsorted(positions, [start, stop])
            if high > low:
                pieces = part.pieces_at(positions[low:high] - start, _present(part, columns), rows)
                yield from self._unified(pieces, columns, part)
            start = stop

    def _unified(
        self, pieces: Iterator[pa.RecordBatch], columns: Sequence[str], part: Stream
    ) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([self.schema.field(name) for name in columns])
        return (fitted(piece, schema, part.description, self._types) for piece in pieces)


def _present(part: Stream, columns: Sequence[str]) -> list[str]:
    """The columns that a part has; one of its others where it has none of them, so that its rows are counted."""
    return [name for name in columns if name in part.schema.names] or part.schema.names[:1]


def _settled(name: str, parts: Sequence[Stream], kind: ColumnType | None) -> pa.Field:
    """The field of a column whose types do not unify: its declared type where that is of numbers, as all of them are."""
    stored = {field.type: part for part in parts for field in part.schema if field.name == name}
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
