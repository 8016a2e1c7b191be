"""What was seen of an experiment, row by row: which unit met which arm, when, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from motet.batch import Array, Indices, objects
from motet.errors import InputError, UnknownNameError
from motet.nodes.split import is_missing_key
from motet.numbers import Mask
from motet.planning.metrics import Floats

__all__ = ["ExposureColumns", "Exposures", "cast_column"]


@dataclass(frozen=True)
class ExposureColumns:
    """Which columns of a table say what; None for what it does not say.

    Attributes:
        unit: the unit: texts, bytes or numbers; nulls are of no unit.
        arm: the name of the arm, or its place in `arms`; null for none.
        outcome: true or false, or a number; null where there is none.
        time: a timestamp (UTC where it has no zone), a date, a text of one, or seconds since 1970.
        seconds: how long the answer took.
        failed: true where there was no answer.
        segments: columns of values to look by, under their own names.
    """

    unit: str
    arm: str
    outcome: str | None = None
    time: str | None = None
    seconds: str | None = None
    failed: str | None = None
    segments: Sequence[str] = ()


@dataclass(frozen=True)
class Exposures:
    """Columns of one length, `[rows]`: a row is one time that a unit met an arm.

    Attributes:
        arms: the names of the arms.
        unit: texts, bytes or numbers; missing ones (None, NaN, empty text) are of no unit.
        arm: the place in `arms`; -1 for none.
        time: seconds since 1970; NaN where it is not known. Rows without times are taken in their order.
        outcome: the metric's value, true being 1; NaN where there is none.
        seconds: how long the answer took; NaN where it is not known.
        failed: whether there was no answer.
        segments: by column its values.
    """

    arms: tuple[str, ...]
    unit: Array
    arm: Indices
    time: Floats
    outcome: Floats
    seconds: Floats
    failed: Mask
    segments: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("arm", "time", "outcome", "seconds", "failed"):
            _check_length(name, getattr(self, name), len(self.unit))
        for name, values in self.segments.items():
            _check_length(name, values, len(self.unit))
        if len(self.arm) and not (self.arm.min() >= -1 and self.arm.max() < len(self.arms)):
            raise InputError(f"arms are -1 to {len(self.arms) - 1}; got {self.arm.min()} to {self.arm.max()}")

    @classmethod
    def of(
        cls,
        arms: Sequence[str],
        unit: Any,
        arm: Any,
        *,
        outcome: Any = None,
        time: Any = None,
        seconds: Any = None,
        failed: Any = None,
        segments: Mapping[str, Any] | None = None,
    ) -> Exposures:
        """Exposures of sequences or arrays of one length; see the attributes.

        Args:
            arms: the names of the arms.
            unit: who met them.
            arm: names, or places in `arms`.
            outcome, time, seconds, failed, segments: None for unknown ones; of no failures.

        Raises:
            InputError: when lengths differ, or an arm is none of them.
        """
        units = unit if isinstance(unit, np.ndarray) else objects(list(unit))
        rows = len(units)
        return cls(
            tuple(arms), units, _places(arm, arms), _floats(time, rows), _floats(outcome, rows), _floats(seconds, rows),
            np.zeros(rows, bool) if failed is None else np.asarray(failed, bool),
            {name: np.asarray(values, object) for name, values in (segments or {}).items()},
        )  # fmt: skip

    @classmethod
    def from_table(cls, table: pa.Table | pa.RecordBatch, arms: Sequence[str], columns: ExposureColumns) -> Exposures:
        """Exposures of an Arrow table.

        Raises:
            UnknownNameError: when it has no such column, or an arm is none of them.
            InputError: when a column holds what it cannot be.
        """
        arm = _plain(table, columns.arm)
        names = _is_text(arm.type) or pa.types.is_null(arm.type)
        what = f"the column {columns.arm!r} is {arm.type}; an arm is its name, or its place, 0 to {len(arms) - 1}"
        return cls.of(
            arms,
            _units(_plain(table, columns.unit)),
            arm.to_pylist()
            if names
            else cast_column(arm, pa.int64(), what).fill_null(-1).to_numpy(zero_copy_only=False),
            outcome=_numbers(table, columns.outcome, "an outcome is true or false, or a number"),
            time=_times(table, columns.time),
            seconds=_numbers(table, columns.seconds, "seconds are numbers"),
            failed=_truths(table, columns.failed),
            segments={name: objects(_plain(table, name).to_pylist()) for name in columns.segments},
        )

    def __len__(self) -> int:
        return len(self.unit)

    def take(self, chosen: Indices | Mask) -> Exposures:
        """Some rows, by their places or a mask."""
        return Exposures(
            self.arms, self.unit[chosen], self.arm[chosen], self.time[chosen], self.outcome[chosen], self.seconds[chosen],
            self.failed[chosen], {name: values[chosen] for name, values in self.segments.items()},
        )  # fmt: skip

    def since(self, time: float) -> Exposures:
        """Rows from a time on, in seconds since 1970; those without a time are none of them."""
        return self.take(self.time >= time)


def cast_column(column: Any, kind: pa.DataType, what: str, hint: str = "") -> Any:
    """A column of Arrow, or its chunks, as another type.

    Raises:
        InputError: when its values cannot be; `what` and `hint` are its words.
    """
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(what, hint=hint) from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_length(name: str, values: Array, rows: int) -> None:
    if values.shape != (rows,):
        raise InputError(f"there are {rows} units, and {name} has the shape {list(values.shape)}")


def _places(arm: Any, arms: Sequence[str]) -> Indices:
    """Arms as places."""
    if isinstance(arm, np.ndarray) and arm.dtype.kind in "iu":
        return arm.astype(np.int64, copy=False)
    known: dict[Any, int] = {None: -1, **{name: place for place, name in enumerate(arms)}}
    listed = arm.tolist() if isinstance(arm, np.ndarray) else list(arm)
    for name in dict.fromkeys(listed):
        if name not in known and not isinstance(name, int):
            raise UnknownNameError("arm", str(name), list(arms))
    return np.array([known[name] if name in known else int(name) for name in listed], dtype=np.int64)


def _floats(values: Any, rows: int) -> Floats:
    """Numbers, those that are None as NaN."""
    if values is None:
        return np.full(rows, np.nan)
    return np.asarray(values, dtype=np.float64)


def _plain(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    """A column in one piece, its values themselves."""
    if name not in table.schema.names:
        raise UnknownNameError("column", name, table.schema.names)
    column = table.column(name)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # of several pieces that make no one array
        column = pa.concat_arrays(column.chunks)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _units(column: pa.Array) -> Array:
    if pa.types.is_integer(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return objects([None if is_missing_key(each) else each for each in column.to_pylist()])


def _numbers(table: pa.Table | pa.RecordBatch, name: str | None, what: str) -> npt.NDArray[np.float64] | None:
    if name is None:
        return None
    column = _plain(table, name)
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if _is_text(kind):
        column, kind = _of_texts(column, f"the column {name!r} is {kind}; {what}"), pa.float64()
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InputError(f"the column {name!r} is {kind}; {what}")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _of_texts(column: pa.Array, what: str) -> pa.Array:
    """Numbers, or true and false, that are written as text; empty ones are none."""
    said = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    try:
        return said.cast(pa.float64())
    except pa.ArrowInvalid:
        pass
    try:
        return said.cast(pa.bool_()).cast(pa.int8())
    except pa.ArrowInvalid:
        raise InputError(what) from None


def _truths(table: pa.Table | pa.RecordBatch, name: str | None) -> Mask | None:
    found = _numbers(table, name, "what failed is true or false")
    return None if found is None else np.nan_to_num(found) != 0


def _times(table: pa.Table | pa.RecordBatch, name: str | None) -> Floats | None:
    """Times as seconds since 1970."""
    if name is None:
        return None
    column = _plain(table, name)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type):
        return _numbers(table, name, "")
    found = _moments(column, name).cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(found, dtype=np.float64) / 1e6


def _moments(column: pa.Array, name: str) -> pa.Array:
    """Timestamps in microseconds; texts have a zone all, or none."""
    zones = (None, "UTC") if _is_text(column.type) else (getattr(column.type, "tz", None),)
    for zone in zones:
        try:
            return pc.cast(column, pa.timestamp("us", zone), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    what = f"the column {name!r} is {column.type}; a time is a timestamp, a date, a text of one, or seconds since 1970"
    raise InputError(what)
