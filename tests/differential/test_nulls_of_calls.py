"""What has no value is missing in a call, whoever's array it stands in, as it is in a run of the same column."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt

NUMPY = {"int64": "i8", "int8": "i1", "float64": "f8", "float32": "f4", "bool": "?"}
ARROW = {
    "int64": pa.int64(), "int8": pa.int8(), "float64": pa.float64(), "float32": pa.float32(), "bool": pa.bool_(),
    "string": pa.string(), "bytes": pa.binary(),
}  # fmt: skip
PANDAS = {"int64": "Int64", "int8": "Int8", "float64": "Float64", "float32": "Float32", "bool": "boolean"}
DEFAULTS = {"int64": 7, "int8": 7, "float64": 7.5, "float32": 7.5, "bool": True, "string": "d", "bytes": b"d"}
VALUES = {
    "int64": st.integers(-(2**63), 2**63 - 1), "int8": st.integers(-128, 127), "float64": st.floats(allow_nan=False),
    "float32": st.floats(width=32, allow_nan=False), "bool": st.booleans(),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=5), "bytes": st.binary(max_size=5),
}  # fmt: skip


def masked(values: Any, kind: Any, **options: Any) -> Any:
    """A masked array, with what is not to be seen where it is masked."""
    dtype = NUMPY.get(kind, object)
    held = np.array([DEFAULTS[kind] if value is None else value for value in values], dtype)
    return np.ma.array(held, mask=[value is None for value in values], **options)


def forms_of(values: Any, kind: Any) -> Iterator[Any]:
    """The same column in everything that says itself what is missing, with its name."""
    stored = pa.array(values, ARROW[kind])
    yield "list", values
    yield "arrow", stored
    yield "chunks", pa.chunked_array([stored[:1], stored[1:]])
    yield "slice", pa.concat_arrays([stored, stored]).slice(len(values))
    yield "dictionary", stored.dictionary_encode()
    yield "run ends", pc.run_end_encode(stored)
    yield "scalars", list(stored)
    yield "polars", pl.Series(stored)
    yield "pandas of Arrow", pd.Series(stored, dtype=pd.ArrowDtype(stored.type))
    yield "masked", masked(values, kind)
    yield "hard mask", masked(values, kind, hard_mask=True)
    yield "none and masked", [np.ma.masked if value is None else value for value in values]
    if kind in PANDAS:
        yield "pandas", pd.Series(values, dtype=PANDAS[kind])
        yield "pandas array", pd.array(values, dtype=PANDAS[kind])
        yield "NA", [pd.NA if value is None else value for value in values]
    if kind == "string":
        yield "pandas string", pd.Series(values, dtype="string")
        yield "categories", pd.Series(values, dtype=pd.CategoricalDtype(sorted({"d", *values} - {None})))
        yield "large", stored.cast(pa.large_string())
        yield "view", stored.cast(pa.string_view())


@pytest.mark.parametrize("kind", list(DEFAULTS))
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_nulls_are_missing_whoever_holds_them(kind: Any, data: Any) -> None:
    values = data.draw(st.lists(st.none() | VALUES[kind], min_size=1, max_size=6))
    strict = mt.Graph("g", {"o": mt.input("x", kind)})
    default = mt.Graph("g", {"o": mt.input("x", kind, default=DEFAULTS[kind])})
    gone = [row for row, value in enumerate(values) if value is None]
    for form, column in forms_of(values, kind):
        answers, failures = strict({"x": column}, failures="return")
        assert answers["o"].tolist() == [value for value in values if value is not None], form
        assert [(each.row, each.message) for each in failures] == [(row, "input 'x' is null") for row in gone], form
        filled = [DEFAULTS[kind] if value is None else value for value in values]
        assert default({"x": column})["o"].tolist() == filled, form


@pytest.mark.parametrize("form", ["arrow", "polars", "pandas of Arrow", "masked", "list"])
def test_a_run_and_a_call_of_a_column_take_the_same_rows(form: str) -> None:
    values = [1.5, None, -3.0, None]
    column = dict(forms_of(values, "float64"))[form]
    for kind, options in {"float64": {}, "any": {"default": None}}.items():
        graph = mt.Graph("g", {"o": mt.input("x", kind, **options)})
        called, failures = graph({"x": column}, failures="return")
        ran, failed = graph.run({"x": column}, failures="return", keep=[], batch_rows=2)
        assert [each.row for each in failures] == [each.row for each in failed]
        assert list(called["o"]) == ran["o"].to_pylist()


def test_categories_that_are_missing_are_missing() -> None:
    for column in (pd.Categorical([1.5, None]), pd.Series([1.5, None], dtype="category"), pa.array([1.5, None]).dictionary_encode()):  # fmt: skip
        assert mt.Graph("g", {"o": mt.input("x", "float64", default=7.0)})({"x": column})["o"].tolist() == [1.5, 7.0]


@pytest.mark.parametrize("encoded", [pa.Array.dictionary_encode, pc.run_end_encode])
@pytest.mark.parametrize("kind", sorted(ARROW))
def test_runs_take_encoded_columns_with_nulls(kind: Any, encoded: Any) -> None:
    values = [DEFAULTS[kind], None, DEFAULTS[kind]]
    table = pa.table({"x": encoded(pa.array(values, ARROW[kind]))})
    graph = mt.Graph("g", {"o": mt.input("x", kind)})
    answers, failures = graph.run(table, failures="return", keep=[], batch_rows=2)
    assert answers["o"].to_pylist() == [values[0], values[2]]
    assert [each.row for each in failures] == [1]


@pytest.mark.parametrize("kind", ["float64[2]", "float64[?]"])
def test_a_null_within_a_row_fails_it(kind: str) -> None:
    rows = [[1.0, 2.0], None, [1.0, None], [3.0, 4.0]]
    graph = mt.Graph("g", {"o": mt.input("x", kind)})
    for column in (rows, pa.array(rows), pa.chunked_array([rows[:2], rows[2:]]), pl.Series(rows)):
        answers, failures = graph({"x": column}, failures="return")
        assert [list(row) for row in answers["o"]] == [[1, 2], [3, 4]]
        assert [(each.row, each.message) for each in failures] == [
            (1, "input 'x' is null"), (2, "input 'x' holds a null"),
        ]  # fmt: skip


def test_a_masked_element_fails_its_row_and_no_other() -> None:
    column = np.ma.array([[1.0, 2.0], [3.0, 9.0], [4.0, 5.0]], mask=[[False, False], [False, True], [False, False]])
    answers, failures = mt.Graph("g", {"o": mt.input("x", "float64[2]")})({"x": column}, failures="return")
    assert answers["o"].tolist() == [[1, 2], [4, 5]]
    assert [(each.row, each.message) for each in failures] == [(1, "input 'x' holds a null")]


def test_a_mask_changes_nothing_of_what_a_type_takes() -> None:
    graph = mt.Graph("g", {"o": mt.input("x", "float32")})
    for column in (np.array([0.1, 0.2]), np.ma.array([0.1, 0.2]), np.ma.array([0.1, 0.2], mask=[False, True]), pa.array([0.1, None])):  # fmt: skip
        with pytest.raises(mt.errors.TypeMismatchError, match="float32"):
            graph({"x": column})


def test_columns_of_several_libraries_lose_the_same_rows() -> None:
    x, y, z = mt.input("x", "int64"), mt.input("y", "string"), mt.input("z", "float32", default=0.5)
    graph = mt.Graph("g", {"x": x, "y": y, "z": z})
    columns = {
        "x": pd.Series([1, 2, None, 4], dtype="Int64"),
        "y": pa.array(["a", None, "c", "d"]),
        "z": np.ma.array(np.array([1, 2, 3, 9], np.float32), mask=[False, False, False, True]),
    }
    answers, failures = graph(columns, failures="return")
    assert {name: column.tolist() for name, column in answers.items()} == {
        "x": [1, 4], "y": ["a", "d"], "z": [1.0, 0.5],
    }  # fmt: skip
    assert [(each.row, each.message) for each in failures] == [(1, "input 'y' is null"), (2, "input 'x' is null")]
    assert not np.ma.getmaskarray(columns["z"])[0]
    assert columns["z"].data.tolist() == [1, 2, 3, 9]
