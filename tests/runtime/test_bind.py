"""What users give in Python becomes the columns that the graph takes, or is refused, row by row where a row is at fault."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import motet as mt
from helpers.rows import play
from motet.errors import TypeMismatchError, UnknownNameError


def through(kind, **options):
    """A graph that gives back its input."""
    return mt.Graph("g", {"y": mt.input("x", kind, **options)})


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("float32", np.array([1, 2], np.float32), np.array([1, 2], np.float32)),
        ("float32", [1, 2.5], np.array([1, 2.5], np.float32)),
        ("float64", np.array([1, 2], np.float32), np.array([1, 2], np.float64)),
        ("int64", np.array([1, 2], np.uint8), np.array([1, 2], np.int64)),
        ("uint8", [0, 255], np.array([0, 255], np.uint8)),
        ("float32", [1, 2], np.array([1, 2], np.float32)),
        ("bool", [True, False], np.array([True, False])),
        ("uint8[2,2]", np.zeros((3, 2, 2), np.uint8), np.zeros((3, 2, 2), np.uint8)),
        ("float32[2]", [[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], np.float32)),
        ("float32[2]", [np.zeros(2, np.float32)] * 2, np.zeros((2, 2), np.float32)),
        ("string", ["a", "b"], np.array(["a", "b"], object)),
        ("string", np.array(["a", "b"]), np.array(["a", "b"], object)),
        ("bytes", [b"a", bytearray(b"b")], np.array([b"a", bytearray(b"b")], object)),
        ("any", [1, 2], np.array([1, 2])),
        ("any", np.array([{"a": 1}, "b"], object), np.array([{"a": 1}, "b"], object)),
        ("int64", np.array([1, 2], object), np.array([1, 2], np.int64)),
        ("float32", np.array([1, 2.5], object), np.array([1, 2.5], np.float32)),
        ("int64", np.array([3.0, -2.0]), np.array([3, -2])),
        ("int64", [3.0, 2**62 + 1], np.array([3, 2**62 + 1])),
        ("int64[?]", [[3.0, 2**62 + 1]] * 2, np.array([[3, 2**62 + 1]] * 2)),
        ("int8", np.array([127, -128]), np.array([127, -128], np.int8)),
        ("float32", np.array([1, 2**24]), np.array([1, 2**24], np.float32)),
        ("float64", np.array([1, 2**53], np.uint64), np.array([1, 2**53], np.float64)),
        ("int64", [True, False], np.array([1, 0])),
        ("float32", np.array([True, False]), np.array([1, 0], np.float32)),
        ("any", [1, 2.5, True], np.array([1, 2.5, True], object)),
        ("string[2]", [["a", "b"]], np.array([["a", "b"]], object)),
        ("uint64[2]", [[2**64 - 1, 1], [0, 2**63]], np.array([[2**64 - 1, 1], [0, 2**63]], np.uint64)),
    ],
)
def test_values_that_mean_the_type_are_taken(kind, given, wanted):
    found = through(kind)({"x": given})["y"]
    if isinstance(found, list):
        found = np.stack(found)
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("kind", "given", "got"),
    [
        ("float32", np.array([1, 2], np.float64), "float64"),
        ("float32", np.zeros((2, 3), np.float32), "float32[3]"),
        ("float32[3]", np.zeros((2, 4), np.float32), "float32[4]"),
        ("float32[3]", np.zeros(2, np.float32), "float32"),
        ("float32[?]", np.zeros((2, 3, 4), np.float32), "float32[3,4]"),
        ("bool", np.array([0, 1]), "int64"),
        ("float32", np.array([1j]), "complex128"),
        ("float64", np.array(["2026-01-01"], "datetime64[s]"), "datetime64[s]"),
        ("string", np.zeros(2), "float64"),
    ],
)
def test_a_column_of_another_type_is_refused(kind, given, got):
    with pytest.raises(TypeMismatchError) as caught:
        through(kind)({"x": given})
    assert str(caught.value).startswith(f"input 'x' is {kind}; got {got}")


@pytest.mark.parametrize(
    ("kind", "given", "messages"),
    [
        ("float32", [1.0, None, 3.0], [None, "input 'x' is null", None]),
        ("string", ["a", None], [None, "input 'x' is null"]),
        ("string", np.array(["a", 3, b"b"], object), [None, "input 'x' is string; got 3", "input 'x' is string; got b'b'"]),
        ("bytes", np.array([b"a", "b"], object), [None, "input 'x' is bytes; got 'b'"]),
        ("int64", np.array([1, 1.5, "7", [1], None, 2**80], object), [None, "input 'x' is int64; got 1.5, which is not whole", "input 'x' is int64; got '7'", "input 'x' is int64; got [1]", "input 'x' is null", f"input 'x' is int64; got {2**80}, which is out of its range"]),
        ("uint8", np.array([1, 256, np.int64(3), 3.0], object), [None, "input 'x' is uint8; got 256, which is out of its range", None, None]),
        ("uint8", np.array([-1, 256, 3]), ["input 'x' is uint8; got -1, which is out of its range", "input 'x' is uint8; got 256, which is out of its range", None]),
        ("uint8", [-1, 3], ["input 'x' is uint8; got -1, which is out of its range", None]),
        ("int64", [1, 2.5, 3.0], [None, "input 'x' is int64; got 2.5, which is not whole", None]),
        ("int64", np.array([1, 2.5, np.nan]), [None, "input 'x' is int64; got 2.5, which is not whole", "input 'x' is null"]),
        ("int64", np.array([1, 2**63], np.uint64), [None, "input 'x' is int64; got 9223372036854775808, which is out of its range"]),
        ("uint64", [2**64 - 1, 1.5, -1], [None, "input 'x' is uint64; got 1.5, which is not whole", "input 'x' is uint64; got -1, which is out of its range"]),
        ("float64", np.array([2**53, 2**53 + 1]), [None, "input 'x' is float64; got 9007199254740993, which it cannot hold exactly"]),
        ("float16", [1, 1e5], [None, "input 'x' is float16; got 100000.0, which is out of its range"]),
        ("bool", [True, 1], [None, "input 'x' is bool; got 1"]),
        ("float32", ["a", 1], ["input 'x' is float32; got 'a'", None]),
        ("string", ["a", 1], [None, "input 'x' is string; got 1"]),
        ("string", [1], ["input 'x' is string; got 1"]),
        ("int64[2]", [[1, 2], [1, 2.5]], [None, "input 'x' is int64[2]; got 2.5, which is not whole"]),
        ("int64[2]", [[1, 2], [1, None]], [None, "input 'x' holds a null"]),
        ("int64[2]", np.array([[1, np.nan], [1, 2]]), ["input 'x' holds a null", None]),
        ("int64[?]", [[1.0, 2], [], [0.5, 1.5]], [None, None, "input 'x' is int64[?]; got 0.5, which is not whole"]),
        ("float64[2]", [[1.0, 2.0], [1.0], [1.0, None]], [None, "input 'x' is float64[2]; got shape [1]", "input 'x' holds a null"]),
        ("float64[?]", [[1.0, 2], ["x"], [], [None]], [None, "input 'x' is float64[?]; got 'x'", None, "input 'x' holds a null"]),
        ("int64[?]", [[1], ["2", 3], None, [2**60]], [None, "input 'x' is int64[?]; got '2'", "input 'x' is null", None]),
        ("float64[?,2]", [[[1, 2]], [[1, None], [2, 3]], []], [None, "input 'x' holds a null", None]),
        ("bool[2]", [[True, False], [True, 1]], [None, "input 'x' is bool[2]; got 1"]),
        ("string[2]", [["a", "b"], ["a", None], ["a", 3], ["a"]], [None, "input 'x' holds a null", "input 'x' is string[2]; got 3", "input 'x' is string[2]; got shape [1]"]),
        ("int64", np.ma.masked_array([1, 2], [False, True]), [None, "input 'x' is null"]),
        ("float32[2]", [np.zeros(2, np.float32), np.zeros(3, np.float32), None], [None, "input 'x' is float32[2]; got shape [3]", "input 'x' is null"]),
        ("float32[2]", [np.zeros(2, np.float32), np.zeros(3, np.float32)], [None, "input 'x' is float32[2]; got shape [3]"]),
        ("float32[?]", [[1, 2], None, []], [None, "input 'x' is null", None]),
        ("float32[?,2]", [np.zeros((1, 2), np.float32), np.zeros((2, 3), np.float32)], [None, "input 'x' is float32[?,2]; got shape [2, 3]"]),
        ("float32[?,2]", [[], [[1, 2]], [[1], [2, 3]], [[]]], [None, None, "input 'x' is float32[?,2]; got list", "input 'x' is float32[?,2]; got shape [1, 0]"]),
        ("any", [1, None], [None, "input 'x' is null"]),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_fail_alone(kind, given, messages):
    found = play(through(kind), {"x": given})
    assert [None if isinstance(each, dict) else each.message for each in found] == messages
    assert {(each.node, each.model, each.error) for each in found if not isinstance(each, dict)} == {
        ("input", "", "InputError")
    }


@pytest.mark.parametrize(
    ("kind", "default", "given", "wanted"),
    [
        ("float32", 7, [1.0, None], [1, 7]),
        ("int64", 7, [1, None], [1, 7]),
        ("bool", True, [False, None], [False, True]),
        ("string", "none", ["a", None], ["a", "none"]),
        ("bytes", "none", [b"a", None], [b"a", b"none"]),
        ("float32[2]", [1, 2], [np.zeros(2, np.float32), None], [[0, 0], [1, 2]]),
        ("any", {"a": 1}, [3, None], [3, {"a": 1}]),
        ("string", None, ["a", None], ["a", None]),
        ("any", None, ["a", None], ["a", None]),
        ("string", "none", ["a", np.nan], ["a", "none"]),
        ("int64", 7, np.array([1, np.nan]), [1, 7]),
        ("int64", 7, [1, pd.NA], [1, 7]),
        ("string", "none", pd.Series(["a", None]), ["a", "none"]),
        ("string", "none", pd.Series(["a", np.nan], dtype=object), ["a", "none"]),
        ("string", "none", pd.Series(["a", pd.NaT], dtype=object), ["a", "none"]),
        ("string", "none", pd.Series(["a", pd.NA], dtype="category"), ["a", "none"]),
        ("int64", 7, pa.array([2**60 + 1, None]), [2**60 + 1, 7]),
        ("int64", 7, pa.chunked_array([[2**60 + 1], [None]]), [2**60 + 1, 7]),
        ("string", "none", pa.array(["a", None]).dictionary_encode(), ["a", "none"]),
        ("any", None, pd.Series(["a", None]), ["a", None]),
        ("any", None, pd.Series(["a", np.nan], dtype=object), ["a", None]),
        ("any", None, pd.Series([1, pd.NA], dtype="Int64"), [1, None]),
        ("any", None, pd.Series(["a", pd.NA], dtype="category"), ["a", None]),
        ("int64", 7, pd.Series([2**60 + 1, pd.NA], dtype="Int64"), [2**60 + 1, 7]),
        ("bool", True, pd.Series([False, pd.NA], dtype="boolean"), [False, True]),
        ("float32[2]", [1, 2], pd.Series([[0, 0.0], np.nan]), [[0, 0], [1, 2]]),
    ],
)
def test_a_default_stands_in_for_nulls_and_for_the_column(kind, default, given, wanted):
    graph = mt.Graph("g", {"y": mt.input("x", kind, default=default), "z": mt.input("z", "float32")})
    z = np.zeros(len(given), np.float32)
    assert graph({"x": given, "z": z})["y"].tolist() == wanted
    assert graph({"z": z})["y"].tolist() == [wanted[-1]] * len(given)


def test_the_default_none_lets_nulls_of_numbers_through_as_nan():
    graph = mt.Graph("g", {"y": mt.input("x", "float32", default=None), "z": mt.input("z", "float32")})
    z = np.zeros(2, np.float32)
    found = graph({"x": [1.0, None], "z": z})["y"]
    assert (found[0], np.isnan(found[1]), found.dtype) == (1, True, np.float32)
    assert np.isnan(graph({"z": z})["y"]).all()


def test_a_default_of_rows_that_vary():
    graph = through("float32[?]", default=[1, 2, 3])
    found = graph({"x": [np.zeros(1, np.float32), None]})["y"]
    assert [row.tolist() for row in found] == [[0], [1, 2, 3]]


def test_columns_are_checked_against_the_inputs():
    graph = mt.Graph("g", {"y": mt.input("x", "float32"), "z": mt.input("size", "float32")})
    x = np.zeros(2, np.float32)
    with pytest.raises(
        UnknownNameError, match="graph 'g': unknown input 'sise'; did you mean 'size'\\? known: x, size"
    ):
        graph({"x": x, "sise": x})
    with pytest.raises(mt.InputError, match="input 'size' is missing; the graph takes x: float32, size: float32"):
        graph({"x": x})
    with pytest.raises(mt.InputError, match="inputs differ in their number of rows: x has 2, size has 1"):
        graph({"x": x, "size": x[:1]})
    with pytest.raises(
        mt.InputError,
        match="input 'x' must have the row as its first axis; got a single value\n  hint: write \\[value\\] for one row",
    ):
        graph({"x": np.float32(1), "size": x})
    with pytest.raises(
        mt.InputError, match='expected columns by name; got ndarray\n  hint: write graph\\(\\{"name": array\\}\\)'
    ):
        graph(x)
    with pytest.raises(mt.RowErrors, match=r"row 1: node input: InputError: input 'x' is float32; got \[2\]"):
        graph({"x": [1, [2]], "size": x})


def test_no_rows_are_answered_with_no_rows():
    graph = mt.Graph(
        "g", {"a": mt.input("a", "float32[2]"), "b": mt.input("b", "float32[?]"), "c": mt.input("c", "string")}
    )
    answers = graph({"a": np.zeros((0, 2), np.float32), "b": [], "c": []})
    assert (answers["a"].shape, answers["a"].dtype, answers["b"], answers["c"].dtype) == (
        (0, 2),
        np.float32,
        [],
        object,
    )


def test_every_row_may_be_bad():
    with pytest.raises(mt.RowErrors, match="2 of 2 rows failed"):
        through("float32")({"x": [None, None]})


def test_what_was_given_stays_as_it_was():
    given = np.array([1.0, None], dtype=object)
    through("float32", default=3)({"x": given})
    assert given.tolist() == [1.0, None]


def test_one_row_without_its_axis_is_told_how_to_be_given():
    for shape, hint in (((2, 3), "write array[None] for one row"), ((4, 3), "convert it: array.astype('uint8')")):
        with pytest.raises(TypeMismatchError, match=r"input 'x' is uint8\[2,3\]; got uint8\[3\]") as told:
            through("uint8[2,3]")({"x": np.zeros(shape, np.uint8)})
        assert told.value.hint.startswith(hint)
