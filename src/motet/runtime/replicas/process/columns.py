"""Columns as bytes in shared memory, and back.

DENSE    one array
TEXT     strings: how many letters each has, and all of them as UTF-8; where there are nulls, which ones
BYTES    the same for bytes
RAGGED   rows that differ in shape: values, offsets, shapes
LIST     a list of arrays, held as RAGGED
PICKLED  anything else
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
TEXT: Final = 1
BYTES: Final = 2
RAGGED: Final = 3
LIST: Final = 4
PICKLED: Final = 5
ASKED: Final = 6
_ALIGNED = 64


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
    if piece.form in (DENSE, ASKED):
        return arrays[0]
    if piece.form in (TEXT, BYTES):
        return _strings(piece.form == TEXT, *arrays)
    if piece.form == PICKLED:
        return pickle.loads(arrays[0].data)
    ragged = Ragged(*arrays)
    return ragged if piece.form == RAGGED else ragged.rows()


def _parts(value: Any) -> tuple[int, tuple[Array, ...]]:
    """The form of a value, and the arrays that it is made of."""
    if isinstance(value, Ragged):
        if value.dtype.kind not in "OV":
            return RAGGED, (value.values, value.offsets, value.shapes)
        return _pickled(value)
    if isinstance(value, (list, tuple)):
        return _list_parts(value)
    array = np.asarray(value)
    if array.dtype.kind == "O":
        return _object_parts(array)
    return _pickled(array) if array.dtype.kind == "V" else (DENSE, (array,))


def _list_parts(rows: Sequence[Any]) -> tuple[int, tuple[Array, ...]]:
    first = rows[0] if rows else None
    if not isinstance(first, np.ndarray) or first.dtype.kind in "OV" or not first.ndim:
        return _pickled(list(rows))
    if any(type(row) is not np.ndarray or row.dtype != first.dtype or row.ndim != first.ndim for row in rows):
        return _pickled(list(rows))
    ragged = Ragged.from_rows(rows)
    return LIST, (ragged.values, ragged.offsets, ragged.shapes)


def _object_parts(array: Array) -> tuple[int, tuple[Array, ...]]:
    values = array.ravel().tolist()
    kinds = set(map(type, values))
    nulls: tuple[Array, ...] = ()
    if memoryview in kinds:  # which cannot be pickled
        values = [bytes(value) if type(value) is memoryview else value for value in values]
        array, kinds = objects(values).reshape(array.shape), set(map(type, values))
    if type(None) in kinds and len(kinds) == 2 and kinds < {type(None), str, bytes}:
        kinds.remove(type(None))
        nulls = (np.fromiter((value is None for value in values), np.bool_, len(values)),)
        values = [value or next(iter(kinds))() for value in values]
    if kinds == {str}:
        form, whole = TEXT, "".join(values).encode("utf-8", "surrogatepass")
    elif kinds == {bytes}:
        form, whole = BYTES, b"".join(values)
    else:
        return _pickled(array)
    lengths = np.fromiter(map(len, values), np.int64, len(values)).reshape(array.shape)
    return form, (lengths, np.frombuffer(whole, np.uint8), *nulls)


def _strings(is_text: bool, lengths: Array, whole: Array, nulls: Array | None = None) -> Array:
    joined: Any = whole.tobytes()
    if is_text:
        joined = joined.decode("utf-8", "surrogatepass")
    ends = np.cumsum(lengths.ravel()).tolist()
    starts = [0, *ends[:-1]]
    values = [joined[start:end] for start, end in zip(starts, ends, strict=True)] if ends else []
    if nulls is not None:
        values = [None if null else value for value, null in zip(values, nulls.tolist(), strict=True)]
    return objects(values).reshape(lengths.shape)


def _pickled(value: Any) -> tuple[int, tuple[Array, ...]]:
    try:
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"no other process can have it, for it cannot be pickled: {error}") from error
    return PICKLED, (np.frombuffer(data, np.uint8),)
