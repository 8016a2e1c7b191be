"""What the functions of `motet.ops` share: the forms that rows come in, and sums that do not depend on the neighbours.

A row's answer must have the same bits whatever shares its batch. Numpy's reductions keep that only along a contiguous
last axis without a cast, so `floats` gives exactly that, and the sums below fix the order of their additions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from motet.batch import Array, Indices, Ragged
from motet.errors import InputError
from motet.ops._kinds import WIDE

Rows = Array | Ragged | Sequence[Array]
"""A column as a map function gets it: one array, or rows that differ in shape."""

_SHORT = 32
"""Rows of up to this many values are summed from the first to the last, longer ones pairwise."""
_MANY = 2048
"""From this many values on, short rows are worked value by value over all rows: slower to start, faster to go on."""


def elementwise(column: Rows, function: Callable[[Array], Array]) -> Array | Ragged:
    """Apply a function that keeps shapes and looks at one element at a time."""
    if isinstance(column, np.ndarray):
        return function(column)
    ragged = column if isinstance(column, Ragged) else Ragged.from_rows(column)
    return Ragged(function(ragged.values), ragged.offsets, ragged.shapes)


def check_pieces(function: str, answers: Rows, counts: Indices) -> None:
    """See that what was answered is of the pieces of rows, one each: otherwise answers would be those of other rows.

    Args:
        function: that puts them together, for messages.
        answers: one a piece.
        counts: how many pieces each row has.

    Raises:
        InputError: when there are more or fewer.
    """
    if len(answers) != (total := int(counts.sum())):
        what = f"rows have {total:,} pieces, and {len(answers):,} were answered"
        raise InputError(what, where=f"motet.ops.{function}", hint="counts are those that came with the pieces")


def by_image(column: Rows, function: Callable[[Array], Array]) -> Array | Ragged:
    """Apply a function of whole batches, shape `[rows, ...]`, at once, or to each row alone where they differ in shape.

    Returns:
        A contiguous array, or a `Ragged`.
    """
    if isinstance(column, np.ndarray):
        return np.ascontiguousarray(function(column))
    if not len(column):
        ragged = column if isinstance(column, Ragged) else Ragged.from_rows(column)
        nothing = function(np.empty((0, *(1,) * ragged.shapes.shape[1]), dtype=ragged.dtype))
        return Ragged.from_rows([], dtype=nothing.dtype, axes=nothing.ndim - 1)
    return Ragged.from_rows([function(row[None])[0] for row in column])


def dense(column: Rows, function: str) -> Array:
    """The column as one array, shape `[rows, ...]`.

    Raises:
        InputError: when rows differ in shape.
    """
    if isinstance(column, np.ndarray):
        return column
    rows = list(column)
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise InputError(
            f"rows differ in shape: {', '.join(str(list(shape)) for shape in sorted(shapes)[:3])}",
            where=function,
            hint="make them alike first, for example with motet.ops.columns.pad",
        )
    return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)


def floats(column: Rows, function: str) -> Array:
    """The column as a contiguous array of float64 where it is that, else of float32; at least one axis a row.

    Raises:
        InputError: when rows differ in shape, are single numbers, or have no values.
    """
    array = dense(column, function)
    if array.ndim < 2 or not array.shape[-1]:
        raise InputError(
            f"every row needs at least one value on its last axis, got an array of shape {list(array.shape)}",
            where=function,
            hint="the first axis is the row: write [[0.1, 0.9]] for one row of two values",
        )
    return np.ascontiguousarray(array, dtype=np.float64 if array.dtype.char == "d" else np.float32)


_MOST_WHOLE = 1 << 53
"""Whole numbers up to this one are float64, too."""


def exact_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The floats that hold numbers of a dtype: float64 for float64 and whole numbers of 32 bits or more, else float32."""
    return np.dtype(np.float64 if dtype.name in WIDE else np.float32)


def check_whole(values: Array, function: str) -> None:
    """See that float64 holds whole numbers.

    Raises:
        InputError: when there is one that it does not hold, whose last digits would be lost.
    """
    if values.dtype.name not in ("int64", "uint64") or not values.size:
        return
    most = max(int(values.max()), -int(values.min()))
    if most > _MOST_WHOLE:
        what = f"whole numbers beyond 2**53 lose their last digits, and there is one of size {most}"
        raise InputError(what, where=function, hint="take away what they have in common, or cast them to float64")


def check_real(dtype: np.dtype[Any], function: str, what: str) -> None:
    """See that values are real numbers, or true and false: as floats, texts would be read and complex ones lose a part.

    Args:
        dtype: of the values.
        function: for messages.
        what: whose values they are, for messages.

    Raises:
        InputError: when they are something else.
    """
    if dtype.kind not in "biuf":
        raise InputError(f"vectors are real numbers; {what} is of {dtype}", where=function)


def exact_floats(column: Rows, function: str) -> Array:
    """As `floats`, in float64 also where the column has whole numbers of 32 bits or more.

    Raises:
        InputError: also when one is none that float64 holds, or they are no real numbers.
    """
    array = dense(column, function)
    check_real(array.dtype, function, "a column")
    check_whole(array, function)
    return floats(array.astype(exact_type(array.dtype), copy=False), function)


def sum_last(values: Array) -> Array:
    """Sums along the last axis of a contiguous array of floats, shape `[..., n]` to `[...]`.

    The order of the additions follows from `n` alone.
    """
    if values.shape[-1] > _SHORT:
        return np.asarray(np.add.reduce(values, axis=-1))
    if values.size < _MANY:
        return np.asarray(np.add.accumulate(values, axis=-1)[..., -1])
    return sum_first(np.moveaxis(values, -1, 0))


def sum_first(values: Array) -> Array:
    """Sums along the first axis, from the first to the last, shape `[n, ...]` to `[...]`."""
    total: Array = values[0].copy()
    for part in values[1:]:
        total += part
    return total


def short_and_many(values: Array) -> bool:
    """Whether working value by value over all rows is faster than row by row."""
    return values.shape[-1] <= _SHORT and values.size >= _MANY
