"""Batches: rows held by column.

A column is a numpy array whose first axis is the row (strings and bytes: an array of objects), or a `Ragged` where
rows differ in shape. A batch is columns by name plus the rows' ids, their positions in the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.errors import InputError
from motet.types import ColumnType

__all__ = [
    "Batch",
    "Column",
    "Ragged",
    "as_array",
    "as_column",
    "as_named",
    "column_bytes",
    "column_type",
    "concat_columns",
    "empty_column",
    "equal_shapes",
    "fits",
    "hold_as",
    "is_exactly",
    "objects",
    "read_only",
    "take_columns",
    "take_rows",
    "unmasked",
]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


def as_named(result: Any) -> Mapping[str, Any] | None:
    """What was returned as columns by name: a mapping, a named tuple, a structured array, a frame or an Arrow table.

    Returns:
        None where it is none of these.
    """
    if hasattr(result, "_asdict"):
        return result._asdict()  # type: ignore[no-any-return]
    if isinstance(result, Mapping):
        return result
    if isinstance(result, np.ndarray):
        names: Any = result.dtype.names
    else:
        names = getattr(result, "column_names", None) or getattr(result, "columns", None)  # of Arrow; of frames
    if names is None or not hasattr(result, "__getitem__") or callable(names):
        return None
    return {str(name): result[name] for name in names if isinstance(name, str)}


class Ragged:
    """A column whose rows differ in shape: flat values, offsets and shapes.

    Args:
        values: all rows one after another, shape `[total]`.
        offsets: where each row begins, and where the last one ends, shape `[rows + 1]`.
        shapes: the axes of each row, shape `[rows, axes]`.
    """

    __slots__ = ("offsets", "shapes", "values")

    def __init__(self, values: Array, offsets: Indices, shapes: Indices) -> None:
        self.values, self.offsets, self.shapes = values, offsets, shapes

    @classmethod
    def from_rows(cls, rows: Sequence[Any], dtype: npt.DTypeLike | None = None, axes: int | None = None) -> Ragged:
        """Hold arrays, one a row, that agree in dtype and number of axes.

        Args:
            rows: the arrays; any may be empty.
            dtype: what to convert them to; None takes what they have.
            axes: the number of axes of a row; needed only when there are no rows.

        Raises:
            InputError: when the rows differ in their number of axes.
        """
        arrays = [np.asarray(row, dtype=dtype) for row in rows]
        axes = axes if axes is not None else (arrays[0].ndim if arrays else 1)
        for position, array in enumerate(arrays):
            if array.ndim != axes:
                raise InputError(f"row {position} has shape {list(array.shape)} where {axes} axes are expected")
        shapes = np.array([array.shape for array in arrays], dtype=np.int64).reshape(len(arrays), axes)
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum(shapes.prod(axis=1), out=offsets[1:])
        flat = [array.reshape(-1) for array in arrays]
        return cls(np.concatenate(flat) if flat else np.empty(0, dtype=dtype or np.float64), offsets, shapes)

    @classmethod
    def from_dense(cls, array: Array) -> Ragged:
        """Hold the rows of an array, shape `[rows, ...]`, all of one shape."""
        rows, size = len(array), int(np.prod(array.shape[1:], dtype=np.int64))
        shapes = np.tile(np.array(array.shape[1:], dtype=np.int64), (rows, 1)).reshape(rows, array.ndim - 1)
        return cls(np.ascontiguousarray(array).reshape(-1), np.arange(rows + 1, dtype=np.int64) * size, shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: Any) -> Any:
        """One row, a view with its own shape."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        index = range(len(self))[index]
        return self.values[self.offsets[index] : self.offsets[index + 1]].reshape(self.shapes[index])

    def __iter__(self) -> Iterator[Array]:
        return (self[index] for index in range(len(self)))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of every row."""
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.values.nbytes + self.offsets.nbytes + self.shapes.nbytes

    def take(self, indices: npt.ArrayLike) -> Ragged:
        """The rows at these positions, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        rows = [self.values[self.offsets[index] : self.offsets[index + 1]] for index in chosen]
        offsets = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return Ragged(np.concatenate(rows) if rows else self.values[:0], offsets, self.shapes[chosen])

    def rows(self) -> list[Array]:
        """All rows, views with their own shapes."""
        return list(self)

    def dense(self) -> Array:
        """One array, shape `[rows, ...]`; every row must have the same shape."""
        shape = tuple(self.shapes[0]) if len(self) else (0,) * self.shapes.shape[1]
        return self.values[self.offsets[0] : self.offsets[-1]].reshape(len(self), *shape)

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {self.shapes.shape[1]} axes, {self.dtype})"


# No subclass of it, since whether something is an instance of an abstract class takes long to tell.
Sequence.register(Ragged)
Column = Array | Ragged


class Batch:
    """Rows held by column.

    Args:
        columns: columns by name, all of the same number of rows.
        ids: the rows' positions in the source, shape `[rows]`, int64; None numbers them from 0.
        num_rows: needed only where there are neither columns nor ids.
    """

    __slots__ = ("columns", "ids")

    def __init__(
        self, columns: Mapping[str, Column], ids: npt.ArrayLike | None = None, num_rows: int | None = None
    ) -> None:
        self.columns = dict(columns)
        if ids is None:
            first = next(iter(self.columns.values()), None)
            ids = np.arange(len(first) if first is not None else num_rows or 0, dtype=np.int64)
        self.ids = np.asarray(ids, dtype=np.int64)
        for name, column in self.columns.items():
            if len(column) != len(self.ids):
                raise InputError(f"column {name!r} has {len(column)} rows, the batch has {len(self.ids)}")

    @classmethod
    def of(cls, columns: dict[str, Column], ids: Indices) -> Batch:
        """The batch of columns that are known to have as many rows as there are ids; takes both as they are."""
        batch = cls.__new__(cls)
        batch.columns, batch.ids = columns, ids
        return batch

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes held by the columns; objects count as their pointers plus the length of strings and bytes."""
        return sum(column_bytes(column) for column in self.columns.values())

    def take(self, indices: npt.ArrayLike) -> Batch:
        """The rows at these positions, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Batch({name: take_rows(column, chosen) for name, column in self.columns.items()}, self.ids[chosen])

    def __repr__(self) -> str:
        return f"Batch({len(self)} rows: {', '.join(f'{name}: {column_type(c)}' for name, c in self.columns.items())})"


def empty_column(kind: ColumnType) -> Column:
    """A column of this type without rows."""
    if kind.varies:
        axes = len(kind.shape)
        return Ragged(np.empty(0, kind.numpy_dtype), np.zeros(1, np.int64), np.empty((0, axes), np.int64))
    return np.empty((0, *kind.least_shape), kind.numpy_dtype)


def take_rows(column: Column, indices: Indices | slice) -> Column:
    """The rows of a column at these positions."""
    if isinstance(column, Ragged):
        return column.take(np.arange(len(column))[indices]) if isinstance(indices, slice) else column.take(indices)
    return column[indices]


def take_columns(
    columns: Sequence[Column] | Mapping[str, Column], indices: Indices | slice
) -> list[Column] | dict[str, Column]:
    """The rows at these positions of columns, in order or by name."""
    if isinstance(columns, Mapping):
        return {name: take_rows(column, indices) for name, column in columns.items()}
    return [take_rows(column, indices) for column in columns]


def concat_columns(parts: Sequence[Column]) -> Column:
    """One column of the rows of several, in order. Parts are all dense of one shape, or any are ragged."""
    if len(parts) == 1:
        return parts[0]
    if Ragged not in {*map(type, parts)}:
        dense: Sequence[Array] = parts  # type: ignore[assignment]
        if len({part.shape[1:] for part in dense}) == 1:
            return np.concatenate(dense)
    filled = [part for part in parts if len(part)] or [parts[0]]
    if len(filled) == 1:
        return filled[0]
    return Ragged.from_rows([row for part in filled for row in part])


def as_column(values: Any) -> Column:
    """Hold what a user gave or a function returned as a column.

    An array stays an array (numpy strings become objects); a list in which there is a null, a string or bytes becomes
    objects; a list of arrays becomes `Ragged`, also when they happen to agree in shape, and so does a list of lists that
    differ in length; any other list becomes an array.

    Raises:
        InputError: when lists are nested unevenly, or it cannot be an array.
    """
    if isinstance(values, Ragged):
        return values
    if isinstance(values, (list, tuple)):
        if len(values) and hasattr(values[0], "detach"):
            values = [as_array(value) for value in values]
        if any(value is None or isinstance(value, (str, bytes, bytearray, memoryview)) for value in values):
            return objects(values)
        if any(isinstance(value, np.ndarray) and value.ndim > 0 for value in values):
            return Ragged.from_rows(values)
        return _column_of_list(values)
    array = as_array(values)
    return array.astype(object) if array.dtype.kind in "SUT" else array


def as_array(values: Any) -> Array:
    """What numpy takes as an array; tensors without their gradients, from wherever they are; narrow floats as float32.

    Raises:
        InputError: when it cannot be one.
    """
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            values = values.float() if _NARROW.search(str(values.dtype)) else values
        array = np.asarray(values)
    except (TypeError, RuntimeError) as error:
        raise InputError(f"a {type(values).__name__} cannot be an array: {error}", hint="give a numpy array") from error
    return array.astype(np.float32) if array.dtype.kind == "V" and _NARROW.match(array.dtype.name) else array


_NARROW = re.compile(r"bfloat16|float8")
"""The floats that numpy has not, all of which are also floats of 32 bits."""


def _column_of_list(values: Sequence[Any]) -> Column:
    try:
        array = np.asarray(values)
    except ValueError:
        try:
            return Ragged.from_rows(values)
        except ValueError:
            raise InputError(
                "lists are nested unevenly", hint="give each row as an array, all with the same number of axes"
            ) from None
    if array.dtype.kind in "SU":  # as they were: "3" beside 3, bytes that end in 0
        return np.asarray(values, object)
    return array


def unmasked(array: Any) -> Array:
    """A masked array of numpy without its mask: as objects, with None where it is masked, where any value is."""
    values = np.asarray(array.data)
    if np.ma.is_masked(array):
        values = values.astype(object)
        values[np.ma.getmaskarray(array)] = None
    return values


def read_only(array: Array) -> Array:
    """A view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def objects(values: Sequence[Any]) -> Array:
    """An array of Python objects, one a row, shape `[rows]`."""
    return np.fromiter(values, dtype=object, count=len(values))


def fits(column: Column, kind: ColumnType) -> bool:
    """Whether every row of a column is of a type."""
    if kind.dtype == "any":
        return True
    if isinstance(column, Ragged):
        axes = column.shapes.shape[1]
        if _dtype_name(column.values) not in (kind.dtype, "any") or axes != len(kind.shape):
            return False
        return all(want is None or (column.shapes[:, axis] == want).all() for axis, want in enumerate(kind.shape))
    got = column_type(column)
    return got.dtype == "any" if kind.is_object and got.dtype == "any" else kind.accepts(got) and got.dtype != "any"


def hold_as(column: Column, kind: ColumnType) -> Column | None:
    """A column as its type wants it held: `Ragged` where rows may differ in shape; None where it is of another type."""
    if kind.varies and isinstance(column, np.ndarray) and column.dtype != object:
        column = Ragged.from_dense(column)
    if not kind.varies and isinstance(column, Ragged) and len(column) and (column.shapes == column.shapes[0]).all():
        column = column.dense()
    if not len(column):
        return column if kind.dtype == "any" else empty_column(kind)
    return column if fits(column, kind) else None


def column_type(column: Column) -> ColumnType:
    """The type that a column shows."""
    if isinstance(column, Ragged):
        return ColumnType(_dtype_name(column.values), (None,) * column.shapes.shape[1])
    name = _dtype_name(column)
    return ColumnType(name, () if name == "any" else tuple(column.shape[1:]))


def is_exactly(array: Any, kind: ColumnType, rows: int) -> bool:
    """Whether something is an array of this type as it is; most are, and need no closer look."""
    if not isinstance(array, np.ndarray):
        return False
    dtype = array.dtype
    if dtype != kind.numpy_dtype or array.shape != (rows, *kind.shape):
        return False
    if dtype.kind != "O":
        return True
    return kind.dtype == "string" and {*map(type, array.reshape(-1)[:1000].tolist())} == {str}


_NAMES: dict[np.dtype[Any], str] = {}
"""The names of dtypes that were seen; numpy makes them anew each time."""


def _dtype_name(array: Array) -> str:
    dtype = array.dtype
    if dtype.kind != "O":
        if (name := _NAMES.get(dtype)) is None:
            name = _NAMES[dtype] = dtype.name
            if len(_NAMES) > 1000:
                _NAMES.clear()
        return name
    kinds = {type(value) for value in array.flat[:1000] if value is not None}
    if kinds and kinds <= {str, np.str_}:
        return "string"
    return "bytes" if kinds and kinds <= {bytes, bytearray, memoryview, np.bytes_} else "any"


def column_bytes(column: Column) -> int:
    """Bytes that a column holds."""
    if isinstance(column, np.ndarray) and column.dtype == object:
        return column.nbytes + sum(len(value) for value in column.flat if isinstance(value, (str, bytes)))
    return column.nbytes


def equal_shapes(shapes: Indices) -> list[Indices]:
    """The places of rows of equal shape together, groups in the order of their first row.

    Args:
        shapes: the axes of each row, shape `[rows, axes]`.
    """
    _, first, inverse = np.unique(shapes, axis=0, return_index=True, return_inverse=True)
    return [np.flatnonzero(inverse.reshape(-1) == group) for group in np.argsort(first)]
