"""Functions over columns of any kind: types, shapes, putting together and picking out.

`cast` and `reshape` change the form, `stack`, `concat` and `where` put columns together, `pick` takes out, `pad` makes
rows of different lengths alike, `constant` gives every row the same value. Axes are those of a row, counted from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from motet.batch import Array, Column, Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows, dense, elementwise
from motet.ops._cast import cast_values
from motet.ops._kinds import NUMBERS, is_any, refuse
from motet.types import ANY, DTYPES, ColumnType, keeps_labels, returns

__all__ = ["cast", "concat", "constant", "pad", "pick", "reshape", "stack", "where"]


_PLAIN = NUMBERS | {"bool"}


def _joint(function: str, kinds: tuple[ColumnType, ...]) -> str:
    """The dtype that holds values of all these types: numpy's promotion for numbers, else they must agree."""
    dtypes = {kind.dtype for kind in kinds}
    if len(dtypes) == 1:
        return dtypes.pop()
    if not dtypes <= _PLAIN:
        refuse(function, "columns of numbers, or all of one dtype", *kinds)
    return str(np.result_type(*sorted(dtypes)))


def _cast_type(column: ColumnType, dtype: str = "") -> ColumnType:
    if dtype not in DTYPES or dtype == "any":
        raise ValueError(f"cast knows no dtype {dtype!r}; known: {', '.join(DTYPES[:-1])}")
    source = column.dtype
    texts = {"string", "bytes"}
    if (source == "bytes" and dtype not in texts) or (source == "string" and dtype == "bool"):
        refuse(f"cast to {dtype}", "numbers or strings" if dtype != "bool" else "numbers", column)
    if dtype == "bytes" and source not in {*texts, "any"}:
        refuse("cast to bytes", "strings", column)
    return ANY if is_any(column) else column.with_dtype(dtype)


@keeps_labels
@returns(_cast_type)
def cast(column: Rows, *, dtype: str) -> Array | Ragged:
    """The same values in another dtype.

    Numbers become whole numbers by dropping what is behind the point, booleans by being not 0, and strings as Python
    writes them. Strings become numbers as Python reads them, and bytes in UTF-8.

    Args:
        column: any shape; rows may differ in shape.
        dtype: one of the dtypes of column types, but `any`.

    Raises:
        InputError: when a value has no place in the dtype: NaN, out of range, not a number, not UTF-8.

    >>> cast(np.array([1.9, -1.9]), dtype="int64").tolist()
    [1, -1]
    """
    _cast_type(ANY, dtype)
    return elementwise(column, lambda values: cast_values(values, dtype))


def _stack_type(*columns: ColumnType) -> ColumnType:
    if not columns:
        raise ValueError("stack takes one column or more, got none")
    if is_any(*columns):
        return ANY
    shape = columns[0].shape
    if any(kind.shape != shape for kind in columns) or None in shape:
        refuse("stack", "columns of one fixed shape", *columns)
    return ColumnType(_joint("stack", columns), (len(columns), *shape))


@returns(_stack_type)
def stack(*columns: Rows) -> Array:
    """Put columns side by side along a new first axis: `n` numbers a row become `[n]`.

    Args:
        columns: all of one shape, `[...]` a row; numbers (numpy's promotion decides the dtype) or all of one dtype.

    Returns:
        Shape `[rows, n, ...]`.

    >>> stack(np.array([1, 2]), np.array([3, 4])).tolist()
    [[1, 3], [2, 4]]
    """
    arrays = [dense(column, "motet.ops.columns.stack") for column in columns]
    if len({array.shape for array in arrays}) != 1:
        raise InputError(
            f"columns of one shape are needed, got {', '.join(str(list(array.shape[1:])) for array in arrays)} a row",
            where="motet.ops.columns.stack",
        )
    return np.stack(arrays, axis=1)


def _concat_type(*columns: ColumnType, axis: int = 0) -> ColumnType:
    if not columns:
        raise ValueError("concat takes one column or more, got none")
    if is_any(*columns):
        return ANY
    axes = len(columns[0].shape)
    if not -axes <= axis < axes or any(len(kind.shape) != axes for kind in columns):
        refuse("concat", f"columns with as many axes, of which {axis} is one", *columns)
    shapes = [list(kind.shape) for kind in columns]
    lengths = [shape.pop(axis) for shape in shapes]
    if any(one is not None and other is not None and one != other for one, other in _pairs(shapes)):
        refuse("concat", f"columns that differ only in axis {axis}", *columns)
    total = None if None in lengths else sum(length or 0 for length in lengths)
    shape = [next((length for length in sides if length is not None), None) for sides in zip(*shapes, strict=True)]
    shape.insert(axis % axes, total)
    return ColumnType(_joint("concat", columns), tuple(shape))


def _pairs(shapes: list[list[int | None]]) -> list[tuple[int | None, int | None]]:
    return [pair for shape in shapes for other in shapes for pair in zip(shape, other, strict=True)]


@returns(_concat_type)
def concat(*columns: Rows, axis: int = 0) -> Array | Ragged:
    """Put the rows' arrays one after another along an axis they have.

    Args:
        columns: `[..., n, ...]` a row, the same but for that axis; rows may differ in shape.
        axis: which axis of a row, from 0; negative ones count from the end.

    >>> concat(np.array([[1, 2]]), np.array([[3]])).tolist()
    [[1, 2, 3]]
    """
    if all(isinstance(column, np.ndarray) for column in columns):
        arrays = [dense(column, "concat") for column in columns]
        if axis >= arrays[0].ndim - 1 or axis < 1 - arrays[0].ndim:
            raise InputError(f"a row has no axis {axis}", where="motet.ops.columns.concat")
        return np.concatenate(arrays, axis=axis + 1 if axis >= 0 else axis)
    rows = [np.concatenate(parts, axis=axis) for parts in zip(*columns, strict=True)]
    return Ragged.from_rows(rows, axes=None if rows else _axes(columns[0]))


def _axes(column: Rows) -> int:
    if isinstance(column, Ragged):
        return int(column.shapes.shape[1])
    return column.ndim - 1 if isinstance(column, np.ndarray) else 1


def _pick_type(column: ColumnType, index: int | Sequence[int] = 0, axis: int = 0) -> ColumnType:
    if is_any(column):
        return ANY
    axes = len(column.shape)
    if not -axes <= axis < axes:
        refuse("pick", f"columns with an axis {axis}", column)
    length = column.shape[axis]
    wanted = [index] if isinstance(index, int) else list(index)
    if length is not None and not all(-length <= one < length for one in wanted):
        raise ValueError(f"pick {index} is outside axis {axis} of {column}, of length {length}")
    shape = list(column.shape)
    shape[axis] = len(wanted)
    if isinstance(index, int):
        shape.pop(axis)
    return ColumnType(column.dtype, tuple(shape))


@returns(_pick_type)
def pick(column: Rows, *, index: int | Sequence[int], axis: int = 0) -> Array | Ragged:
    """Take positions out of each row.

    Args:
        column: at least one axis a row; rows may differ in shape.
        index: a position, whose axis goes, or a list of them, whose axis stays; negative ones count from the end.
        axis: which axis of a row, from 0; negative ones count from the end.

    Raises:
        InputError: when a row has no such position.

    >>> pick(np.array([[5, 6, 7]]), index=1).tolist(), pick(np.array([[5, 6, 7]]), index=[2, 0]).tolist()
    ([6], [[7, 5]])
    """
    chosen = index if isinstance(index, int) else list(index)

    def taken(values: Array) -> Array:
        try:
            return np.take(values, chosen, axis=axis + 1 if axis >= 0 else axis)
        except IndexError as error:
            raise InputError(
                f"{index} is outside axis {axis} of a row of shape {list(values.shape[1:])}",
                where="motet.ops.columns.pick",
            ) from error

    if isinstance(column, np.ndarray):
        return taken(column)
    parts = [taken(row[None])[0] for row in column]
    if parts and np.ndim(parts[0]) == 0:
        return np.array(parts)
    return Ragged.from_rows(parts, axes=None if parts else _axes(column))


def _constant_type(column: ColumnType, value: Any = None, dtype: str | None = None) -> ColumnType:
    held = _held(value, dtype)
    return ColumnType("string" if held.dtype == object else str(held.dtype), held.shape)


def _held(value: Any, dtype: str | None) -> Array:
    if value is None:
        raise ValueError("constant needs value: a number, a boolean, a string, or a list of these")
    array = np.asarray(value)
    if array.dtype.kind in "US":
        if array.dtype.kind == "S" or dtype not in (None, "string"):
            raise ValueError(f"constant holds strings as string, got {value!r} for {dtype or 'bytes'}")
        return array.astype(object)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"constant holds numbers, booleans and strings, got {value!r}")
    return array if dtype is None else cast_values(array, dtype)


@returns(_constant_type)
def constant(column: Column | Sequence[Array], *, value: Any, dtype: str | None = None) -> Array:
    """The same value for every row.

    Args:
        column: any; it only says how many rows there are.
        value: a number, a boolean, a string, or a list of these.
        dtype: of the result; None is float64 for fractions and int64 for whole numbers.

    Returns:
        Shape `[rows, ...]`, the axes of the value behind the rows.

    >>> constant(np.zeros((2, 9)), value=0.5, dtype="float32").tolist()
    [0.5, 0.5]
    """
    held = _held(value, dtype)
    result = np.empty((len(column), *held.shape), dtype=held.dtype)
    result[...] = held
    return result


def _where_type(condition: ColumnType, first: ColumnType, second: ColumnType) -> ColumnType:
    if condition.dtype not in ("bool", "any") or condition.shape:
        refuse("where", "one bool a row as its first column", condition)
    if is_any(first, second):
        return ANY
    if first.shape != second.shape or first.varies:
        refuse("where", "two columns of one fixed shape to choose from", first, second)
    return ColumnType(_joint("where", (first, second)), first.shape)


@returns(_where_type)
def where(condition: Array, first: Rows, second: Rows) -> Array:
    """From each row the first value where the condition holds, else the second.

    Args:
        condition: bool, shape `[rows]`.
        first: one fixed shape a row.
        second: the same shape; numbers (numpy's promotion decides the dtype) or the same dtype.

    >>> where(np.array([True, False]), np.array([1, 2]), np.array([8, 9])).tolist()
    [1, 9]
    """
    left, right = dense(first, "motet.ops.columns.where"), dense(second, "motet.ops.columns.where")
    if left.shape != right.shape:
        raise InputError(
            f"the columns to choose from differ in shape: {list(left.shape)} and {list(right.shape)}",
            where="motet.ops.columns.where",
        )
    holds = np.asarray(condition, dtype=bool)
    return np.where(holds.reshape(-1, *(1,) * (left.ndim - 1)), left, right)


def _reshape_type(column: ColumnType, shape: Sequence[int] = ()) -> ColumnType:
    if list(shape).count(-1) > 1 or any(side < -1 for side in shape):
        raise ValueError(f"shape has whole numbers of at least 0, and -1 at most once, got {list(shape)}")
    if is_any(column):
        return ANY
    if column.varies:
        if -1 in shape:
            refuse("reshape", "columns of fixed shape where -1 is to be worked out", column)
        return ColumnType(column.dtype, tuple(shape))
    have, known = math.prod(side or 0 for side in column.shape), math.prod(side for side in shape if side != -1)
    fits = have == known if -1 not in shape else known > 0 and have % known == 0
    if not fits:
        raise ValueError(f"reshape cannot bring {column}, {have} values, to {list(shape)}")
    return ColumnType(column.dtype, tuple(have // known if side == -1 else side for side in shape))


@returns(_reshape_type)
def reshape(column: Rows, *, shape: Sequence[int]) -> Array:
    """The same values in other axes, in the same order.

    Args:
        column: as many values a row as the shape has; rows may differ in shape.
        shape: the axes of a row; one may be -1, worked out from the others.

    Raises:
        InputError: when a row has another number of values.

    >>> reshape(np.arange(8).reshape(2, 4), shape=[2, 2]).tolist()
    [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    """

    def shaped(rows: Array) -> Array:
        # -1 is worked out from a row's size, not from the batch's: that would be unknown without rows.
        size, known = math.prod(rows.shape[1:]), math.prod(side for side in shape if side != -1)
        wanted = [size // known if side == -1 and known else side for side in shape]
        if -1 in wanted or math.prod(wanted) != size:
            raise InputError(
                f"a row of shape {list(rows.shape[1:])} has {size} values, which do not fit {list(shape)}",
                where="motet.ops.columns.reshape",
            )
        return rows.reshape(len(rows), *wanted)

    if isinstance(column, np.ndarray):
        return shaped(column)
    if not len(column):
        return np.empty((0, *(0 if side == -1 else side for side in shape)), dtype=getattr(column, "dtype", np.float32))
    return dense([shaped(row[None])[0] for row in column], "motet.ops.columns.reshape")


def _pad_type(column: ColumnType, to: int | Sequence[int] = (), value: float = 0, truncate: bool = False) -> ColumnType:
    lengths = _lengths(to)
    if column.dtype not in _PLAIN | {"any"}:
        refuse("pad", "numbers", column)
    if is_any(column):
        return ANY
    if len(lengths) > len(column.shape) or None in column.shape[len(lengths) :]:
        refuse(f"pad to {list(lengths)}", "columns whose other axes, behind the first of these, are fixed", column)
    for have, want in zip(column.shape, lengths, strict=False):
        if have is not None and have > want and not truncate:
            raise ValueError(f"pad to {list(lengths)} cannot hold {column}; truncate=True would cut it")
    return ColumnType(column.dtype, (*lengths, *column.shape[len(lengths) :]))


def _lengths(to: int | Sequence[int]) -> tuple[int, ...]:
    lengths = (to,) if isinstance(to, int) else tuple(to)
    if not lengths or any(length < 0 for length in lengths):
        raise ValueError(f"pad needs to, the length of the first axis or of the first axes, got {to!r}")
    return lengths


@returns(_pad_type)
def pad(column: Rows, *, to: int | Sequence[int], value: float = 0, truncate: bool = False) -> Array:
    """Make rows alike by adding values at the end of their axes.

    Args:
        column: numbers; rows may differ in the first axes.
        to: the length of the first axis, or of the first axes.
        value: what is added.
        truncate: cut what is longer, instead of refusing it.

    Returns:
        One array, shape `[rows, *to, ...]`.

    Raises:
        InputError: when a row is longer.

    >>> pad([np.array([1, 2]), np.array([3])], to=3).tolist()
    [[1, 2, 0], [3, 0, 0]]
    """
    lengths = _lengths(to)
    rest = column.shape[1 + len(lengths) :] if isinstance(column, np.ndarray) else _rest(column, len(lengths))
    dtype = (
        column.dtype if isinstance(column, (np.ndarray, Ragged)) else np.result_type(*column) if column else np.float32
    )
    result = np.full((len(column), *lengths, *rest), value, dtype=dtype)
    for target, row in zip(result, column, strict=True):
        if not truncate and any(have > want for have, want in zip(row.shape, lengths, strict=False)):
            raise InputError(
                f"a row of shape {list(row.shape)} is longer than {list(lengths)}",
                where="motet.ops.columns.pad",
                hint="give a greater to, or truncate=True",
            )
        part = row[tuple(slice(length) for length in lengths)]
        target[tuple(slice(length) for length in part.shape[: len(lengths)])] = part
    return result


def _rest(column: Ragged | Sequence[Array], count: int) -> tuple[int, ...]:
    """The axes behind the first ones, which all rows must share."""
    shapes = {tuple(row.shape[count:]) for row in column}
    if len(shapes) > 1:
        raise InputError(
            f"rows differ behind their first {count} axes: {sorted(shapes)[:3]}", where="motet.ops.columns.pad"
        )
    return shapes.pop() if shapes else ()
