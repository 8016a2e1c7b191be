"""What users give in Python becomes the columns that the graph takes, or is refused, row by row where a row is at fault."""

import numpy as np
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
        ("uint64[2]", [[2**64 - 1, 1], [0, 2**63]], np.array([[2**64 - 1, 1], [0, 2**63]], np.uint64)),
    ],
)
def test_values_that_mean_the_type_are_taken(kind, given, wanted):
    found = through(kind)({"x": given})["y"]
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("kind", "given", "got"),
    [
        ("float32", np.array([1, 2], np.float64), "float64"),
        ("uint8", np.array([1, 2], np.int64), "int64"),
        ("uint8", [1, 256], "int64"),
        ("uint8", [-1], "int64"),
        ("int64", [1, 2.5], "float64"),
        ("uint64", [2**64 - 1, 1.5], "float64"),
        ("uint64", [2**64 - 1, -1], "float64"),
        ("int64", np.array([1, 2], np.uint64), "uint64"),
        ("bool", [0, 1], "int64"),
        ("float32", np.zeros((2, 3), np.float32), "float32[3]"),
        ("float32[3]", np.zeros((2, 4), np.float32), "float32[4]"),
        ("float32[3]", np.zeros(2, np.float32), "float32"),
        ("float32[?]", np.zeros((2, 3, 4), np.float32), "float32[3,4]"),
        ("float32", ["a"], None),
        ("string", [1, 2], "int64"),
        ("string", np.zeros(2), "float64"),
    ],
)
def test_a_column_of_another_type_is_refused(kind, given, got):
    if got is None:
        with pytest.raises(mt.RowErrors, match=rf"row 0: node input: InputError: input 'x' is {kind}; got string"):
            through(kind)({"x": given})
        return
    with pytest.raises(TypeMismatchError) as caught:
        through(kind)({"x": given})
    assert str(caught.value).startswith(f"input 'x' is {kind}; got {got}")


@pytest.mark.parametrize(
    ("kind", "given", "messages"),
    [
        ("float32", [1.0, None, 3.0], [None, "input 'x' is null", None]),
        ("string", ["a", None], [None, "input 'x' is null"]),
        ("string", np.array(["a", 3, b"b"], object), [None, "input 'x' is string; got int", "input 'x' is string; got bytes"]),
        ("bytes", np.array([b"a", "b"], object), [None, "input 'x' is bytes; got str"]),
        ("int64", np.array([1, 1.5, "7", [1], None, 2**80], object), [None, "input 'x' is int64; got float64", "input 'x' is int64; got string", "input 'x' is int64; got int64[1]", "input 'x' is null", "input 'x' is int64; got any"]),
        ("uint8", np.array([1, 256, np.int64(3)], object), [None, "input 'x' is uint8; got int64", "input 'x' is uint8; got int64"]),
        ("float32[2]", [np.zeros(2, np.float32), np.zeros(3, np.float32), None], [None, "input 'x' is float32[2]; got float32[3]", "input 'x' is null"]),
        ("float32[2]", [np.zeros(2, np.float32), np.zeros(3, np.float32)], [None, "input 'x' is float32[2]; got shape [3]"]),
        ("float32[?]", [[1, 2], None, []], [None, "input 'x' is null", None]),
        ("float32[?,2]", [np.zeros((1, 2), np.float32), np.zeros((2, 3), np.float32)], [None, "input 'x' is float32[?,2]; got shape [2, 3]"]),
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
    with pytest.raises(mt.InputError, match="lists are nested unevenly"):
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
