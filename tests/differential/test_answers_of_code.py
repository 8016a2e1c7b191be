"""What users' code gives comes to the same rows in every way of asking: called, in bulk, and live over every protocol."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import odd_functions
from helpers.live_server import Live
from helpers.odd_functions import CASES, EACH, MISSING, NAMES, SIZES, UNDECLARED, WRONG, Fails, bobs
from motet.batch import objects
from motet.client import Client

DECLARED = {
    **{name: (*case, False) for name, case in CASES.items()},
    **{name: (*case, True) for name, case in EACH.items()},
}


def plain(value: Any) -> Any:
    """A value as Python says it; numbers that are whole as whole numbers."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value != value else value


def shown(wanted: Any) -> Any:
    """What a row comes to: the class of its failure, or its value."""
    return str(wanted) if isinstance(wanted, Fails) else ("row", plain(wanted))


def of_call(graph: Any, names: Any = NAMES) -> Any:
    answers, failures = graph({"name": list(names)}, failures="return")
    failed = {failure.row: failure for failure in failures}
    assert {failure.node for failure in failures} <= {"y"}
    values = iter(answers["y"])
    return [failed[row].error if row in failed else ("row", plain(next(values))) for row in range(len(names))]


def of_bulk(graph: Any, folder: Any, rows: Any, suffix: Any) -> Any:
    output = folder / f"o{rows}{suffix}"
    report = graph.run({"name": NAMES}, str(output), batch_rows=rows, failed=str(folder / "f.parquet"), overwrite=True)
    failed = {each["row"]: each for each in pq.read_table(folder / "f.parquet").to_pylist()}
    assert {each["node"] for each in failed.values()} <= {"y"}
    assert report.failed == len(failed)
    if suffix == ".parquet":
        answers = pq.read_table(output)["y"].to_pylist()
    else:
        answers = [json.loads(line)["y"] for line in output.read_text().splitlines()]
    values = iter(answers)
    return [failed[row]["error"] if row in failed else ("row", plain(next(values))) for row in range(len(NAMES))]


def graph_of(name: Any, *, outputs: Any = None, each: bool = False) -> mt.Graph:
    function, x = getattr(odd_functions, name), mt.input("name", "string")
    return mt.Graph(name.replace("_", "-"), {"y": mt.map(function, x, outputs=outputs, each=each, name="y")})


def graph_in_process(name: Any, *, outputs: Any) -> mt.Graph:
    """The function as a model in a process of its own."""
    model = mt.Model(
        f"python:helpers.odd_functions:{name}", inputs={"name": "string"}, outputs={"y": outputs}, placement="process"
    )
    return mt.Graph("g", {"y": mt.model(model, mt.input("name", "string"), name="y")})


@pytest.mark.parametrize("name", DECLARED)
def test_declared_answers_are_the_same_called_and_in_bulk(name: Any, tmp_path: Path) -> None:
    outputs, wanted, each = DECLARED[name]
    graph, wanted = graph_of(name, outputs=outputs, each=each), [shown(row) for row in wanted]
    assert of_call(graph) == wanted
    assert [row for alone in NAMES for row in of_call(graph, [alone])] == wanted
    for rows in (1, 2, 3, 10):
        assert of_bulk(graph, tmp_path, rows, ".parquet") == wanted
    assert of_bulk(graph, tmp_path, 2, ".jsonl") == wanted


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of every function, declared."""
    folder = tmp_path_factory.mktemp("live")
    files = []
    for name, (outputs, _, each) in DECLARED.items():
        made = {"map": f"helpers.odd_functions.{name}", "inputs": ["name"], "outputs": outputs, "each": each}
        graph = {"motet": 1, "name": name, "inputs": {"name": "string"}, "nodes": {"y": made}, "outputs": {"y": "y"}}
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(json.dumps(graph))
    shows = {"map": "helpers.odd_functions.shows", "inputs": ["name"]}
    files.append(folder / "shows.yaml")
    files[-1].write_text(
        json.dumps({"motet": 1, "inputs": {"name": "string"}, "nodes": {"y": shows}, "outputs": {"y": "y"}})
    )
    server = Live(folder, *files)
    server.until_ready()
    yield server
    server.close()


def posted(server: Any, path: Any, body: Any) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("name", DECLARED)
def test_declared_answers_are_the_same_from_predict(name: Any, live: Any) -> None:
    _, wanted, _ = DECLARED[name]
    status, said = posted(live, f"/predict/{name}", {"rows": [{"name": each} for each in NAMES]})
    failed = [isinstance(row, Fails) for row in wanted]
    assert status == 200, said
    for row, want, bad in zip(said["rows"], wanted, failed, strict=True):
        if bad:
            assert f"{want}" in json.dumps(row)
            assert "y" not in row
        else:
            assert row["y"] == plain(want)
    for each, want in zip(NAMES, wanted, strict=True):
        status, row = posted(live, f"/predict/{name}", {"name": each})
        assert status == (422 if isinstance(want, Fails) else 200), row


@pytest.mark.parametrize("protocol", ["rest", "json", "grpc"])
@pytest.mark.parametrize("name", DECLARED)
def test_declared_answers_are_the_same_from_inference(name: Any, protocol: str, live: Any) -> None:
    _, wanted, _ = DECLARED[name]
    given = {"name": "name", "shape": [1], "datatype": "BYTES"}
    if protocol == "grpc":
        pytest.importorskip("tritonclient.grpc")
        import tritonclient.grpc as triton

        client = triton.InferenceServerClient(f"127.0.0.1:{live.grpc_port}")
    for each, want in zip(NAMES, wanted, strict=True):
        failed = isinstance(want, Fails)
        if want is None or (isinstance(want, list) and None in want):
            continue  # the protocol has no form for what is missing
        if protocol == "json":
            status, said = posted(live, f"/v2/models/{name}/infer", {"inputs": [{**given, "data": [each]}]})
            assert status == (422 if failed else 200), said
            if not failed:
                assert np.array(said["outputs"][0]["data"]).tolist() == np.array(want).reshape(-1).tolist()
        elif protocol == "rest":
            with Client(live.url) as client:
                if failed:
                    with pytest.raises(mt.InputError) as caught:
                        client.infer(name, {"name": [each]})
                    assert str(want) in str(caught.value)
                else:
                    assert plain(client.infer(name, {"name": [each]})["y"]) == [plain(want)]
        else:
            tensor = triton.InferInput("name", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([each.encode()], object))
            if failed:
                with pytest.raises(triton.InferenceServerException, match=str(want)):
                    client.infer(name, [tensor])
            else:
                found = client.infer(name, [tensor]).as_numpy("y")
                assert [v.decode() if isinstance(v, bytes) else v for v in found.reshape(-1).tolist()] == np.array(
                    want
                ).reshape(-1).tolist()


@pytest.mark.parametrize("name", UNDECLARED)
def test_undeclared_answers_are_the_same_called(name: Any) -> None:
    wanted = [shown(row) for row in UNDECLARED[name]]
    graph = graph_of(name)
    assert of_call(graph) == wanted
    assert [row for alone in NAMES for row in of_call(graph, [alone])] == wanted


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
@pytest.mark.parametrize("name", UNDECLARED)
def test_undeclared_answers_are_the_same_in_bulk(name: Any, rows: int, tmp_path: Path) -> None:
    assert of_bulk(graph_of(name), tmp_path, rows, ".parquet") == [shown(row) for row in UNDECLARED[name]]


def types_of(function: Any, tmp_path: Path, rows: Any = 2, values: Any = (1.0, 2.0, 3.0, 4.0), **options: Any) -> Any:
    """A run of batches of two rows: the output's type, its values, and the rows that failed."""
    output = tmp_path / "o.parquet"
    graph = mt.Graph("g", {"y": mt.map(function, mt.input("x", "float64"), name="f")})
    graph.run({"x": list(values)}, str(output), batch_rows=rows, failed=str(tmp_path / "f.parquet"), **options)
    table, failed = pq.read_table(output), pq.read_table(tmp_path / "f.parquet").to_pylist()
    assert {each["node"] for each in failed} <= {"f"}
    assert all("declare outputs:" in each["message"] for each in failed)
    return str(table.schema.field("y").type), table["y"].to_pylist(), [each["row"] for each in failed]


@pytest.mark.parametrize(
    ("first", "later", "kind", "values"),
    [
        (np.array([1, 2]), np.array([1.0, 2.0]), "int64", [1, 2, 1, 2]),
        (np.array([1, 2]), np.array([1.5, 2.0]), "double", [1, 2, 1.5, 2]),
        (np.array([1.0, 2.0]), np.array([1, 2**53 + 1]), "double", [1, 2, 1]),
        (np.array([1, 2], np.float32), np.array([1e300, 1.0]), "double", [1, 2, 1e300, 1]),
        (np.array([1, 2], np.float32), np.array([1, 2], np.int16), "float", [1, 2, 1, 2]),
        (np.zeros(2), np.array(["007", "8"]), "double", [0, 0]),
        (np.array(["a", "b"]), np.array([1, 2]), "string", ["a", "b"]),
        (np.array(["a", "b"]), ["c", 7], "string", ["a", "b", "c"]),
        (np.array(["a", "b"]), [b"c", None], "string", ["a", "b", None]),
        ([None, None], ["a", None], "string", [None, None, "a", None]),
        ([None, None], [1, None], "int64", [None, None, 1, None]),
        ([None, 2.5], [1, None], "double", [None, 2.5, 1, None]),
        ([None, None], [None, None], "null", [None] * 4),
        ([[], []], [[], []], "list<element: null>", [[]] * 4),
        (np.array([True, False]), np.array([1, 0]), "bool", [True, False]),
        (np.array([1, 0]), np.array([True, False]), "int64", [1, 0]),
        ([[], []], [[1], []], "list<element: int64>", [[], [], [1], []]),
        ([[1, 2], [3, 4]], [[1], []], "list<element: int64>", [[1, 2], [3, 4], [1], []]),
        ([["a"], []], [["b", "c"], [1]], "list<element: string>", [["a"], [], ["b", "c"]]),
        (np.array(["2024-01-01", "2024-01-02"], "M8[ms]"), ["x", None], "timestamp[ms]", None),
        ([Decimal(0), Decimal("0.1")], [Decimal("12.5"), None], "decimal128(38, 1)", [0, Decimal("0.1"), Decimal("12.5"), None]),
        ([2**70, 1], [2, None], "int64", [1, 2, None]),
        ([object(), "a"], ["a", None], "string", ["a", "a", None]),
        ([object(), {"a": [1, "x"]}], [Decimal("0.5"), None], "decimal128(38, 1)", [Decimal("0.5"), None]),
        ([{"a": 1}, {"a": 2}], [{"a": 3}, 5], "struct<a: int64>", [{"a": 1}, {"a": 2}, {"a": 3}]),
        ([{"a": 1}, {"a": 2}], [{"a": 1.5}, {"a": 3.0}], "struct<a: int64>", [{"a": 1}, {"a": 2}, {"a": 3}]),
        ([{"a": "x"}, {"a": "y"}], [{"a": b"z"}, {1: "z"}], "struct<a: string>", [{"a": "x"}, {"a": "y"}]),
        (
            [{"a": 1}, {"a": 2}], [{"b": [3]}, {}], "struct<a: int64, b: list<element: int64>>",
            [{"a": 1, "b": None}, {"a": 2, "b": None}, {"a": None, "b": [3]}, {"a": None, "b": None}],
        ),
        ([{}, {}], [{"a": 1}, None], "struct<a: int64>", [{"a": None}, {"a": None}, {"a": 1}, None]),
        ([pd.Timestamp(1), None], [pd.Timestamp(2), 5], "timestamp[ns]", [pd.Timestamp(1), None, pd.Timestamp(2)]),
        ([pd.Timedelta(1000), None], [pd.Timedelta(2), 5], "duration[ns]", [pd.Timedelta(1000), None, pd.Timedelta(2)]),
        ([date(2024, 1, 1), None], [datetime(2024, 1, 2, 3), 5], "date32[day]", [date(2024, 1, 1), None]),
        (
            [datetime(2024, 1, 1), datetime(2024, 1, 2)], [datetime(2024, 1, 3, tzinfo=UTC), 5], "timestamp[us]",
            [datetime(2024, 1, 1), datetime(2024, 1, 2)],
        ),
    ],
)  # fmt: skip
def test_the_first_rows_with_a_value_decide_the_type_of_a_run(
    first: Any, later: Any, kind: str, values: Any, tmp_path: Path
) -> None:
    found = types_of(lambda x: first if x[0] == 1 else later, tmp_path)
    assert found[0].replace("item", "element") == kind
    if values is not None:
        assert found[1] == values
        assert len(found[1]) + len(found[2]) == 4


def test_rows_of_one_shape_that_come_first_decide_it(tmp_path: Path) -> None:
    kind, values, failed = types_of(lambda x: np.ones((2, 3)) if x[0] == 1 else [[1, 2, 3], [4]], tmp_path)
    assert kind.startswith("extension<arrow.fixed_shape_tensor[value_type=double, shape=[3]")
    assert (len(values), failed) == (3, [3])


def of_structure(x: Any) -> Any:
    return np.array([(each, each > 1) for each in x.tolist()], [("a", "f8"), ("b", "?")])


def of_pandas(x: Any) -> Any:
    return pd.DataFrame({"a": x, "b": x > 1}, index=x)


def of_polars(x: Any) -> Any:
    return pytest.importorskip("polars").DataFrame({"a": x, "b": x > 1})


def of_arrow(x: Any) -> Any:
    return pa.table({"a": x, "b": x > 1})


def of_batch(x: Any) -> Any:
    return pa.record_batch({"a": x, "b": x > 1})


TABLES = [of_structure, of_pandas, of_polars, of_arrow, of_batch]


@pytest.mark.parametrize("function", TABLES)
@pytest.mark.parametrize("outputs", [None, {"a": "float64", "b": "bool"}], ids=["undeclared", "declared"])
@pytest.mark.parametrize("as_model", [False, True])
def test_the_columns_of_a_table_are_outputs_by_name(
    as_model: bool, outputs: Any, function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = mt.input("x", "float64")
    if as_model:
        monkeypatch.setitem(globals(), "served", function)
        declared = outputs or {"b": "bool", "a": "float64"}
        node = mt.model(mt.Model(f"python:{__name__}:served", inputs={"x": "float64"}, outputs=declared), x)
    else:
        node = mt.map(function, x, outputs=outputs)
    graph = mt.Graph("g", {"b": node.b, "a": node.a})
    answer = graph({"x": [1.0, 2.0, 3.0]})
    assert (answer["a"].tolist(), answer["b"].tolist()) == ([1, 2, 3], [False, True, True])
    graph.run({"x": [1.0, 2.0, 3.0]}, str(tmp_path / "o.jsonl"), batch_rows=2, keep=[])
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert rows == [{"b": False, "a": 1}, {"b": True, "a": 2}, {"b": True, "a": 3}]


def test_a_frame_of_one_shape_is_a_matrix_where_one_column_is_declared() -> None:
    graph = mt.Graph("g", {"y": mt.map(of_pandas, mt.input("x", "float64"), outputs="any", name="y").a})
    assert graph({"x": [1.0]})["y"].tolist() == [1]
    whole = mt.map(lambda x: pd.DataFrame({"a": x, "b": -x}), mt.input("x", "float64"), outputs="float64[2]")
    assert mt.Graph("g", {"y": whole})({"x": [1.0, 2.0]})["y"].tolist() == [[1, -1], [2, -2]]


BERLIN = ZoneInfo("Europe/Berlin")
TIMES = [datetime(2024, 7, 1, 12, 30, tzinfo=BERLIN), datetime(2024, 1, 1, tzinfo=BERLIN)]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (lambda x: pa.array(TIMES, pa.timestamp("us", "Europe/Berlin"))[: len(x)], TIMES),
        (lambda x: pa.chunked_array([TIMES[: len(x)]], pa.timestamp("us", "Europe/Berlin")), TIMES),
        (lambda x: pd.Series(TIMES[: len(x)]), TIMES),
        (lambda x: pytest.importorskip("polars").Series(TIMES[: len(x)]).dt.convert_time_zone("Europe/Berlin"), TIMES),
        (lambda x: np.array(["2024-07-01T12:30", "2024-01-01"], "M8[m]")[: len(x)], [each.replace(tzinfo=None) for each in TIMES]),
        (lambda x: [np.datetime64("2024-07-01T12:30"), np.datetime64("2024-01-01T00")][: len(x)], [each.replace(tzinfo=None) for each in TIMES]),
        (lambda x: np.array(["2024-07", "2024-01"], "M8[M]")[: len(x)], [date(2024, 7, 1), date(2024, 1, 1)]),
        (lambda x: np.array([90, 0], "m8[h]")[: len(x)], [timedelta(hours=90), timedelta(0)]),
        (lambda x: np.array([3, 0], "m8[D]")[: len(x)], [timedelta(days=3), timedelta(0)]),
    ],
    ids=["arrow", "chunks", "pandas", "polars", "minutes", "list", "months", "hours", "days"],
)  # fmt: skip
def test_times_keep_their_zone_and_are_stored_in_every_unit(made: Any, wanted: Any, tmp_path: Path) -> None:
    graph = mt.Graph("g", {"y": mt.map(made, mt.input("x", "float64"))})
    table = graph.run({"x": [1.0, 2.0]}, keep=[])
    assert table["y"].to_pylist() == wanted
    kind = table.schema.field("y").type
    assert getattr(kind, "tz", None) == ("Europe/Berlin" if getattr(wanted[0], "tzinfo", None) else None)


def test_bools_of_one_shape_are_written_as_json(tmp_path: Path) -> None:
    graph = mt.Graph(
        "g", {"y": mt.map(lambda x: np.stack([x > 1, x > 2], 1), mt.input("x", "float64"), outputs="bool[2]")}
    )
    graph.run({"x": [1.0, 2.0, 3.0]}, str(tmp_path / "o.jsonl"), batch_rows=2, keep=[])
    rows = [json.loads(line)["y"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert rows == [[False, False], [True, False], [True, True]]


@pytest.mark.parametrize(
    "value", [1j, object(), np.longdouble(1), {"a": [object()]}], ids=["complex", "object", "long double", "inside"]
)
def test_what_no_column_can_hold_fails_its_row(value: Any, tmp_path: Path) -> None:
    graph = mt.Graph("g", {"y": mt.map(lambda x: objects([value] * len(x)), mt.input("x", "float64"))})
    table, failures = graph.run({"x": [1.0, 2.0]}, failures="return")
    assert table.num_rows == 0
    assert {failure.error for failure in failures} == {"AnswerError"}
    assert all("no column can hold" in failure.message for failure in failures)


def test_values_of_any_type_are_the_same_from_predict_and_in_json_lines(live: Any, tmp_path: Path) -> None:
    names = [*odd_functions.SHOWN]
    for name in names:
        graph = mt.Graph("g", {"y": mt.map(odd_functions.shows, mt.input("name", "string"))})
        graph.run({"name": [name]}, str(tmp_path / "o.jsonl"), overwrite=True, keep=[])
        written = json.loads((tmp_path / "o.jsonl").read_text())
        assert posted(live, "/predict/shows", {"name": name}) == (200, written), name
    status, said = posted(live, "/predict/shows", {"rows": [{"name": each} for each in (*names, "object", "stamp")]})
    assert status == 200
    assert [row for row in said["rows"] if "error" in row] == [said["rows"][-2]]
    assert "JSON has no form for object" in said["rows"][-2]["error"]
    assert posted(live, "/predict/shows", {"name": "object"})[0] == 422


@pytest.mark.parametrize(
    "name", ["masked_floats", "yields", "members", "fewer", "grouped", "unwritten", "tags", "texts_of_pandas"]
)
def test_models_in_processes_answer_as_those_in_this_one(name: str) -> None:
    outputs, wanted = CASES[name]
    assert of_call(graph_in_process(name, outputs=outputs)) == [shown(row) for row in wanted]


def left_out(x: Any) -> Any:
    return x[x > 0]


def test_a_process_that_leaves_out_the_zeros_of_its_warm_up_is_ready() -> None:
    types: dict[str, Any] = {"inputs": {"x": "float64"}, "outputs": {"y": "float64"}}
    model = mt.Model(f"python:{__name__}:left_out", placement="process", **types)
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "float64"))})
    answers, failures = graph({"x": [1.0, 0.0, 2.0]}, failures="return")
    assert (answers["y"].tolist(), [each.row for each in failures]) == ([1, 2], [1])


@pytest.mark.parametrize("rows", [1, 3, None])
@pytest.mark.parametrize(
    ("odd", "error"),
    [
        ({"a": 1.0, "b": "x", "c": 1}, "AnswerError"),
        ({"a": 1.0}, "AnswerError"),
        (None, "AnswerError"),
        (LookupError("no"), "LookupError"),
        ({"a": LookupError("no"), "b": "x"}, "LookupError"),
    ],
    ids=["more", "fewer", "nothing", "exception", "exception inside"],
)
@pytest.mark.parametrize("place", [0, 2])
def test_a_row_of_other_columns_fails_alone_where_each_is_called(
    place: int, odd: Any, error: str, rows: int | None
) -> None:
    def named(x: Any) -> Any:
        return odd if x == place else {"a": x, "b": "x"}

    node = mt.map(named, mt.input("x", "float64"), each=True, outputs={"a": "float64", "b": "string"})
    graph = mt.Graph("g", {"a": node.a, "b": node.b})
    options: dict[str, Any] = {} if rows is None else {"batch_rows": rows}
    answers, failures = graph.run({"x": np.arange(5.0)}, failures="return", keep=[], **options)
    assert answers["a"].to_pylist() == [each for each in range(5) if each != place]
    assert [(each.row, each.error) for each in failures] == [(place, error)]


@pytest.mark.parametrize("made", [graph_of, graph_in_process])
@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [("float64[2]", [1, MISSING]), ("int64[2]", WRONG), ("float64[?]", [1, MISSING])],
)
def test_what_is_masked_in_a_row_is_missing(outputs: str, wanted: Any, made: Any) -> None:
    graph = made("masked_rows", outputs=outputs)
    assert of_call(graph) == [shown(row) for row in bobs(wanted, [[1, 2]] * len(NAMES))]


def test_what_is_masked_in_a_row_is_missing_where_nothing_is_declared() -> None:
    assert of_call(graph_of("masked_rows")) == [shown(row) for row in bobs([1, MISSING], [[1, 2]] * len(NAMES))]


def test_a_masked_value_among_others_is_missing() -> None:
    graph = graph_of("masked_values", outputs="float64")
    assert of_call(graph) == [shown(row) for row in bobs(MISSING, SIZES)]


def pops(rows: Any) -> Any:
    return [row.pop("a") for row in rows]


def pops_one(row: Any) -> Any:
    return row.pop("a")


@pytest.mark.parametrize("each", [False, True])
def test_what_a_function_takes_out_of_dicts_is_there_for_others_and_for_another_try(each: bool) -> None:
    x = mt.input("x", "any")
    node = mt.map(pops_one if each else pops, x, each=each, outputs="int64")
    graph = mt.Graph("g", {"first": node, "again": mt.map(pops, x, outputs="int64", name="again"), "x": x})
    rows = [{"a": 1}, {"a": 2}, {"b": 3}, {"a": 4}]
    answers, failures = graph({"x": rows}, failures="return")
    assert answers["first"].tolist() == answers["again"].tolist() == [1, 2, 4]
    assert [(each.row, each.error) for each in failures] == [(2, "KeyError")]
    assert rows == [{"a": 1}, {"a": 2}, {"b": 3}, {"a": 4}]
    assert answers["x"].tolist() == [{"a": 1}, {"a": 2}, {"a": 4}]


def test_what_is_masked_in_rows_that_are_given_is_missing() -> None:
    graph = mt.Graph("g", {"y": mt.input("x", "float64[2]")})
    answers, failures = graph({"x": [np.ma.array([1.0, 2.0], mask=[False, True]), [3.0, 4.0]]}, failures="return")
    assert (answers["y"].tolist(), [each.row for each in failures]) == ([[3, 4]], [0])
    single = mt.Graph("g", {"y": mt.input("x", "float64")})
    answers, failures = single({"x": [np.ma.masked, 2.0]}, failures="return")
    assert (answers["y"].tolist(), [each.row for each in failures]) == ([2], [0])
