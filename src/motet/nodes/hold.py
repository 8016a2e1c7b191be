"""What users' code returned, held as the type that was declared: what does not fit fails its row, and no other.

    None, NaN, NA, NaT    missing: null among strings and bytes, NaN among floats; a row of whole numbers fails
    numbers               taken where nothing is lost (`motet.numbers`); Python's own take the declared width
    strings               text that can be written (no lone surrogates); nothing is printed as text, nor text read
    exceptions            fail their row, as if it alone had been asked for and had raised

Values that were not declared are held by what they are: lists of lists, or of arrays, are rows that may differ in
length, also where these happen not to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from motet.batch import Array, Column, Ragged, as_array, column_type, empty_column, fits, objects, unmasked
from motet.errors import AnswerError, cut
from motet.nodes.owned import is_read_once, own_objects, own_value
from motet.numbers import Converted, convert, from_objects, is_missing, may_convert
from motet.types import ColumnType

__all__ = ["HeldColumn", "as_declared", "as_rows", "hold"]

Errors = Mapping[int, BaseException]
_BYTES = (bytes, bytearray, memoryview)
_NESTED = (list, tuple, np.ndarray, Ragged)


class HeldColumn(NamedTuple):
    """A column as it was declared.

    Attributes:
        column: the rows that fit, in order.
        errors: why the others do not, by their places.
    """

    column: Column
    errors: Errors


def as_declared(value: Any, kind: ColumnType, rows: int) -> bool:
    """Whether something is an array of numbers, or of text, of this type as it is; most are, and need no closer look."""
    if type(value) is not np.ndarray:
        return False
    dtype = value.dtype
    if dtype.kind != "O":
        return bool(dtype == kind.numpy_dtype) and value.shape == (rows, *kind.shape)
    if kind.dtype != "string" or kind.shape or value.shape != (rows,):
        return False
    texts = value.tolist()
    return {*map(type, texts)} == {str} and _can_be_written("".join(texts))


def hold(value: Any, kind: ColumnType | None, rows: int, where: str) -> HeldColumn:
    """Hold what was returned for so many rows.

    Args:
        value: an array, `Ragged`, or a list with an entry for each row.
        kind: what was declared; None, or `any`, where nothing was.
        rows: how many rows there were.
        where: what returned it, for messages.

    Raises:
        AnswerError: when there are more or fewer rows, or none of them can be of the type.
    """
    if kind is not None and kind.dtype == "any":
        kind = None
    given, value = value, as_rows(value, rows)
    if isinstance(value, np.ndarray) and value.dtype.kind != "O" and hasattr(given, "shape") and not np.isscalar(given):
        value = _with_axes(value, kind, rows)
    if getattr(value, "shape", None) == ():
        what = "a single value" if value.dtype.kind != "O" or given is None else f"one {type(given).__name__}"
        raise AnswerError(f"{where} gave {what} for {_counted(rows)}", hint=_ROWS)
    if len(value) != rows:
        raise AnswerError(f"{where} gave another number of rows: {_counted(rows)} in, {len(value)} out", hint=_ROWS)
    if isinstance(value, Ragged):
        return _ragged(value, kind, where)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcmMV":
        return HeldColumn(_in_columns_units(value), {}) if kind is None else _numbers(value, kind, where)
    if isinstance(value, np.ndarray) and value.ndim > 1 and kind is None:
        return HeldColumn(value.astype(object), {})
    return _by_row(value, kind, where)


def as_rows(value: Any, rows: int) -> Any:
    """What has an entry for each row as a list or an array: iterators are read, one entry further than there are rows.

    What is no array of numpy itself, but may be one in other hands, such as a tensor or a column of a frame, is copied.
    """
    if type(value) is np.ndarray or isinstance(value, (list, tuple, Ragged)):
        return value
    if isinstance(value, np.ma.MaskedArray):
        return unmasked(value).copy()
    if is_read_once(type(value)):
        return [own_value(each) for each in islice(value, rows + 1)]  # it may give one buffer again and again
    if _has_zone(value):  # numpy's times have no zone
        return value.to_pylist() if hasattr(value, "to_pylist") else value.to_list()
    return as_array(value).copy()


def _in_columns_units(array: Array) -> Array:
    """Times in one of the units that columns have: minutes and hours in seconds, weeks, months and years of dates in days."""
    kind = array.dtype.kind
    if kind not in "mM":
        return array
    unit = np.datetime_data(array.dtype)[0]
    if unit in ("h", "m") or (kind == "m" and unit in ("W", "D")):
        return array.astype(f"{kind}8[s]")
    return array.astype("M8[D]") if kind == "M" and unit in ("Y", "M", "W") else array


def _has_zone(value: Any) -> bool:
    """Whether it is a column of times in a zone, as Arrow, polars and pandas have them."""
    kind = getattr(value, "type", None) or getattr(value, "dtype", None)
    return bool(getattr(kind, "tz", None) or getattr(kind, "time_zone", None))


def _with_axes(array: Array, kind: ColumnType | None, rows: int) -> Array:
    """An array from which `np.squeeze` took the axis of a lone row, or to which one of length 1 was added, with its own."""
    shape = array.shape
    if rows == 1 and (not shape or (kind is not None and kind.has_shape(shape))):
        return array[None]
    if kind is not None and (shape, kind.shape) in (((rows, 1), ()), ((rows,), (1,))):
        return array.reshape(rows, *kind.shape)
    return array


_ROWS = "return one value for each row, in order"


def _counted(rows: int) -> str:
    return f"{rows} row{'' if rows == 1 else 's'}"


def _ragged(value: Ragged, kind: ColumnType | None, where: str) -> HeldColumn:
    if kind is None or (value.dtype == kind.numpy_dtype and not kind.is_object and fits(value, kind)):
        return HeldColumn(value if kind is None or kind.varies else value.dense(), {})
    return _by_row(value.rows(), kind, where)


def _numbers(array: Array, kind: ColumnType, where: str) -> HeldColumn:
    """Numbers of one shape."""
    shape = array.shape[1:]
    if not len(array):
        return HeldColumn(empty_column(kind), {})
    if kind.is_object and kind.has_shape(shape) and array.dtype.kind == "f" and np.isnan(array).any():
        return _by_row(array.tolist(), kind, where)  # nothing but what is missing, as pandas has it
    if kind.is_object or not kind.has_shape(shape) or not may_convert(array.dtype, kind.numpy_dtype):
        raise AnswerError(f"{where} gave {column_type(array)}; it must be {kind}", hint=_hint(array.dtype, kind))
    return _taken(convert(array, kind.numpy_dtype), kind, list(array), where)


def _hint(dtype: np.dtype[Any], kind: ColumnType) -> str:
    if dtype.kind == "f" and kind.dtype.startswith("float"):
        return f"return it .astype({kind.dtype!r}), or declare {dtype}"
    return "return what is declared, or declare what is returned"


def _taken(found: Converted, kind: ColumnType, given: Sequence[Any], where: str) -> HeldColumn:
    """Converted numbers: rows in which one is lost, or missing where it cannot be, fail."""
    values, bad = found.values, np.zeros(len(found.values), bool)
    if found.missing is not None and kind.numpy_dtype.kind == "f":
        values[found.missing] = np.nan
    elif found.missing is not None:
        bad |= _any_of_row(found.missing)
    if found.lost is not None:
        bad |= _any_of_row(found.lost)
    errors = {row: _refused(given[row], kind, where) for row in np.flatnonzero(bad).tolist()}
    kept = values[~bad] if errors else values
    return HeldColumn(Ragged.from_dense(kept) if kind.varies else kept, errors)


def _any_of_row(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(mask.reshape(len(mask), -1).any(axis=1))


def _refused(value: Any, kind: ColumnType, where: str) -> AnswerError:
    shown = cut(repr(value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value))
    why = ", which has a lone surrogate" if isinstance(value, str) and not _can_be_written(value) else ""
    return AnswerError(f"{where} gave {shown} ({type(value).__name__}){why}; it must be {kind}")


def _by_row(values: Sequence[Any] | Array, kind: ColumnType | None, where: str) -> HeldColumn:
    """Values one by one: exceptions fail their rows, the others are held together."""
    listed = values.tolist() if isinstance(values, np.ndarray) and values.ndim == 1 else list(values)
    kinds = {*map(type, listed)}
    if any(issubclass(each, np.ma.MaskedArray) for each in kinds):
        listed = [unmasked(value) if isinstance(value, np.ma.MaskedArray) else value for value in listed]
        kinds = {*map(type, listed)}
    if np.ndarray in kinds:
        listed = [_single(value, kind) for value in listed]
        kinds = {*map(type, listed)}
    if any(issubclass(each, BaseException) for each in kinds):
        errors: dict[int, BaseException] = {
            row: value for row, value in enumerate(listed) if isinstance(value, BaseException)
        }
        good = [row for row in range(len(listed)) if row not in errors]
        held = _by_row([listed[row] for row in good], kind, where)
        errors |= {good[row]: error for row, error in held.errors.items()}
        return HeldColumn(held.column, errors)
    if kind is None:
        return _undeclared(listed, kinds, where)
    if not listed:
        return HeldColumn(empty_column(kind), {})
    if kind.shape:
        return _rows_of_arrays(listed, kind, where)
    if not kind.is_object:
        return _taken(from_objects(objects(listed), kind.numpy_dtype), kind, listed, where)
    return _objects(listed, kinds, kind, where)


def _single(value: Any, kind: ColumnType | None) -> Any:
    """An array of one value as that value, where it stands among values."""
    if isinstance(value, np.ndarray) and (not value.ndim or (value.size == 1 and kind is not None and not kind.shape)):
        return value.reshape(-1)[0]
    return value


def _objects(values: list[Any], kinds: set[type], kind: ColumnType, where: str) -> HeldColumn:
    if kinds == {str} and kind.dtype == "string" and _can_be_written("".join(values)):
        return HeldColumn(objects(values), {})
    take, errors, held = _LEAVES[kind.dtype], dict[int, BaseException](), []
    for row, value in enumerate(values):
        try:
            held.append(take(value))
        except TypeError:
            errors[row] = _refused(value, kind, where)
    return HeldColumn(objects(held), errors)


def _text(value: Any) -> str | None:
    if isinstance(value, str) and _can_be_written(value):
        return str.__str__(value)  # a member of an enumeration prints its name
    if is_missing(value):
        return None
    raise TypeError


def _binary(value: Any) -> bytes | None:
    if isinstance(value, _BYTES):
        return bytes(value)
    if is_missing(value):
        return None
    raise TypeError


_LEAVES: dict[str, Callable[[Any], Any]] = {"string": _text, "bytes": _binary}


def _can_be_written(text: str) -> bool:
    """Whether a text has no lone surrogates, which no encoding knows."""
    try:
        return text.isascii() or bool(text.encode()) or True
    except UnicodeEncodeError:
        return False


def _rows_of_arrays(values: list[Any], kind: ColumnType, where: str) -> HeldColumn:
    """Rows that are arrays or lists, as one array where the type is of one shape."""
    rows: list[Array] = []
    errors: dict[int, BaseException] = {}
    for row, value in enumerate(values):
        try:
            rows.append(_row(value, kind))
        except (TypeError, ValueError):
            errors[row] = _refused(value, kind, where)
    if not rows:
        return HeldColumn(empty_column(kind), errors)
    if kind.varies:
        return HeldColumn(Ragged.from_rows(rows, kind.numpy_dtype, len(kind.shape)), errors)
    return HeldColumn(np.stack(rows), errors)


def _row(value: Any, kind: ColumnType) -> Array:
    """One row as an array of the type.

    Raises:
        TypeError, ValueError: when it is of another type, or shape.
    """
    if not isinstance(value, _NESTED):
        if isinstance(value, (str, *_BYTES)) or not hasattr(value, "__array__"):
            raise TypeError
        value = np.asarray(value)
    given = _nested(value)
    if not given.size and given.ndim < len(kind.shape):
        given = given.reshape(*given.shape, *(axis or 0 for axis in kind.shape[given.ndim :]))
    if not kind.has_shape(given.shape):
        raise TypeError
    if not given.size:
        return np.empty(given.shape, kind.numpy_dtype)
    if kind.is_object:
        return objects([_LEAVES[kind.dtype](leaf) for leaf in given.reshape(-1).tolist()]).reshape(given.shape)
    if given.dtype.kind == "O":
        found = from_objects(given, kind.numpy_dtype)
    elif may_convert(given.dtype, kind.numpy_dtype):
        found = convert(given, kind.numpy_dtype)
    else:
        raise TypeError
    if found.missing is not None and kind.numpy_dtype.kind == "f":
        found.values[found.missing] = np.nan
    elif found.missing is not None:
        raise TypeError
    if found.lost is not None:
        raise TypeError
    return found.values


def _nested(value: Any) -> Array:
    """An array, or lists within lists, whose lengths agree, as an array; lists become objects, which have no width."""
    if isinstance(value, np.ndarray):
        return value.astype(object) if value.dtype.kind in "SU" else value
    if any(isinstance(each, _NESTED) for each in value):
        if not all(isinstance(each, _NESTED) for each in value):
            raise ValueError("values and lists side by side")
        return np.stack([_nested(each) for each in value])
    return objects(list(value))


def _undeclared(values: list[Any], kinds: set[type], where: str) -> HeldColumn:
    if kinds and all(issubclass(each, _NESTED) for each in kinds):
        return _undeclared_rows(values, where)
    if not values:
        return HeldColumn(np.empty(0), {})
    if kinds == {str} and _can_be_written("".join(values)):
        return HeldColumn(objects(values), {})
    if not any(issubclass(each, (bool, np.bool_)) for each in kinds) or kinds <= {bool, np.bool_}:
        array = _as_numbers(values)
        if array is not None:
            return HeldColumn(_in_columns_units(array), {})
    errors = {
        row: AnswerError(f"{where} gave {cut(repr(value))}, which has a lone surrogate and cannot be written")
        for row, value in enumerate(values)
        if isinstance(value, str) and not _can_be_written(value)
    }
    kept = [None if is_missing(value) else value for row, value in enumerate(values) if row not in errors]
    return HeldColumn(own_objects(objects(kept)), errors)


def _as_numbers(values: list[Any]) -> Array | None:
    """Numbers as an array, if they are all numbers, and still the same ones then."""
    try:
        array = np.array(values)
    except (ValueError, OverflowError):
        return None
    if array.ndim != 1 or array.dtype.kind not in "biufcmM":
        return None
    whole = array.dtype.kind == "f" and bool((np.abs(array) >= 1 << 53).any())
    return None if whole and any(isinstance(value, (int, np.integer)) for value in values) else array


def _undeclared_rows(values: list[Any], where: str) -> HeldColumn:
    """Rows that are arrays or lists: of the type that holds all that have a value."""
    errors: dict[int, BaseException] = {}
    rows: list[Array] = []
    for row, value in enumerate(values):
        try:
            array = _nested(value)
            rows.append(_as_array(array) if array.dtype.kind == "O" else array)
        except ValueError:
            errors[row] = AnswerError(f"{where} gave a row whose lists are nested unevenly")
    axes = max((array.ndim for array in rows), default=1)
    rows = [array if array.size or array.ndim == axes else array.reshape((0,) * axes) for array in rows]
    filled = [array for array in rows if array.size]
    first = filled[0] if filled else None
    held: list[Array] = []
    places = [row for row in range(len(values)) if row not in errors]
    dtype = _common([array.dtype for array in filled])
    for row, array in zip(places, rows, strict=True):
        if first is not None and array.size and array.ndim != axes:
            errors[row] = AnswerError(f"{where} gave a row of {array.ndim} axes beside others of {axes}")
        else:
            held.append(array.astype(dtype))
    return HeldColumn(Ragged.from_rows(held, dtype, axes), errors)


def _as_array(values: Array) -> Array:
    held = _undeclared(values.reshape(-1).tolist(), {*map(type, values.reshape(-1).tolist())}, "").column
    return np.asarray(held).reshape(values.shape)


def _common(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """What holds numbers of all these dtypes, else objects."""
    if not dtypes:
        return np.dtype(object)
    kinds = {dtype.kind for dtype in dtypes}
    if "O" in kinds or ("b" in kinds and len(kinds) > 1):
        return np.dtype(object)
    return np.result_type(*dtypes)
