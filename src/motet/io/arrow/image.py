"""Files of pictures into pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from motet.batch import Column, Ragged
from motet.errors import InputError
from motet.io.arrow.dense import raw_parts
from motet.io.arrow.nested import nested
from motet.pictures import Array, begins_as_picture, read_picture
from motet.types import ColumnType

__all__ = ["decode_among", "decode_images", "holds_pictures"]

_HEADS = (b"BM", b"RI", b"\x89P", b"\xff\xd8", b"GI", b"II", b"MM", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
_BEGINS = np.isin(np.arange(1 << 16), [int.from_bytes(head, "little") for head in _HEADS])
"""By the first two bytes of a row: whether it is worth a closer look."""


def decode_images(encoded: Sequence[bytes | None], kind: ColumnType) -> tuple[Column, dict[int, str]]:
    """Read files of pictures; the ones that can be read, and by position why the others cannot.

    Args:
        encoded: files as they are on disk; None is left out of both.
        kind: a type that `motet.pictures.is_picture`.

    Raises:
        MissingExtraError: when Pillow is not installed.
    """
    images: list[Array] = []
    bad: dict[int, str] = {}
    for position, data in enumerate(encoded):
        if data is None:
            continue
        try:
            images.append(read_picture(data, kind))
        except InputError as error:
            bad[position] = error.what
    return _column(images, kind), bad


def holds_pictures(array: pa.Array) -> bool:
    """Whether any row of a binary array, no view, begins as the file of a picture does."""
    offsets, data = raw_parts(array)
    begins = offsets[: np.searchsorted(offsets, len(data) - 1)]  # those with two bytes behind them
    heads = data[begins] | data[begins + 1].astype(np.uint16) << 8
    return any(begins_as_picture(array[row].as_py() or b"") for row in np.flatnonzero(_BEGINS[heads]).tolist())


def decode_among(array: pa.Array, kind: ColumnType) -> tuple[Column, dict[int, str]]:
    """Read rows of which some are files of pictures and others, as `kind` has them, the pixels themselves.

    A row of as many bytes as pixels is those where it cannot be read as a file.
    """
    images: list[Array] = []
    bad: dict[int, str] = {}
    for position, data in enumerate(array.to_pylist()):
        if data is None:
            continue
        column, wrong = decode_images([data], kind) if begins_as_picture(data) else nested(pa.array([data]), kind)
        if wrong and len(data) == kind.row_bytes:
            column, wrong = nested(pa.array([data]), kind)
        images += list(column)
        if wrong:
            bad[position] = wrong[0]
    return _column(images, kind), bad


def _column(images: Sequence[Array], kind: ColumnType) -> Column:
    if kind.varies:
        return Ragged.from_rows(images, np.uint8, len(kind.shape))
    return np.stack(images) if images else np.empty((0, *kind.shape), np.uint8)  # type: ignore[arg-type]
