"""Rows that are matrices, `[n, d]` each, as stacks `[g, n, d]` that one call works on, and what comes of them as rows again.

Rows of one shape are one stack as they are. Others are put with those of about their shape: the number of vectors is filled up
to a few sizes, with vectors of NaN behind, which no answer shows. To which size depends on the row alone, and so do the numbers
that it is worked with, whatever shares its batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from motet.batch import Array, Indices, Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows, check_real, check_whole, exact_type

MOST_VALUES = 1 << 22
"""How many numbers a stack and what comes of it may hold, where one row does not hold more."""
_SMALL = 128
"""Matrices of up to so many vectors are put together with others; larger ones are worked alone."""
Matrices = Array | Sequence[Array]
"""Matrices, one a row: an array `[rows, n, d]`, or arrays `[n, d]`."""


class StackedRows(NamedTuple):
    """Some rows, their matrices one behind the other.

    Attributes:
        rows: which rows, shape `[g]`.
        arrays: of each column the matrices, shape `[g, n, d]`; behind the vectors of a row stand vectors of NaN.
        lengths: of each column how many vectors the rows have, shape `[g]`.
    """

    rows: Indices
    arrays: tuple[Array, ...]
    lengths: tuple[Indices, ...]


def matrices(function: str, *columns: Rows, same_width: bool = True) -> tuple[Matrices, ...]:
    """Columns of matrices as floats of one precision: float64 where one of them is, or has whole numbers of 32 bits or more, else float32.

    Raises:
        InputError: when a row is no matrix, has vectors without values, or columns differ in the length of these or in rows.
    """
    if len({len(column) for column in columns}) > 1:
        counts = " and ".join(str(len(column)) for column in columns)
        raise InputError(f"the columns differ in their number of rows: {counts}", where=function)
    for column in columns:
        _check_numbers(function, column)
    dtype = np.result_type(np.float32, *(exact_type(_dtype(column)) for column in columns))
    found = [_matrices(function, column, dtype) for column in columns]
    for row, each in enumerate(zip(*found, strict=True) if same_width else ()):
        widths = {matrix.shape[1] for matrix in each if len(matrix)}
        if len(widths) > 1 or 0 in widths:
            shapes = " and ".join(str(list(matrix.shape)) for matrix in each)
            raise InputError(
                f"vectors of row {row} have no values, or differ in length: its matrices are {shapes}",
                where=function,
                hint="the second axis is the vector's, and at least 1",
            )
        if all(isinstance(column, np.ndarray) for column in found):
            break
    return tuple(found)


def _check_numbers(function: str, column: Rows) -> None:
    rows = [column] if isinstance(column, (np.ndarray, Ragged)) and column.dtype != object else column
    for row, values in enumerate(rows):
        kind = values.dtype if isinstance(values, (np.ndarray, Ragged)) else np.asarray(values).dtype
        check_real(kind, function, f"row {row}")
        check_whole(values.values if isinstance(values, Ragged) else np.asarray(values), function)


def _dtype(column: Rows) -> Any:
    if isinstance(column, (np.ndarray, Ragged)):
        return column.dtype
    return np.result_type(*{np.asarray(row).dtype for row in column}) if len(column) else np.dtype(np.float32)


def _matrices(function: str, column: Rows, dtype: np.dtype[Any]) -> Matrices:
    if isinstance(column, np.ndarray) and column.dtype != object:
        if column.ndim != 3:
            raise _no_matrix(function, column.shape[1:])
        return np.ascontiguousarray(column, dtype)
    rows = [np.ascontiguousarray(row, dtype) for row in column]
    for row in rows:
        if row.ndim != 2:
            raise _no_matrix(function, row.shape)
    return rows


def _no_matrix(function: str, shape: Sequence[int]) -> InputError:
    return InputError(
        f"a row is vectors, shape [n, d]; got one of shape {list(shape)}",
        where=function,
        hint="the first axis is the row: write [x] for one matrix x",
    )


def stacks(*columns: Matrices, rows: Sequence[int] | None = None) -> Iterator[StackedRows]:
    """Every row that has vectors in all columns, once; those that have none are left out.

    Args:
        columns: of matrices.
        rows: of rows that differ in shape, those that are taken; None for all.
    """
    if all(isinstance(column, np.ndarray) for column in columns):
        yield from _whole(columns)
        return
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in range(len(columns[0])) if rows is None else rows:
        each = [column[row] for column in columns]
        if all(len(matrix) for matrix in each):
            lengths = [len(matrix) for matrix in each]
            groups[(*(filled_up(length) for length in lengths), each[0].shape[1])].append(row)
    for (*sizes, width), group in groups.items():
        step = _step(sizes, width)
        for first in range(0, len(group), step):
            chosen = group[first : first + step]
            given = [[column[row] for row in chosen] for column in columns]
            yield StackedRows(
                np.array(chosen),
                tuple(padded(each, size, width) for each, size in zip(given, sizes, strict=True)),
                tuple(np.array([len(matrix) for matrix in each]) for each in given),
            )


def _whole(columns: Sequence[Any]) -> Iterator[StackedRows]:
    rows, sizes, width = len(columns[0]), [column.shape[1] for column in columns], columns[0].shape[2]
    if not all(sizes):
        return
    step = _step(sizes, width)
    for first in range(0, rows, step):
        chosen = np.arange(first, min(first + step, rows))
        arrays = tuple(column[first : first + step] for column in columns)
        yield StackedRows(chosen, arrays, tuple(np.full(len(chosen), size) for size in sizes))


def _step(sizes: Sequence[int], width: int) -> int:
    """How many matrices of these sizes a stack has."""
    return max(1, MOST_VALUES // (sum(sizes) * width + sizes[0] * sizes[-1]))


def filled_up(length: int, small: int = _SMALL, least: int = 8) -> int:
    """The size that so many are filled up to: the next of four in each octave, from `least`; as it is above `small`."""
    if length > small:
        return length
    step = max(least, 1 << max(0, (length - 1).bit_length() - 3))
    return -(-length // step) * step


def padded(given: Sequence[Array], size: int, width: int) -> Array:
    """Matrices one behind the other, shape `[g, size, width]`, with NaN behind their vectors."""
    if len(given) == 1 and len(given[0]) == size:
        return given[0][None]
    stack = np.empty((len(given), size, width), given[0].dtype)
    for place, matrix in enumerate(given):
        stack[place, : len(matrix)] = matrix
        stack[place, len(matrix) :] = np.nan
    return stack


class Results:
    """What comes of stacks, collected as a column: rows of shape `[rows, n, m]`, or of their own shapes.

    Args:
        shapes: the shape of each row's answer, shape `[rows, axes]`.
        dtype: of the answers.
        dense: whether the answer is one array; then all shapes are the same.
    """

    def __init__(self, shapes: Indices, dtype: np.dtype[Any], dense: bool) -> None:
        self._shapes, self._dense = shapes, dense
        self._offsets = np.zeros(len(shapes) + 1, np.int64)
        np.cumsum(shapes.prod(axis=1), out=self._offsets[1:])
        self._values: Array | None = None
        self._dtype = dtype

    def put(self, rows: Indices, answers: Array) -> None:
        """Keep the answers of a stack, shape `[g, ...]`, without what stands behind them because of padding."""
        if self._values is None and self._dense and len(rows) == len(self._shapes):
            self._values = np.ascontiguousarray(answers, self._dtype).reshape(-1)
            return
        values = self._filled()
        for row, answer in zip(rows, answers, strict=True):
            shape = tuple(self._shapes[row])
            cut = answer[tuple(slice(length) for length in shape)]
            values[self._offsets[row] : self._offsets[row + 1]].reshape(shape)[...] = cut

    def put_flat(self, rows: Indices, values: Array) -> None:
        """Keep the answers of rows, in their order one behind the other."""
        first, last = int(self._offsets[rows[0]]), int(self._offsets[rows[-1] + 1])
        if last - first == len(values) == self._offsets[-1]:
            self._values = values
        elif last - first == len(values):
            self._filled()[first:last] = values
        else:
            ends = np.cumsum(self._offsets[rows + 1] - self._offsets[rows])
            for row, found in zip(rows, np.split(values, ends[:-1]), strict=True):
                self._filled()[self._offsets[row] : self._offsets[row + 1]] = found

    def _filled(self) -> Array:
        if self._values is None:
            self._values = np.zeros(int(self._offsets[-1]), self._dtype)
        return self._values

    def column(self, empty: Sequence[int]) -> Array | Ragged:
        """All of them.

        Args:
            empty: the shape of a row where there are no rows.
        """
        values = self._filled()
        if self._dense:
            return values.reshape(len(self._shapes), *(self._shapes[0] if len(self._shapes) else empty))
        return Ragged(values, self._offsets, self._shapes)
