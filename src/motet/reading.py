"""What was given in Python or came as JSON, as a column of a declared type: numbers, texts, nulls, defaults, shapes.

    as_given      a column as numpy reads it, but for what numpy would change
    read_column   ... of the type that is wanted, and why some rows do not fit

Rows are looked at one by one only where they are objects. What is stored in Arrow goes through `motet.io.arrow`, which
reads numbers by the same rule (`motet.numbers`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Any

import numpy as np

from motet.base64_values import of_bytes, of_text
from motet.batch import (
    Array,
    Column,
    Ragged,
    as_column,
    column_type,
    empty_column,
    hold_as,
    is_exactly,
    objects,
    unmasked,
)
from motet.errors import InputError, TypeMismatchError
from motet.numbers import Converted, convert, from_objects, is_missing, may_convert, refusal
from motet.types import ColumnType

__all__ = [
    "NO_DEFAULT",
    "as_given",
    "constant_column",
    "holds_truth",
    "is_read",
    "read_column",
]


class _NoDefault(Enum):
    """That an input has no default: one object in a process, through copies and pickles too."""

    NO_DEFAULT = "no default"

    def __repr__(self) -> str:
        return self.name


NO_DEFAULT: Any = _NoDefault.NO_DEFAULT
_OBJECTS: dict[str, tuple[type, ...]] = {"string": (str,), "bytes": (bytes, bytearray, memoryview)}
_INSIDE = "holds a null"


def as_given(values: Any, kind: ColumnType) -> Column:
    """Values as a column, in which none is another value than was given.

    Lists are read as `as_column` does; where numpy would make one kind of number of several and that matters, they are
    objects: whole numbers of 64 bits beside others, true and false beside numbers, numbers where texts are wanted. Lists
    that are nested unevenly are objects too, one a row; so is what is masked or null in columns of other libraries.
    """
    if type(values) is np.ndarray and values.dtype.kind in "biufO":
        return values
    if isinstance(values, (list, tuple)):
        if any(issubclass(each, np.ma.MaskedArray) or hasattr(each, "as_py") for each in {*map(type, values)}):
            values = [_as_python(each) for each in values]
        if kind.shape and kind.is_object:
            return _elements_of(values, kind)
        try:
            column = as_column(values)
        except InputError:  # nested unevenly; which row it is, is seen one by one
            return objects(values)
        if isinstance(column, Ragged) and column.values.dtype.kind not in "biuf" and not kind.is_object:
            return objects(values)  # no numbers are among them; in which row, is seen one by one
        return _elements_of(values, kind) if len(values) and _is_promoted(values, column, kind) else column
    if isinstance(values, np.ma.MaskedArray):
        return _without_mask(values)
    column = as_column(values)
    if isinstance(column, Ragged):
        return column
    if not isinstance(getattr(values, "dtype", None), np.dtype) and column.dtype.kind == "f":
        listed = next((getattr(values, name) for name in ("to_pylist", "to_list") if hasattr(values, name)), None)
        if listed is not None and np.isnan(column).any():
            return objects(listed())  # whole numbers with nulls, which numpy makes floats of
    if column.ndim == 1 and column.dtype == object and hasattr(values, "isna"):  # a column of pandas
        return objects([None if gone else value for value, gone in zip(column, np.asarray(values.isna()), strict=True)])
    return column


def _as_python(value: Any) -> Any:
    """A masked array with None where it is masked, a scalar of Arrow as Python's value."""
    if isinstance(value, np.ma.MaskedArray):
        return unmasked(value).tolist()
    return value.as_py() if hasattr(value, "as_py") else value


def _without_mask(values: Any) -> Array:
    """A masked array as objects, with None where it is masked; numbers as numbers, with zeros there."""
    if values.dtype.kind not in "biuf":
        return unmasked(values).astype(object)
    numbers = np.array(values.data)
    numbers[np.ma.getmaskarray(values)] = 0
    return numbers


def _elements_of(values: Any, kind: ColumnType) -> Array:
    """The elements of lists as they are, as far as these are even; else whole rows."""
    array = np.asarray(values, object)
    return array if array.ndim == len(kind.shape) + 1 else objects(values)


def _is_promoted(values: Any, column: Column, kind: ColumnType) -> bool:
    """Whether the elements of lists are not what they were any more, and the type makes a difference of it."""
    flat = column.values if isinstance(column, Ragged) else column
    if flat.dtype == object:
        return False
    if kind.dtype == "any":
        return isinstance(column, np.ndarray) and column.ndim == 1 and len(set(map(type, values))) > 1
    if kind.is_object:
        return True
    if kind.dtype == "bool":
        return flat.dtype.kind in "iuf"
    return kind.dtype in ("int64", "uint64") and flat.dtype.kind == "f" and bool((np.abs(flat) >= 1 << 53).any())


def is_read(column: Array, kind: ColumnType) -> bool:
    """Whether an array is what `read_column` would make of it: numbers of the type, or nothing but texts."""
    return is_exactly(column, kind, len(column)) and (column.dtype != object or {*map(type, column.tolist())} == {str})


def read_column(
    column: Column,
    kind: ColumnType,
    what: str,
    default: Any = NO_DEFAULT,
    *,
    written: bool = False,
    missing: Array | None = None,
) -> tuple[Column, dict[int, str]]:
    """A column of the type that is wanted, and by row why some do not fit; stand-ins are in their places.

    Args:
        column: as `as_given` makes it.
        kind: the type.
        what: what the column is, for messages, for example `input 'x'`.
        default: what stands in for nulls; None lets them through, as None, or NaN among floats. Without it their rows do
            not fit.
        written: whether its numbers are those of a list, which have no width of their own. Objects never have one.
        missing: a mask of numbers that are known to be missing, zeros standing in; of the column's shape.

    Raises:
        TypeMismatchError: when no row can fit, because of the column's dtype or shape.
    """
    if not len(column):
        return empty_column(kind), {}
    if missing is not None and kind.dtype == "any" and isinstance(column, np.ndarray):
        column = column.astype(object)
        column[missing] = None
    reader = _Reader(kind, default)
    read = reader.column(column, written)
    if read is None:
        raise TypeMismatchError(f"{what} is {kind}; got {column_type(column)}", hint=_mended(column, kind))
    if missing is not None and kind.dtype != "any":
        values = read.values if isinstance(read, Ragged) else read
        reader._note(Converted(values, None, missing), values, reader._rows_of(read))
    return read, {row: f"{what} {why}" for row, why in sorted(reader.bad.items())}


def _mended(column: Column, kind: ColumnType) -> str:
    """How a column of another type may be mended."""
    if isinstance(column, np.ndarray) and kind.shape and column.shape == kind.shape:
        return "write array[None] for one row"
    return f"convert it: array.astype({kind.dtype!r}), or reshape it" if not kind.is_object else ""


@dataclass(slots=True)
class _Reader:
    """Reads one column.

    Attributes:
        kind, default: of `read_column`.
        bad: why rows do not fit.
    """

    kind: ColumnType
    default: Any
    bad: dict[int, str] = field(default_factory=dict)

    def column(self, column: Column, written: bool) -> Column | None:
        """All rows; None where none can fit."""
        kind = self.kind
        if isinstance(column, np.ndarray) and column.dtype == object:
            return self._objects(column)
        if kind.dtype == "any":
            return column
        if isinstance(column, Ragged) and column.shapes.shape[1] == len(kind.shape):
            column = self._of_shape(column)
        numbers = self._numbers(column, written)
        return None if numbers is None else hold_as(numbers, kind)

    def _numbers(self, column: Column, written: bool) -> Column | None:
        """The same numbers as the type's dtype; rows in which one is lost or missing are bad."""
        values, dtype = column.values if isinstance(column, Ragged) else column, self.kind.numpy_dtype
        if self.kind.is_object or values.dtype == dtype:
            return column
        if not (may_convert(values.dtype, dtype) or (written and dtype.kind == "f" and values.dtype.kind == "f")):
            return None
        found = convert(values, dtype, nearest=written)
        self._note(found, values, self._rows_of(column))
        return Ragged(found.values, column.offsets, column.shapes) if isinstance(column, Ragged) else found.values

    def _note(self, found: Converted, given: Array, row_of: Callable[[Array], Array]) -> None:
        """Keep in mind what is lost and missing, and put defaults in.

        Args:
            found: what became of the numbers.
            given: the numbers.
            row_of: the rows of elements at these positions.
        """
        if found.missing is not None:
            places = np.flatnonzero(found.missing)
            if self.kind.shape:
                self.bad.update(dict.fromkeys(row_of(places).tolist(), _INSIDE))
            elif self._stand_in(places.tolist()):
                found.values[places] = np.nan if self.default is None else self.default
        if found.lost is not None:
            places, flat = np.flatnonzero(found.lost), given.reshape(-1)
            rows, first = np.unique(row_of(places), return_index=True)
            self.bad.update(
                {row: refusal(flat[places[at]], self.kind) for row, at in zip(rows.tolist(), first, strict=True)}
            )

    def _rows_of(self, column: Column) -> Callable[[Array], Array]:
        if isinstance(column, Ragged):
            return lambda places: np.searchsorted(column.offsets, places, side="right") - 1
        size = max(1, column[0].size)
        return lambda places: places // size

    def _stand_in(self, rows: list[int]) -> bool:
        """Whether the default stands in for missing rows; they are bad where there is none."""
        if self.default is NO_DEFAULT:
            self.bad.update(dict.fromkeys(rows, "is null"))
            return False
        return True

    def _of_shape(self, column: Ragged) -> Ragged:
        """Rows of other shapes than the type's are bad; zeros stand in for them."""
        kind = self.kind
        fixed = [(axis, want) for axis, want in enumerate(kind.shape) if want is not None]
        wrong = [row for row, shape in enumerate(column.shapes) if any(shape[axis] != want for axis, want in fixed)]
        if not wrong:
            return column
        rows = column.rows()
        for row in wrong:
            self.bad[row] = f"is {kind}; got shape {column.shapes[row].tolist()}"
            rows[row] = np.zeros(kind.least_shape, dtype=column.dtype)
        return Ragged.from_rows(rows, column.dtype)

    def _objects(self, column: Array) -> Column:
        kind = self.kind
        if kind.dtype == "any" or (kind.is_object and not kind.shape):
            values = [self._object(value, row) for row, value in enumerate(column)]
            return objects(values) if column.ndim == 1 else column
        if not kind.shape and column.ndim == 1:
            found = from_objects(column, kind.numpy_dtype)
            self._note(found, column, lambda places: places)
            return found.values
        even = self._even(column)
        if even is not None:
            return even
        rows = [self._row(value, row) for row, value in enumerate(column)]
        return Ragged.from_rows(rows, kind.numpy_dtype, len(kind.shape)) if kind.varies else np.stack(rows)

    def _even(self, column: Array) -> Column | None:
        """All rows at once where they are numbers of one shape, and as many axes as are wanted; None where not."""
        if self.kind.is_object:
            return None
        values = column.tolist()
        try:
            array = np.asarray(values)
        except ValueError:
            return None
        if array.dtype.kind not in "biuf" or not array.ndim or not self.kind.has_shape(array.shape[1:]):
            return None
        if _is_promoted(values, array, self.kind):
            return None
        numbers = self._numbers(array, written=True)
        return None if numbers is None else hold_as(numbers, self.kind)

    def _object(self, value: Any, row: int) -> Any:
        wanted = _OBJECTS.get(self.kind.dtype)
        if is_missing(value) and (wanted or not isinstance(value, (float, np.floating))):
            return self.default if self._stand_in([row]) else None
        if wanted and not isinstance(value, wanted):
            self.bad[row] = refusal(value, self.kind)
            return None
        return bytes(value) if wanted and not isinstance(value, (str, bytes)) else value

    def _row(self, value: Any, row: int) -> Array:
        """One row's value as an array of the type's dtype and shape; zeros stand in where it is bad."""
        kind = self.kind
        zeros = np.full(kind.least_shape, None if kind.is_object else 0, dtype=kind.numpy_dtype)
        if is_missing(value):
            if not self._stand_in([row]):
                return zeros
            return np.full_like(zeros, np.nan) if self.default is None else np.asarray(self.default, kind.numpy_dtype)
        if isinstance(value, (str, bytes)) and not kind.is_object:
            return self._of_text(value, row, zeros)
        if isinstance(value, (list, tuple)) and not value and kind.shape and not kind.shape[0]:
            return zeros  # no rows of the first axis, so nothing tells the others
        inner = _Reader(kind, NO_DEFAULT)
        if isinstance(value, np.ndarray) and value.dtype == object:
            value = value.tolist()
        column = as_given([value], kind)
        held = inner._elements(column) if column.dtype == object else inner.column(column, written=True)
        if inner.bad:
            self.bad[row] = inner.bad[0]
        elif held is None:
            self.bad[row] = _misfit(value, column, kind)
        return zeros if held is None or inner.bad else np.asarray(held[0])

    def _of_text(self, value: str | bytes, row: int, zeros: Array) -> Array:
        """The array that a text or bytes stand for."""
        try:
            found = of_text(value, self.kind) if isinstance(value, str) else of_bytes(value, self.kind)
        except InputError as error:
            self.bad[row] = error.what
            return zeros
        if isinstance(found, np.ndarray):
            return found
        self.bad[row] = refusal(value, self.kind)
        return zeros

    def _elements(self, column: Column) -> Column | None:
        """One row that is made of objects."""
        column = column.dense() if isinstance(column, Ragged) else column
        if column.ndim != len(self.kind.shape) + 1:
            return None
        if not self.kind.is_object:
            found = from_objects(column, self.kind.numpy_dtype)
            self._note(found, column, lambda places: places * 0)
            return hold_as(found.values, self.kind)
        for value in column.reshape(-1):
            if is_missing(value):
                self.bad[0] = _INSIDE
            elif not isinstance(value, _OBJECTS[self.kind.dtype]):
                self.bad[0] = refusal(value, self.kind)
        return hold_as(column, self.kind) if self.kind.has_shape(column.shape[1:]) else None


def _misfit(value: Any, column: Column, kind: ColumnType) -> str:
    """Why a row whose elements may all be right is refused; `column` is what it was read as."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return refusal(value, kind)
    if isinstance(column, np.ndarray) and column.dtype == object and column.ndim == 1:
        return f"is {kind}; got {type(value).__name__}"
    if not kind.is_object and not may_convert(column.dtype, kind.numpy_dtype) and column.dtype.kind != "f":
        return f"is {kind}; got {column_type(column)}"
    shape = column.shapes[0].tolist() if isinstance(column, Ragged) else list(column.shape[1:])
    return f"is {kind}; got shape {shape}"


def constant_column(value: Any, kind: ColumnType, rows: int) -> Column:
    """A column that holds one value in every row, shape `[rows, ...]`; None is None, or NaN in floats."""
    if kind.is_object:
        return objects([value] * rows)
    row = np.asarray(np.nan if value is None else value, dtype=kind.numpy_dtype)
    if not kind.varies and not row.ndim:
        row = np.full(kind.least_shape, row)
    dense = np.broadcast_to(row, (rows, *row.shape)).copy()
    return Ragged.from_dense(dense) if kind.varies else dense


def holds_truth(value: Any) -> bool:
    """Whether true or false stand in a value of JSON, where they are no numbers."""
    flat = value if isinstance(value, list) else [value]
    kinds = set(map(type, flat))
    while list in kinds:
        flat = list(chain.from_iterable(each if type(each) is list else [each] for each in flat))
        kinds = set(map(type, flat))
    return bool in kinds
