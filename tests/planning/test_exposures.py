"""Exposures and what they come to per unit, against loops over rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import InputError, UnknownNameError
from motet.graph.experiment import ExperimentMetric
from motet.planning.experiments.experiment import Experiment, SplitPeriod
from motet.planning.experiments.exposures import ExposureColumns, Exposures
from motet.planning.experiments.units import units_of

ARMS = ("old", "new")


def _experiment(kind: Any = "rate", **said: Any) -> Experiment:
    period = SplitPeriod(-np.inf, {"old": 1.0, "new": 1.0})
    return Experiment("shop", "ab", "user", ARMS, "old", ExperimentMetric("clicked", kind, **said), (period,))


def test_exposures_of_a_table() -> None:
    day = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
    table = pa.table(
        {
            "user": ["ann", None, "bob", ""],
            "ab.member": pa.array(["old", "new", None, "new"]).dictionary_encode(),
            "clicked": [True, False, None, True],
            "at": pa.array([day, day, None, day], pa.timestamp("ms", "UTC")),
            "took": pa.array([1, 2, None, 3]),
            "bad": [False, None, True, False],
            "land": ["de", "fr", None, "de"],
        }
    )
    columns = ExposureColumns("user", "ab.member", "clicked", "at", "took", "bad", ["land"])
    found = Exposures.from_table(table, ARMS, columns)
    assert found.unit.tolist() == ["ann", None, "bob", None]
    assert found.arm.tolist() == [0, 1, -1, 1]
    np.testing.assert_array_equal(found.outcome, [1, 0, np.nan, 1])
    np.testing.assert_array_equal(found.time, [day.timestamp()] * 2 + [np.nan] + [day.timestamp()])
    np.testing.assert_array_equal(found.seconds, [1, 2, np.nan, 3])
    assert found.failed.tolist() == [False, False, True, False]
    assert found.segments["land"].tolist() == ["de", "fr", None, "de"]
    assert len(found.since(day.timestamp())) == 3
    units = units_of(_experiment(), found)
    assert (len(units), units.rows, units.nobody) == (1, 4, 3)


@pytest.mark.parametrize(
    ("column", "seconds"),
    [
        (pa.array(["1970-01-02", "1970-01-01T00:00:01.5"]), [86400, 1.5]),
        (pa.array(["1970-01-02T00:00:00Z", "1970-01-01T01:00:02+01:00"]), [86400, 2]),
        (pa.array([dt.date(1970, 1, 2), None]), [86400, np.nan]),
        (pa.array([5, None]), [5, np.nan]),
        (pa.array([0.5, 2.5]), [0.5, 2.5]),
        (pa.array([dt.datetime(1970, 1, 2), None], pa.timestamp("ns")), [86400, np.nan]),
    ],
)
def test_times_are_seconds_since_1970(column: pa.Array, seconds: list[float]) -> None:
    table = pa.table({"u": [1, 2], "a": ["old", "new"], "t": column})
    found = Exposures.from_table(table, ARMS, ExposureColumns("u", "a", time="t"))
    np.testing.assert_array_equal(found.time, seconds)


def test_what_a_table_cannot_say_is_refused() -> None:
    table = pa.table({"u": [1, 2], "a": ["old", "newer"], "o": ["yes", "no"], "b": ["old", "new"], "t": ["today", ""]})
    with pytest.raises(UnknownNameError, match="unknown arm 'newer'"):
        Exposures.from_table(table, ARMS, ExposureColumns("u", "a"))
    with pytest.raises(UnknownNameError, match="unknown column 'user'"):
        Exposures.from_table(table, ARMS, ExposureColumns("user", "b"))
    with pytest.raises(InputError, match="the column 'o' is string; an outcome is true or false, or a number"):
        Exposures.from_table(table, ARMS, ExposureColumns("u", "b", "o"))
    with pytest.raises(InputError, match="the column 't' is string; a time is a timestamp"):
        Exposures.from_table(table, ARMS, ExposureColumns("u", "b", time="t"))
    for arms, kind in (([0.5, 1.0], "double"), ([[0], [1]], "list<"), ([b"old", b"new"], "binary")):
        other = table.set_column(1, "a", pa.array(arms))
        with pytest.raises(InputError, match=f"the column 'a' is {kind}.*; an arm is its name, or its place, 0 to 1"):
            Exposures.from_table(other, ARMS, ExposureColumns("u", "a"))
    with pytest.raises(InputError, match=r"there are 2 units, and outcome has the shape \[1\]"):
        Exposures.of(ARMS, ["a", "b"], [0, 1], outcome=[1.0])
    with pytest.raises(InputError, match="arms are -1 to 1; got 0 to 2"):
        Exposures.of(ARMS, ["a", "b"], [0, 2])


def test_outcomes_of_a_rate_are_from_0_to_1() -> None:
    found = Exposures.of(ARMS, ["a", "b"], [0, 1], outcome=[1, 3])
    with pytest.raises(InputError, match="an outcome of 'clicked' must be from 0 to 1; got 3 in row 1\n.*kind: mean"):
        units_of(_experiment(), found)
    assert units_of(_experiment("mean"), found).value.tolist() == [1, 3]
    with pytest.raises(InputError, match="must be finite; got inf in row 0"):
        units_of(_experiment("mean"), Exposures.of(ARMS, ["a"], [0], outcome=[np.inf]))
    with pytest.raises(InputError, match="expected the arms old, new; got new, old"):
        units_of(_experiment(), Exposures.of(ARMS[::-1], ["a"], [0]))


@pytest.mark.parametrize(
    ("kind", "missing", "value"),
    [("rate", None, 0.25), ("rate", "skip", 0.5), ("mean", None, 0.5), ("mean", "zero", 0.25)],
)
def test_what_a_missing_outcome_is(kind: Any, missing: Any, value: float) -> None:
    found = Exposures.of(ARMS, ["a"] * 4, [0] * 4, outcome=[1, 0, None, None])
    assert units_of(_experiment(kind, missing=missing), found).value.tolist() == [value]


def test_units_that_move_because_the_split_changed_count_in_their_first_arm() -> None:
    changed = _experiment().since(100.0, {"old": 1.0, "new": 9.0})
    found = Exposures.of(
        ARMS,
        ["moved", "moved", "moved", "stays", "stays", "both", "both"],
        [0, 1, 0, 1, 1, 0, 1],
        time=[50, 150, 160, 50, 150, 150, 160],
        outcome=[1, 0, 0, 1, 0, 1, 1],
    )
    units = units_of(changed, found)
    assert (units.in_two, units.moved) == (1, 1)
    assert units.arm.tolist() == [0, 1]
    assert units.period.tolist() == [0, 0]
    assert units.exposures.tolist() == [1, 2]
    assert units.value.tolist() == [1, 0.5]
    with pytest.raises(InputError, match="a split from 50 on comes before one from 100 on"):
        changed.since(50.0, {"old": 1.0, "new": 1.0})
    with pytest.raises(InputError, match="expected weights of old, new; got old"):
        changed.since(150.0, {"old": 1.0})


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", 7, 7.0, "7", None, ""]),
        st.integers(-1, 1),
        st.sampled_from([None, 0.0, 1.0, 0.5]),
        st.sampled_from([1.0, 2.0, 3.0, None]),
        st.booleans(),
    ),
    max_size=40,
)


@given(ROWS)
def test_units_are_what_a_loop_over_rows_finds(rows: list[Any]) -> None:
    found = Exposures.of(
        ARMS, [r[0] for r in rows], np.array([r[1] for r in rows], dtype=np.int64), outcome=[r[2] for r in rows],
        time=[r[3] for r in rows], failed=[r[4] for r in rows],
    )  # fmt: skip
    units = units_of(_experiment(), found)
    seen: dict[Any, list[Any]] = {}
    for row in sorted(rows, key=lambda r: np.inf if r[3] is None else r[3]):
        if row[0] not in (None, "") and row[1] >= 0:
            seen.setdefault(row[0], []).append(row)
    right = {unit: each for unit, each in seen.items() if len({row[1] for row in each}) == 1}
    assert units.in_two == len(seen) - len(right)
    assert units.nobody == len(rows) - sum(map(len, seen.values()))
    assert units.arm.tolist() == [each[0][1] for each in right.values()]
    assert units.exposures.tolist() == [len(each) for each in right.values()]
    assert units.value.tolist() == pytest.approx([sum(r[2] or 0 for r in each) / len(each) for each in right.values()])
    assert units.failed.tolist() == pytest.approx([sum(r[4] for r in each) / len(each) for each in right.values()])
