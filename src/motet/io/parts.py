"""Several sources of one schema, one after another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from motet.errors import InputError
from motet.io.stream import Stream, drop_rows

__all__ = ["PartsSource"]


class PartsSource(Stream):
    """Sources one after another, such as the parts of a folder.

    Args:
        parts: at least one; all of the same columns and types.
        description: what they are together.

    Raises:
        InputError: when a part has other columns, or other types.
    """

    def __init__(self, parts: Sequence[Stream], description: str) -> None:
        self._parts, self.description, self.schema = list(parts), description, parts[0].schema
        for part in parts:
            if not part.schema.equals(self.schema):
                raise InputError(
                    f"differs in its columns from {parts[0].description}: {_difference(part.schema, self.schema)}",
                    where=part.description,
                    hint="parts of one input must agree in names, order and types of columns",
                )

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
            if count is not None:
                inside = min(skip, count)
                if inside < count:
                    yield from part.pieces(columns, inside, rows)
                skip -= inside
                continue
            seen = 0
            for piece in part.pieces(columns, 0, rows):
                yield from drop_rows([piece], max(0, skip - seen))
                seen += len(piece)
            skip = max(0, skip - seen)

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
                yield from part.pieces_at(positions[low:high] - start, columns, rows)
            start = stop


def _difference(got: pa.Schema, wanted: pa.Schema) -> str:
    if got.names != wanted.names:
        return f"it has {', '.join(got.names)} instead of {', '.join(wanted.names)}"
    name = next(name for name in wanted.names if got.field(name) != wanted.field(name))
    return f"column {name!r} is {got.field(name).type} instead of {wanted.field(name).type}"
