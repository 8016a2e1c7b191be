"""A server that is started before its models are published, or while their store cannot be reached."""

import json

import pytest

from motet.errors import GraphError
from serving.repository.store_live import ask

TEXT = """
motet: 1
name: g
inputs: {x: float32}
models: {one: "store:one", two: "store:two"}
nodes: {vote: {ensemble: [one, two], inputs: [x], members: as available}}
outputs: {y: vote, who: vote.member}
serve: {admin: open}
"""


@pytest.fixture
def file(tmp_path, store):
    path = tmp_path / "g.yaml"
    path.write_text(TEXT)
    return str(path)


def got(connection, path, method="GET", body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_server_waits_for_the_first_member_and_takes_in_the_others(serve, publish, connect, file):
    connection = connect(serve(file))
    assert got(connection, "/v2/health/live")[0] == 200
    status, said = got(connection, "/v2/health/ready")
    assert (status, said["waiting"]["g"]["state"]) == (503, "UNAVAILABLE")
    assert "the store has no model 'one'; there are none" in said["waiting"]["g"]["reason"]
    body = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]})
    status, said = got(connection, "/v2/models/g/infer", "POST", body)
    assert status == 503
    assert said["error"] == "g is not ready: model 'one' cannot be loaded (NotPublishedError)"
    for page in ("/v2/models/g", "/v2/models/g/config", "/v2/models/stats", "/openapi.json", "/status.json"):
        assert got(connection, page)[0] == 200
    publish(2, "two")
    while got(connection, "/v2/health/ready")[0] != 200:
        pass
    assert ask(connection, "g") == {"y": 2, "who": "two"}
    publish(4, "one")
    while ask(connection, "g")["who"] != "one,two":
        pass
    assert ask(connection, "g")["y"] == 3


def test_a_store_that_cannot_be_reached_at_the_start_is_asked_again(serve, publish, connect, file, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "one").write_text("no folder")
    (tmp_path / "store" / "two").write_text("no folder")
    connection = connect(serve(file))
    assert got(connection, "/v2/health/ready")[0] == 503
    (tmp_path / "store" / "one").unlink()
    (tmp_path / "store" / "two").unlink()
    publish(3, "one")
    while got(connection, "/v2/health/ready")[0] != 200:
        pass
    assert ask(connection, "g") == {"y": 3, "who": "one"}


def test_a_file_that_is_wrong_is_refused_at_once(serve, file, tmp_path):
    (tmp_path / "g.yaml").write_text(TEXT.replace("as available", "whoever"))
    with pytest.raises(GraphError, match="members can only be 'as available'"):
        serve(file)


def test_what_cannot_be_loaded_is_said_by_the_status(serve, publish, store, connect, file, tmp_path):
    publish(2, "one")
    connection = connect(serve(file))
    assert got(connection, "/status.json")[1]["states"]["g"] == {"state": "READY", "reason": ""}
    version = publish(3, "one", aliases=())
    path = store.fetch(version)
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    store.promote("one", version.number, "latest")

    def reason():
        return got(connection, "/status.json")[1]["states"]["g"]["reason"]

    while not reason():
        assert ask(connection, "g") == {"y": 2, "who": "one"}
    assert "goes on with what it has: " in reason()
    assert "file 'one3.onnx' of one@2 is not what was published" in reason()
    assert got(connection, "/v2/health/ready")[0] == 200
    path.write_bytes(whole)
    store.rollback("one", "latest")
    while reason():
        pass
    publish(7, "one")
    while ask(connection, "g")["y"] != 7:
        pass


def test_the_command_reads_how_a_graph_is_served_before_its_models_are_there(file):
    from motet.cli.serve import _configured

    assert _configured((file,), None, {}).admin == "open"
