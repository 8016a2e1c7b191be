"""Data frames in and out: of pandas, polars, DuckDB and Arrow, called and run. What pandas computes is what is right."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.errors import InputError, RowErrors, TypeMismatchError, UnknownNameError

FRAMES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "duckdb": lambda frame: duckdb.from_df(frame),
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "batch": lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    "reader": lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_reader(2),
}


@pytest.fixture(params=[kind for kind in FRAMES if kind != "reader"])
def make(request: pytest.FixtureRequest) -> Callable[[pd.DataFrame], Any]:
    return FRAMES[request.param]


@pytest.fixture
def graph() -> mt.Graph:
    x = mt.input("x", "float64", default=None)
    color = mt.input("color", "string", default="none")
    name = mt.map(lambda x, color: [f"{c}{v}" for c, v in zip(color, x, strict=True)], x, color, outputs="string")
    doubled = mt.map(lambda x: x * 2, x, outputs="float64")
    pair = mt.map(lambda x: np.stack([x, -x], axis=1), x, outputs="float64[2]")
    return mt.Graph("g", outputs={"name": name, "doubled": doubled, "pair": pair})


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "zip": ["00123", None, "00456", "7"],
            "x": [1.0, np.nan, 3.5, -2.0],
            "color": pd.Categorical(["red", "blue", None, "red"]),
            "count": pd.array([1, None, 3, 4], dtype="Int64"),
        }
    )


def expected(frame: pd.DataFrame) -> dict[str, Any]:
    color = frame["color"].astype(object).where(frame["color"].notna(), "none")
    return {
        "name": [f"{c}{x}" for c, x in zip(color, frame["x"], strict=True)],
        "doubled": (frame["x"] * 2).to_numpy(),
        "pair": np.stack([frame["x"], -frame["x"]], axis=1),
    }


def test_a_call_takes_a_frame_and_leaves_other_columns_alone(make: Any, graph: mt.Graph, frame: pd.DataFrame) -> None:
    answers = graph(make(frame))
    want = expected(frame)
    assert answers["name"].tolist() == want["name"]
    np.testing.assert_array_equal(answers["doubled"], want["doubled"])
    np.testing.assert_array_equal(answers["pair"], want["pair"])


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("batch_rows", [1, 3, None])
def test_a_run_gives_a_table_back(kind: str, batch_rows: int | None, graph: mt.Graph, frame: pd.DataFrame) -> None:
    table = graph.run(FRAMES[kind](frame), batch_rows=batch_rows)
    assert table.schema.names == ["zip", "x", "color", "count", "name", "doubled", "pair"]
    want = expected(frame)
    assert table["name"].to_pylist() == want["name"]
    back = table.to_pandas()
    np.testing.assert_array_equal(back["doubled"], want["doubled"])
    np.testing.assert_array_equal(np.stack(back["pair"]), want["pair"])
    assert table["zip"].to_pylist() == ["00123", None, "00456", "7"]
    assert table["count"].to_pylist() == [1, None, 3, 4]


def test_the_index_of_a_pandas_frame_comes_back(graph: mt.Graph, frame: pd.DataFrame) -> None:
    for index in (pd.Index([7, 3, 9, 1]), pd.Index(list("abcd"), name="key"), pd.RangeIndex(4)):
        given = frame.set_index(index)
        back = graph.run(given).to_pandas()
        pd.testing.assert_index_equal(back.index, given.index)
        np.testing.assert_array_equal((given["x"] * 2).to_numpy(), back["doubled"].reindex(given.index).to_numpy())


def test_a_frame_and_the_file_that_pandas_makes_of_it_are_answered_alike(
    graph: mt.Graph, frame: pd.DataFrame, tmp_path: Any
) -> None:
    frame.to_parquet(tmp_path / "in.parquet")
    graph.run(tmp_path / "in.parquet", tmp_path / "out.parquet", batch_rows=2)
    read = pq.read_table(tmp_path / "out.parquet").to_pandas()
    pd.testing.assert_frame_equal(read, graph.run(frame).to_pandas(), check_dtype=False, check_categorical=False)


def test_chunks_of_frames_are_a_source(graph: mt.Graph, frame: pd.DataFrame) -> None:
    table = graph.run(iter([frame[:2], frame[2:]]))
    assert table["name"].to_pylist() == expected(frame)["name"]


def test_chunks_of_a_database_are_a_source(graph: mt.Graph, frame: pd.DataFrame, tmp_path: Any) -> None:
    for threads in (True, False):
        with closing(sqlite3.connect(tmp_path / f"{threads}.db", check_same_thread=threads)) as connection:
            frame.astype({"color": str}).to_sql("t", connection, if_exists="replace")
            chunks = pd.read_sql("select x from t", connection, chunksize=3)
            if threads:
                with pytest.raises(InputError, match="raised ProgrammingError: .*\n  hint: .* check_same_thread=False"):
                    graph.run(chunks)
            else:
                np.testing.assert_array_equal(graph.run(chunks).to_pandas()["doubled"], expected(frame)["doubled"])
    with pytest.raises(InputError, match=r"snowflake[\s\S]*hint: .*pandas\.read_sql"):
        graph.run("snowflake://host/base")
    with pytest.raises(
        InputError, match=r"sqlite:t.db: names no table\n  hint: write sqlite:t.db#TABLE, or .*\?query="
    ):
        graph.run("sqlite:///t.db")


def test_rows_that_fail_are_told_and_the_others_are_there(frame: pd.DataFrame) -> None:
    graph = mt.Graph("g", outputs={"y": mt.map(lambda x: x + 1, mt.input("x", "float64"), outputs="float64")})
    with pytest.raises(
        RowErrors, match=r"1 of 4 rows failed\n  row 1: node input: InputError: column 'x' is null"
    ) as e:
        graph.run(frame, batch_rows=1)
    assert e.value.columns["y"].to_pylist() == [2.0, 4.5, -1.0]
    assert e.value.ids == [0, 2, 3]
    table, failures = graph.run(frame, failures="return")
    assert [failure.row for failure in failures] == [1]
    assert table["zip"].to_pylist() == ["00123", "00456", "7"]
    answers, failures = graph(frame, failures="return")
    assert answers["y"].tolist() == [2.0, 4.5, -1.0]
    assert [failure.row for failure in failures] == [1]
    with pytest.raises(RowErrors, match="column 'x' is null"):
        graph(frame)


def test_no_rows_are_an_answer_too(make: Any, graph: mt.Graph, frame: pd.DataFrame) -> None:
    assert graph.run(make(frame[:0])).num_rows == 0
    assert len(graph(make(frame[:0]))["name"]) == 0


def test_what_is_no_frame_says_so(graph: mt.Graph, frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"a pandas Series: cannot be read as columns[\s\S]*hint: give a frame"):
        graph(frame["x"])
    with pytest.raises(InputError, match=r"column 'x': is one value, 1.5; [\s\S]*hint: a list of rows is a table"):
        graph.run([{"x": 1.5}, {"x": 2.5}])
    with pytest.raises(UnknownNameError, match="a pandas DataFrame: unknown column 'x'; .*known: y"):
        mt.Graph("h", outputs={"x": mt.input("x", "float64")})(pd.DataFrame({"y": [1.0]}))
    with pytest.raises(InputError, match=r"LazyFrame is nothing to read rows from\n  hint: .*\.collect\(\)"):
        graph.run(pl.DataFrame({"x": [1.0]}).lazy())
    with pytest.raises(InputError, match="resume is for runs that write a file"):
        graph.run(frame, resume=True)
    with pytest.raises(InputError, match="failures must be 'raise' or 'return'; got 'skip'"):
        graph.run(frame, failures="skip")  # type: ignore[call-overload]


def test_inputs_are_declared_by_a_frame(make: Any, frame: pd.DataFrame) -> None:
    renamed = frame.rename(columns={"x": "x (cm)", "zip": "2nd"}).assign(**{"x [cm]": 1.0, "ok": True})
    inputs = mt.inputs(make(renamed), leave_out=["count"])
    assert list(inputs) == ["2nd", "x (cm)", "color", "x [cm]", "ok"]
    graph = mt.Graph("g", outputs={f"o{place}": each for place, each in enumerate(inputs.values())})
    declared = {name: (str(each.type), each.has_default, each.column) for name, each in graph.inputs.items()}
    assert declared == {
        "column_2nd": ("string", True, "2nd"),
        "x_cm": ("float64", True, "x (cm)"),
        "color": ("string", True, None),
        "x_cm_2": ("float64", True, "x [cm]"),
        "ok": ("bool", False, None),
    }
    answers = graph(make(renamed))
    np.testing.assert_array_equal(answers["o1"], frame["x"])
    assert answers["o0"].tolist() == ["00123", None, "00456", "7"]
    with pytest.raises(UnknownNameError, match="leave_out: unknown column 'label'"):
        mt.inputs(make(renamed), leave_out=["label"])


def test_a_period_is_no_number() -> None:
    frame = pd.DataFrame({"x": pd.period_range("2024-01", periods=2, freq="M")})
    graph = mt.Graph("g", outputs={"y": mt.input("x", "float64")})
    for ask in (graph, graph.run):
        with pytest.raises(TypeMismatchError, match=r"pandas.period.*, the graph wants float64"):
            ask(frame)


UNKNOWN = {
    "mixed": [1, "a", None],
    "large": [10**25, 1, None],
    "complex": [1j, 2, 3],
    "objects": [object(), object(), None],
    "matrices": [np.zeros((2, 2)), np.ones((2, 2)), None],
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_column_that_arrow_has_no_type_for_matters_only_where_it_is_wanted(kind: str) -> None:
    index = ["p", "q", "r"]
    frame = pd.DataFrame({"k": pd.Series(UNKNOWN[kind], index, object), "x": [1.0, 2.0, 3.0]})
    graph = mt.Graph("g", outputs={"y": mt.map(lambda x: x * 2, mt.input("x", "float64"), outputs="float64")})
    assert graph(frame)["y"].tolist() == [2, 4, 6]
    assert graph.run(frame, drop=["k"]).to_pandas()["y"].to_dict() == {"p": 2, "q": 4, "r": 6}
    assert list(mt.inputs(frame, leave_out=["k"])) == ["x"]
    for ask in (graph.run, mt.inputs):
        with pytest.raises(InputError, match=r"column 'k' cannot be read: it holds values that cannot be stored: "):
            ask(frame)


def test_names_that_a_frame_has_twice_matter_only_where_they_are_wanted() -> None:
    frame = pd.DataFrame([[1.0, 2, 3]], columns=["x", "k", "k"])
    assert mt.Graph("g", outputs={"x": mt.input("x", "float64")})(frame)["x"].tolist() == [1]
    with pytest.raises(InputError, match="there are 2 columns 'k'"):
        mt.Graph("g", outputs={"k": mt.input("k", "int64")})(frame)


@pytest.mark.parametrize("batch_rows", [1, None])
@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize(
    ("kind", "values", "right"),
    [
        ("float64", [1, "n/a", 2.5, None, 10**400, True], [1, "x", 2.5, "x", "x", 1]),
        ("int64", [2**60 + 1, "7", 3.0, 3.5, np.nan, 10**25], [2**60 + 1, "x", 3, "x", "x", "x"]),
        ("string", ["a", 5, None, b"b", "", 2.5], ["a", "x", "x", "x", "", "x"]),
        ("bool", [True, 1, "true", None, False, np.True_], [True, "x", "x", "x", False, True]),
        ("float64[2]", [[1, 2], [1], "a", None, np.array([3.0, 4.0]), 5], [[1, 2], "x", "x", "x", [3, 4], "x"]),
    ],
)
def test_objects_of_several_kinds_are_read_row_by_row(
    kind: str, values: list[Any], right: list[Any], batch_rows: int | None, chunks: bool
) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object), "id": range(6)})
    graph = mt.Graph("g", outputs={"y": mt.input("x", kind)})
    expected = {row: value for row, value in enumerate(right) if not (isinstance(value, str) and value == "x")}
    source = [frame[:2], frame[2:]] if chunks and "[" not in kind else frame
    table, failures = graph.run(source, failures="return", drop=["x"], batch_rows=batch_rows)
    assert {row["id"]: row["y"] for row in table.to_pylist()} == expected
    assert [failure.row for failure in failures] == [row for row in range(6) if row not in expected]
    called, bad = graph(frame, failures="return")
    assert np.asarray(called["y"]).tolist() == list(expected.values())
    assert [failure.row for failure in bad] == [failure.row for failure in failures]


def test_sparse_columns_are_their_values() -> None:
    frame = pd.DataFrame({"x": pd.arrays.SparseArray([0.0, 1.5, 0.0])})
    assert mt.Graph("g", outputs={"y": mt.input("x", "float64")}).run(frame)["y"].to_pylist() == [0, 1.5, 0]


@pytest.mark.parametrize("kind", [">f8", ">f4", ">i2", ">u8"])
def test_numbers_may_have_the_other_order_of_bytes(kind: str) -> None:
    values = np.array([1, 2, 300], kind)
    pairs = np.stack([values, values], axis=1)
    graph = mt.Graph("g", outputs={"y": mt.input("x", "float64"), "z": mt.input("pair", "float64[2]")})
    for source in ({"x": values, "pair": pairs}, pd.DataFrame({"x": values, "pair": list(pairs)})):
        answers = graph.run(source, drop=["x", "pair"])
        assert answers["y"].to_pylist() == [1, 2, 300]
        assert answers["z"].to_pylist() == [[1, 1], [2, 2], [300, 300]]
        assert graph(source)["y"].tolist() == [1, 2, 300]


@pytest.mark.parametrize("kind", [np.complex128, np.longdouble])
def test_numbers_that_arrow_has_no_type_for_are_named(kind: Any) -> None:
    graph = mt.Graph("g", outputs={"y": mt.input("x", "float64")})
    with pytest.raises(InputError, match="column 'x': holds values that cannot be stored"):
        graph.run({"x": np.array([1, 2], kind)})


@pytest.mark.parametrize("once", [True, False])
def test_a_column_that_begins_with_nulls_is_what_comes_later(once: bool) -> None:
    chunks = [
        pd.DataFrame({"k": [None, None], "x": [1.0, 2.0]}),
        pd.DataFrame({"x": [3.0]}),
        pd.DataFrame({"k": ["a", None], "x": [4.0, 5.0]}),
    ]
    graph = mt.Graph("g", outputs={"y": mt.input("x", "float64")})
    table = graph.run(iter(chunks) if once else chunks)
    assert table["k"].to_pylist() == [None, None, None, "a", None]
    assert table["y"].to_pylist() == [1, 2, 3, 4, 5]
    assert graph.run(iter(chunks[:2]))["k"].to_pylist() == [None] * 3


def test_a_later_chunk_that_cannot_be_stored_is_no_null() -> None:
    kept = [pd.Series(["a", "b"]), pd.Series([1, "a"], dtype=object)]
    chunks = [pd.DataFrame({"k": each, "x": [1.0, 2.0]}) for each in kept]
    graph = mt.Graph("g", outputs={"y": mt.input("x", "float64")})
    with pytest.raises(InputError, match="column 'k' cannot be read: it holds values that cannot be stored"):
        graph.run(chunks)
    assert graph.run(chunks, drop=["k"])["y"].to_pylist() == [1, 2, 1, 2]
