"""Pieces say which rows of their source they are, so that one that is lost on the way is missed at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

__all__ = ["drop_rows", "mark", "mark_all", "take_mark"]

_MARK = b"motet.rows"


def mark(piece: pa.RecordBatch, start: int, stop: int | None = None) -> pa.RecordBatch:
    """The piece, saying that it is the rows from `start` on, up to `stop` where that is known otherwise than by it."""
    rows = b"%d %d" % (start, start + len(piece) if stop is None else stop)
    return piece.replace_schema_metadata({**(piece.schema.metadata or {}), _MARK: rows})


def mark_all(pieces: Iterable[pa.RecordBatch], start: int = 0) -> Iterator[pa.RecordBatch]:
    """The pieces, which follow each other, the first of them from row `start` on."""
    for piece in pieces:
        yield mark(piece, start)
        start += len(piece)


def take_mark(piece: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[int, int] | None]:
    """The piece without its mark; and its first row and the one behind its last, None where it does not say."""
    metadata = dict(piece.schema.metadata or {})
    if _MARK not in metadata:
        return piece, None
    start, stop = map(int, metadata.pop(_MARK).split())
    return piece.replace_schema_metadata(metadata or None), (start, stop)


def drop_rows(pieces: Iterable[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
    """The pieces without their first `skip` rows."""
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            continue
        if skip:
            plain, rows = take_mark(piece)
            piece = plain.slice(skip) if rows is None else mark(plain.slice(skip), rows[0] + skip, rows[1])
            skip = 0
        yield piece
