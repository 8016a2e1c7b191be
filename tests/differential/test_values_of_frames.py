"""Frames of any values, run as tables and called, against pandas and numpy: each row answered right, or failed alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import motet as mt
from differential.value_cases import TAKEN, outcome
from helpers.told import told

INPUTS = {"i": "int64", "f": "float64", "u": "uint8", "s": "string", "b": "bool"}
DEFAULTS = {"i": -7, "f": 0.25, "u": 9, "s": "none", "b": True}


def telling(defaults: Any) -> mt.Graph:
    inputs = {name: mt.input(name, kind, **({"default": defaults[name]} if defaults else {})) for name, kind in INPUTS.items()}  # fmt: skip
    outputs = {f"{name}_told": mt.map(told, each, outputs="string") for name, each in inputs.items()}
    return mt.Graph("frame", outputs=outputs)


STRICT, FILLED = telling(None), telling(DEFAULTS)
whole = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1, 0, 255, 256, -1])
floats = st.floats() | st.sampled_from([3.0, 3.5, 2.0**63, 255.0, 256.0, math.nan])


@st.composite
def columns(draw: Any, rows: Any, name: Any) -> Any:
    """A column of a frame and what it is stored as; missing values as pandas has them."""

    def some(elements: Any) -> Any:
        return draw(st.lists(elements, min_size=rows, max_size=rows))

    if name == "s":
        values = some(st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
        return pd.Series(values, dtype=draw(st.sampled_from(["object", "str"]))), values, "string"
    if name == "b":
        values = some(st.none() | st.booleans())
        return pd.Series(values, dtype="boolean"), values, "bool"
    if draw(st.booleans()):
        values = some(st.none() | whole)
        return pd.Series(values, dtype="Int64"), values, "int64"
    values = some(floats)
    return pd.Series(values, dtype="float64"), [None if value != value else value for value in values], "float64"


@st.composite
def frames(draw: Any) -> Any:
    rows = draw(st.integers(1, 7))
    parts = {name: draw(columns(rows, name)) for name in INPUTS}
    return pd.DataFrame({name: part[0] for name, part in parts.items()}), {name: part[1:] for name, part in parts.items()}  # fmt: skip


def right_rows(values: Any, defaults: Any) -> Any:
    """What each row says; None for a row that fails."""
    found = []
    for row in range(len(next(iter(values.values()))[0])):
        said = {}
        for name, (column, stored) in values.items():
            value = column[row]
            if value is None and defaults:
                value, what = defaults[name], TAKEN
            else:
                what, value = outcome(value, stored, INPUTS[name])
            said[f"{name}_told"] = repr(value) if what == TAKEN else None
        found.append(None if None in said.values() else said)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.booleans(), st.booleans())
def test_rows_of_a_frame_are_right_or_fail_alone(made: Any, filled: Any, bulk: Any) -> None:
    frame, values = made
    graph, right = (FILLED, right_rows(values, DEFAULTS)) if filled else (STRICT, right_rows(values, None))
    if bulk:
        table, failures = graph.run(frame, failures="return", batch_rows=2, keep=[])
        got = table.to_pylist()
    else:
        answers, failures = graph(frame, failures="return")
        got = [dict(zip(answers, row, strict=True)) for row in zip(*answers.values(), strict=True)]
    assert got == [row for row in right if row is not None]
    assert [each.row for each in failures] == [place for place, row in enumerate(right) if row is None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-(2.0**62), 2.0**62) | st.integers(-9, 9).map(float), min_size=1, max_size=6))
def test_floats_are_whole_where_numpy_says_so(values: Any) -> None:
    given = np.array(values)
    answers, failures = mt.Graph("g", {"y": mt.input("x", "int64")})({"x": given}, failures="return")
    fits = given == np.trunc(given)
    assert [each.row for each in failures] == np.flatnonzero(~fits).tolist()
    assert answers["y"].tolist() == given[fits].astype(np.int64).tolist()
