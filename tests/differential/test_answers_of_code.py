"""What users' code gives comes to the same rows in every way of asking: called, in bulk, and live over every protocol."""

import http.client
import json
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import odd_functions
from helpers.live_server import Live
from helpers.odd_functions import CASES, EACH, NAMES, UNDECLARED, Fails
from motet.client import Client

DECLARED = {
    **{name: (*case, False) for name, case in CASES.items()},
    **{name: (*case, True) for name, case in EACH.items()},
}


def plain(value):
    """A value as Python says it; numbers that are whole as whole numbers."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value != value else value


def shown(wanted):
    """What a row comes to: the class of its failure, or its value."""
    return str(wanted) if isinstance(wanted, Fails) else ("row", plain(wanted))


def of_call(graph, names=NAMES):
    answers, failures = graph({"name": list(names)}, failures="return")
    failed = {failure.row: failure for failure in failures}
    assert {failure.node for failure in failures} <= {"y"}
    values = iter(answers["y"])
    return [failed[row].error if row in failed else ("row", plain(next(values))) for row in range(len(names))]


def of_bulk(graph, folder, rows, suffix):
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


def graph_of(name, *, outputs=None, each=False):
    function, x = getattr(odd_functions, name), mt.input("name", "string")
    return mt.Graph(name.replace("_", "-"), {"y": mt.map(function, x, outputs=outputs, each=each, name="y")})


@pytest.mark.parametrize("name", DECLARED)
def test_declared_answers_are_the_same_called_and_in_bulk(name, tmp_path):
    outputs, wanted, each = DECLARED[name]
    graph, wanted = graph_of(name, outputs=outputs, each=each), [shown(row) for row in wanted]
    assert of_call(graph) == wanted
    assert [row for alone in NAMES for row in of_call(graph, [alone])] == wanted
    for rows in (1, 2, 3, 10):
        assert of_bulk(graph, tmp_path, rows, ".parquet") == wanted
    assert of_bulk(graph, tmp_path, 2, ".jsonl") == wanted


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A server of every function, declared."""
    folder = tmp_path_factory.mktemp("live")
    files = []
    for name, (outputs, _, each) in DECLARED.items():
        made = {"map": f"helpers.odd_functions.{name}", "inputs": ["name"], "outputs": outputs, "each": each}
        graph = {"motet": 1, "name": name, "inputs": {"name": "string"}, "nodes": {"y": made}, "outputs": {"y": "y"}}
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(json.dumps(graph))
    server = Live(folder, *files)
    server.until_ready()
    yield server
    server.close()


def posted(server, path, body):
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("name", DECLARED)
def test_declared_answers_are_the_same_from_predict(name, live):
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
def test_declared_answers_are_the_same_from_inference(name, protocol, live):
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
def test_undeclared_answers_are_the_same_called(name):
    wanted = [shown(row) for row in UNDECLARED[name]]
    graph = graph_of(name)
    assert of_call(graph) == wanted
    assert [row for alone in NAMES for row in of_call(graph, [alone])] == wanted


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
@pytest.mark.parametrize("name", UNDECLARED)
def test_undeclared_answers_are_the_same_in_bulk(name, rows, tmp_path):
    assert of_bulk(graph_of(name), tmp_path, rows, ".parquet") == [shown(row) for row in UNDECLARED[name]]


def types_of(function, tmp_path, rows=2, values=(1.0, 2.0, 3.0, 4.0), **options):
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
        (np.float32([1, 2]), np.array([1e300, 1.0]), "double", [1, 2, 1e300, 1]),
        (np.float32([1, 2]), np.array([1, 2], np.int16), "float", [1, 2, 1, 2]),
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
        ([date(2024, 1, 1), None], [datetime(2024, 1, 2, 3), 5], "date32[day]", [date(2024, 1, 1), None]),
        (
            [datetime(2024, 1, 1), datetime(2024, 1, 2)], [datetime(2024, 1, 3, tzinfo=UTC), 5], "timestamp[us]",
            [datetime(2024, 1, 1), datetime(2024, 1, 2)],
        ),
    ],
)  # fmt: skip
def test_the_first_rows_with_a_value_decide_the_type_of_a_run(first, later, kind, values, tmp_path):
    found = types_of(lambda x: first if x[0] == 1 else later, tmp_path)
    assert found[0].replace("item", "element") == kind
    if values is not None:
        assert found[1] == values
        assert len(found[1]) + len(found[2]) == 4


def test_rows_of_one_shape_that_come_first_decide_it(tmp_path):
    kind, values, failed = types_of(lambda x: np.ones((2, 3)) if x[0] == 1 else [[1, 2, 3], [4]], tmp_path)
    assert kind.startswith("extension<arrow.fixed_shape_tensor[value_type=double, shape=[3]")
    assert (len(values), failed) == (3, [3])
