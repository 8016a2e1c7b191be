"""What users' code gives comes to the same rows in every way of asking: called, in bulk, and live over every protocol."""

import http.client
import json
from contextlib import closing

import numpy as np
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
    import pyarrow.parquet

    failed = {each["row"]: each for each in pyarrow.parquet.read_table(folder / "f.parquet").to_pylist()}
    assert {each["node"] for each in failed.values()} <= {"y"}
    assert report.failed == len(failed)
    if suffix == ".parquet":
        answers = pyarrow.parquet.read_table(output)["y"].to_pylist()
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
