"""Columns as bytes in shared memory, and back.

DENSE    one array
RAGGED   rows that differ in shape: values, offsets, shapes
LIST     a list of small arrays, held as RAGGED
PICKLED  anything else: its pickle, and the arrays in it that are large, which the pickle leaves out
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from mmap import mmap
from typing import Any, Final

import numpy as np

from motet.batch import Array, Ragged, objects
from motet.runtime.replicas.process.wire import ColumnPiece, Place

__all__ = ["ASKED", "Packed", "pack", "unpack"]

DENSE: Final = 0
RAGGED: Final = 1
LIST: Final = 2
PICKLED: Final = 3
ASKED: Final = 4
_ALIGNED = 64
_LARGE_BYTES = 2**12


class Packed:
    """Columns that are about to be written: where each will be, and how many bytes they take together."""

    __slots__ = ("_arrays", "num_bytes", "pieces")

    def __init__(self, pieces: tuple[ColumnPiece, ...], arrays: list[tuple[Array, int]], num_bytes: int) -> None:
        self.pieces, self._arrays, self.num_bytes = pieces, arrays, num_bytes

    def write(self, memory: Array | mmap) -> None:
        """Copy them; `memory` has at least `num_bytes` bytes."""
        for array, start in self._arrays:
            np.copyto(np.ndarray(array.shape, array.dtype, memory, start), array)


def pack(columns: Mapping[str, Any], asked: Array | None = None) -> Packed:
    """Columns as they will be in shared memory. Arrays are not copied yet.

    Args:
        columns: arrays, `Ragged`, lists of arrays, or anything that can be pickled or made an array, by name.
        asked: the memory of the request; arrays that are whole parts of it stay there.

    Raises:
        TypeError: where a value can neither be written as it is nor pickled.
    """
    arrays: list[tuple[Array, int]] = []
    pieces, start = [], 0
    for name, value in columns.items():
        if type(value) is not np.ndarray or value.dtype.kind in "OV":
            form, parts = _parts(value)
        elif asked is not None and value.base is asked and value.flags.c_contiguous:
            pieces.append(ColumnPiece(name, ASKED, ((value.dtype.str, value.shape, _start(value) - _start(asked)),)))
            continue
        else:
            form, parts = DENSE, (value,)
        places: list[Place] = []
        for array in parts:
            places.append((array.dtype.str, array.shape, start))
            arrays.append((array, start))
            start += (array.nbytes + _ALIGNED - 1) & -_ALIGNED
        pieces.append(ColumnPiece(name, form, tuple(places)))
    return Packed(tuple(pieces), arrays, start)


def unpack(pieces: Sequence[ColumnPiece], memory: Array, asked: Array | None = None) -> dict[str, Any]:
    """The columns that were written; arrays of numbers are views of `memory`, or of `asked`.

    Raises:
        Exception: where the pieces do not fit the memory, or what they hold is damaged.
    """
    return {piece.name: _value(piece, asked if piece.form == ASKED else memory) for piece in pieces}


def _start(array: Array) -> int:
    """Where an array is in this process's memory."""
    start: int = array.__array_interface__["data"][0]
    return start


def _value(piece: ColumnPiece, memory: Array | None) -> Any:
    arrays = [np.ndarray(shape, dtype, memory, start) for dtype, shape, start in piece.places]
    if piece.form == PICKLED:
        return pickle.loads(arrays[0].data, buffers=arrays[1:])
    if piece.form in (DENSE, ASKED):
        return arrays[0]
    ragged = Ragged(*arrays)
    return ragged if piece.form == RAGGED else ragged.rows()


def _parts(value: Any) -> tuple[int, tuple[Array, ...]]:
    """The form of a value, and the arrays that it is made of."""
    if isinstance(value, Ragged):
        if value.dtype.kind not in "OV":
            return RAGGED, (value.values, value.offsets, value.shapes)
    elif isinstance(value, (list, tuple)):
        value = list(value)
        if _are_small(value):
            ragged = Ragged.from_rows(value)
            return LIST, (ragged.values, ragged.offsets, ragged.shapes)
    else:
        value = np.asarray(value)
        if value.dtype.kind not in "OV":
            return DENSE, (value,)
        if value.dtype.kind == "O":
            value = _without_views(value)
    return PICKLED, _pickled(value)


def _are_small(rows: list[Any]) -> bool:
    """Whether rows are arrays of numbers of one type and as many axes, of which the first is small."""
    first = rows[0] if rows else None
    if type(first) is not np.ndarray or first.dtype.kind in "OV" or not first.ndim or first.nbytes >= _LARGE_BYTES:
        return False
    return all(type(row) is np.ndarray and row.dtype == first.dtype and row.ndim == first.ndim for row in rows)


def _without_views(array: Array) -> Array:
    """Objects with bytes in the place of memory views, which cannot be pickled."""
    values = array.ravel().tolist()
    if memoryview not in set(map(type, values)):
        return array
    return objects([bytes(each) if type(each) is memoryview else each for each in values]).reshape(array.shape)


def _pickled(value: Any) -> tuple[Array, ...]:
    apart: list[Array] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _LARGE_BYTES:
            apart.append(np.frombuffer(raw, np.uint8))
        return raw.nbytes < _LARGE_BYTES

    try:
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL, buffer_callback=stays)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"no other process can have it, for it cannot be pickled: {error}") from error
    return np.frombuffer(data, np.uint8), *apart
