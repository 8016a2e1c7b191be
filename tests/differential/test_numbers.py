"""The rule of numbers against exact arithmetic: a number is taken where it is the same number, else it is lost."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from differential.value_cases import FLOATS, NUMBERS, WHOLE, exact, holds
from motet.numbers import convert, from_objects, is_missing, may_convert, refusal, widens
from motet.types import ColumnType

EDGES = sorted({sign * (2**power + off) for power in (7, 8, 11, 15, 16, 24, 31, 32, 53, 62, 63, 64) for off in (-1, 0, 1) for sign in (1, -1)})  # fmt: skip
SPECIAL = [0.5, -0.5, -0.0, 1e300, -1e300, 65504.0, 65520.0, 3.5, math.nan, math.inf, -math.inf]


def values_of(dtype: Any) -> Any:
    if dtype == "bool":
        return st.booleans()
    if dtype in WHOLE:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        edges = [each for each in EDGES if low <= each <= high]
        return st.one_of(st.integers(low, high), st.sampled_from(edges))
    width: Any = int(dtype[5:])
    some = [float(np.dtype(dtype).type(each)) for each in map(float, EDGES) if abs(each) < float(np.finfo(dtype).max)]
    return st.one_of(st.floats(width=width), st.sampled_from(some))


@pytest.mark.parametrize("stored", NUMBERS)
@pytest.mark.parametrize("wanted", NUMBERS)
def test_each_number_is_taken_where_it_is_the_same_and_lost_where_it_is_not(stored: Any, wanted: Any) -> None:
    if not may_convert(stored, wanted):
        with pytest.raises(TypeError, match=f"no {stored} is {wanted}"):
            convert(np.zeros(2, stored), wanted)
        return

    @settings(max_examples=25, deadline=None)
    @given(st.lists(values_of(stored), max_size=8))
    def check(values: Any) -> None:
        array = np.array(values, stored)
        found = convert(array, wanted)
        assert found.values.dtype == wanted
        assert found.values.shape == array.shape
        lost = np.zeros(len(array), bool) if found.lost is None else found.lost
        missing = np.zeros(len(array), bool) if found.missing is None else found.missing
        for value, got, is_lost, is_gone in zip(array.tolist(), found.values.tolist(), lost, missing, strict=True):
            if value != value:
                assert (is_gone, is_lost) == (wanted in WHOLE, False)
                assert wanted in WHOLE or got != got
            elif isinstance(value, float) and math.isinf(value):
                assert is_lost == (wanted in WHOLE)
                assert is_lost or got == value
            else:
                assert not is_gone
                assert is_lost == (not holds(wanted, exact(value)))
                assert got == 0 if is_lost else exact(got) == exact(value)

    check()


@pytest.mark.parametrize("stored", NUMBERS)
@pytest.mark.parametrize("wanted", NUMBERS)
def test_types_alone_refuse_bools_of_numbers_and_floats_that_are_narrower(stored: Any, wanted: Any) -> None:
    narrower = stored in FLOATS and wanted in FLOATS and FLOATS.index(wanted) < FLOATS.index(stored)
    assert may_convert(stored, wanted) == (not narrower and not (wanted == "bool" and stored != "bool"))


@pytest.mark.parametrize("stored", NUMBERS)
@pytest.mark.parametrize("wanted", NUMBERS)
def test_a_type_that_widens_holds_the_largest_and_the_smallest_of_the_other(stored: Any, wanted: Any) -> None:
    if stored == "bool":
        edges: list[Any] = [0, 1]
    elif stored in WHOLE:
        info = np.iinfo(stored)
        edges = [int(info.min), int(info.max), int(info.max) - 1]
    else:
        edges = [
            float(np.finfo(stored).max),
            float(np.finfo(stored).smallest_subnormal),
            1 + float(np.finfo(stored).eps),
        ]
    kept = stored == wanted or (wanted != "bool" and all(holds(wanted, exact(each)) for each in edges))
    if stored in FLOATS:
        kept = wanted in FLOATS and FLOATS.index(wanted) >= FLOATS.index(stored)
    assert widens(stored, wanted) == kept


@pytest.mark.parametrize("shape", [(6,), (3, 2), (1, 3, 2)])
def test_places_and_shapes_are_kept(shape: Any) -> None:
    given = np.array([1.0, 2.5, np.nan, -1.0, 255.0, 256.0]).reshape(shape)
    found = convert(given, "uint8")
    assert found.values.tolist() == np.array([1, 0, 0, 0, 255, 0]).reshape(shape).tolist()
    assert found.lost.reshape(-1).tolist() == [False, True, False, True, False, True]
    assert found.missing.reshape(-1).tolist() == [False, False, True, False, False, False]


def test_what_is_of_the_dtype_is_not_copied() -> None:
    given = np.arange(4, dtype=np.float32)
    assert convert(given, "float32").values is given


def test_bytes_in_another_order_are_the_same_numbers() -> None:
    found = convert(np.array([1, 2**53 + 1, 2**60], ">i8"), "float64")
    assert (found.values.tolist(), found.lost.tolist()) == ([1, 0, 2**60], [False, True, False])
    assert convert(np.array([1.5], ">f4"), "float32").values.tolist() == [1.5]


numbers = st.one_of(st.integers(-(2**70), 2**70), st.sampled_from(EDGES), st.floats(), st.booleans(), st.none(), st.sampled_from(SPECIAL))  # fmt: skip


@pytest.mark.parametrize("wanted", NUMBERS)
def test_numbers_of_python_are_whole_exactly_and_floats_the_nearest(wanted: Any) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(numbers, max_size=6))
    @example([2**63 + 1, 1, 0.0])
    @example([2**53 + 1, 0.5])
    @example([3.0, -(2**63), 2**63 - 1])
    def check(values: Any) -> None:
        found = from_objects(np.fromiter(values, object, len(values)), wanted)
        lost = np.zeros(len(values), bool) if found.lost is None else found.lost
        missing = np.zeros(len(values), bool) if found.missing is None else found.missing
        assert found.values.dtype == wanted
        for value, got, is_lost, is_gone in zip(values, found.values.tolist(), lost, missing, strict=True):
            if value is None or (value != value and wanted not in FLOATS):
                assert (is_gone, is_lost) == (True, False)
            elif wanted == "bool":
                assert (is_lost, got) == ((False, value) if isinstance(value, bool) else (True, False))
            elif wanted in WHOLE:
                fits = not (isinstance(value, float) and math.isinf(value)) and holds(wanted, exact(value))
                assert (is_lost, got) == ((False, value) if fits else (True, 0))
            else:
                with np.errstate(over="ignore"):
                    near = np.dtype(wanted).type(float(value))
                over = np.isinf(near) and not math.isinf(value)
                assert is_lost == over
                assert over or got == near or (got != got and near != near)

    check()


@pytest.mark.parametrize(
    ("value", "wanted", "number"),
    [
        (Decimal("3.00"), "int64", 3),
        (Decimal("3.5"), "int64", None),
        (Decimal("0.1"), "float64", 0.1),
        (Decimal("1e400"), "float64", None),
        (Decimal("123456789012345678"), "int64", 123456789012345678),
        (np.int64(300), "uint8", None),
        (np.uint8(7), "int64", 7),
        (np.float64(0.1), "float32", float(np.float32(0.1))),
        (np.float32(7), "int8", 7),
        (np.bool_(True), "float32", 1.0),
        (np.bool_(True), "bool", True),
        (1, "bool", None),
        ("7", "int64", None),
        (1j, "float64", None),
        ([1], "int64", None),
        (10**400, "float64", None),
    ],
)
def test_single_numbers(value: Any, wanted: str, number: Any) -> None:
    given = np.empty(2, object)
    given[:] = [value, True]
    found = from_objects(given, wanted)
    assert found.missing is None
    assert (found.lost is not None) == (number is None)
    assert found.values.tolist() == [0 if number is None else number, 1]


def test_what_is_missing() -> None:
    import pandas as pd

    gone = [None, math.nan, np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), np.timedelta64("NaT")]
    there = [0, "", b"", "nan", "NA", False, [], np.datetime64("2026-01-01"), np.array([np.nan])]
    assert [is_missing(each) for each in gone] == [True] * len(gone)
    assert [is_missing(each) for each in there] == [False] * len(there)
    for wanted in ("int64", "bool"):
        found = from_objects(np.fromiter([*gone, True], object, len(gone) + 1), wanted)
        assert (found.lost, found.missing.tolist()) == (None, [True] * len(gone) + [False])


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (3.5, "int64", "is int64; got 3.5, which is not whole"),
        (np.float64(3.5), "int64[3]", "is int64[3]; got 3.5, which is not whole"),
        (300, "uint8", "is uint8; got 300, which is out of its range"),
        (1e20, "int64", "is int64; got 1e+20, which is out of its range"),
        (math.inf, "int64", "is int64; got inf, which is out of its range"),
        (1e300, "float32", "is float32; got 1e+300, which is out of its range"),
        (np.int64(2**53 + 1), "float64", "is float64; got 9007199254740993, which it cannot hold exactly"),
        ("7", "int64", "is int64; got '7'"),
        (1, "bool", "is bool; got 1"),
        (7, "string", "is string; got 7"),
        ("x" * 99, "int64", f"is int64; got '{'x' * 76}..."),
    ],
)
def test_a_refusal_shows_the_value_and_says_why(value: Any, kind: str, text: str) -> None:
    assert refusal(value, ColumnType.parse(kind)) == text
