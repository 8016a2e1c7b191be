"""A server whose models are in a store: what is published is served, and no request is lost by it."""

import itertools
import json
import threading

import pytest

import motet as mt
from serving.repository.store_live import ask

VERSIONS = 6


def graph(uri="store:times"):
    return mt.Graph("g", outputs={"y": mt.model(mt.Model(uri, "times"), mt.input("x", "float32"))})


@pytest.mark.parametrize("kind", ["python", "file"])
def test_versions_published_under_load_are_served_one_after_the_other(serve, publish, store, kind, tmp_path, connect):
    publish(1)
    made = graph()
    if kind == "file":
        made.save(tmp_path / "g.yaml")
        made = str(tmp_path / "g.yaml")
    server = serve(made)
    seen, ended = [[] for _ in range(3)], threading.Event()

    def steady(mine):
        connection = connect(server)
        while not ended.is_set():
            mine.append(ask(connection, "g")["y"])

    clients = [threading.Thread(target=steady, args=(mine,)) for mine in seen]
    for client in clients:
        client.start()
    try:
        connection = connect(server)
        for factor in range(2, VERSIONS + 1):
            publish(factor)
            while ask(connection, "g")["y"] != factor:
                assert all(client.is_alive() for client in clients)
        store.promote("times", 3, "latest")
        while ask(connection, "g")["y"] != 3:
            pass
    finally:
        ended.set()
        for client in clients:
            client.join()
    for mine in seen:
        told = iter([*range(1, VERSIONS + 1), 3])
        assert all(answer in told for answer, _ in itertools.groupby(mine)), "versions follow each other"
        assert mine[-1] in (VERSIONS, 3)
    connection.request("GET", "/v2/models/times")
    assert json.loads(connection.getresponse().read())["versions"] == ["3"]


def test_models_by_key_are_watched_each_and_new_keys_found(serve, publish, store, connect, caplog):
    for factor, key in enumerate("abc", start=1):
        publish(factor, f"times-{key}")
    x, k = mt.input("x", "float32"), mt.input("k", "string")
    server = serve(mt.Graph("g", {"y": mt.route({"*": mt.Model("store:times-{key}", "m")}, x, key=k, name="n").y}))
    connection = connect(server)

    def answer(key):
        tensors = [("x", "FP32", 1.0), ("k", "BYTES", key)]
        inputs = [{"name": name, "shape": [1], "datatype": kind, "data": [value]} for name, kind, value in tensors]
        connection.request("POST", "/v2/models/g/infer", json.dumps({"inputs": inputs}))
        said = json.loads(connection.getresponse().read())
        return said["outputs"][0]["data"][0] if "outputs" in said else said["error"]

    assert [answer(key) for key in "abc"] == [1, 2, 3]
    assert "no model store:times-d" in answer("d")
    publish(20, "times-b")
    while answer("b") != 20:
        pass
    publish(4, "times-d")
    while answer("d") != 4:
        pass
    store.withdraw("times-a", "latest")
    while answer("a") == 1:
        pass
    assert "no model store:times-a" in answer("a")
    assert [answer(key) for key in "bcd"] == [20, 3, 4]
    assert "goes on with what it has" not in caplog.text


def test_a_version_that_cannot_be_served_leaves_the_one_before(serve, publish, store, tmp_path, caplog, connect):
    import onnx
    from onnx import TensorProto, helper

    publish(2)
    server = serve(graph())
    other = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["rows", 3])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])
    made = helper.make_graph([helper.make_node("Identity", ["z"], ["y"])], "other", [other], [result])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    store.publish("times", path)
    connection = connect(server)
    while "g goes on with what it has: a store's model cannot be loaded" not in caplog.text:
        assert ask(connection, "g")["y"] == 2
    connection.request("GET", "/v2/health/ready")
    ready = connection.getresponse()
    ready.read()
    assert ready.status == 200
    assert "model 'times'" in caplog.text or "takes z" in caplog.text
    publish(5)
    while ask(connection, "g")["y"] != 5:
        pass


def test_a_member_that_is_published_later_joins(serve, publish, connect):
    publish(2, "one")
    members = {name: mt.Model(f"store:{name}") for name in ("one", "two")}
    vote = mt.ensemble(members, mt.input("x", "float32"), as_available=True, name="vote")
    server = serve(mt.Graph("g", outputs={"y": vote, "who": vote.member}))
    connection = connect(server)
    assert ask(connection, "g") == {"y": 2, "who": "one"}
    publish(6, "two")
    while ask(connection, "g")["who"] != "one,two":
        pass
    assert ask(connection, "g")["y"] == 4
    assert ask(connection, "two")["y"] == 6


def test_a_member_that_is_withdrawn_leaves_and_comes_back(serve, publish, store, connect, caplog):
    for factor, name in ((2, "one"), (6, "two")):
        publish(factor, name)
    members = {name: mt.Model(f"store:{name}") for name in ("one", "two")}
    vote = mt.ensemble(members, mt.input("x", "float32"), as_available=True, name="vote")
    connection = connect(serve(mt.Graph("g", outputs={"y": vote, "who": vote.member})))
    assert ask(connection, "g") == {"y": 4, "who": "one,two"}
    store.withdraw("two", "latest")
    while (answer := ask(connection, "g"))["who"] != "one":
        assert answer["y"] == 4
    assert ask(connection, "g")["y"] == 2
    store.withdraw("one", "latest")
    store.rollback("two", "latest")
    while (answer := ask(connection, "g"))["who"] != "two":
        assert answer["y"] in (2, 4, 6), "somebody answers at all times"
    assert ask(connection, "g")["y"] == 6


def test_a_store_that_is_gone_for_a_while_changes_nothing(serve, publish, tmp_path, caplog, connect):
    publish(2)
    server = serve(graph())
    connection = connect(server)
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "times").write_text("no folder")
    for _ in range(200):
        assert ask(connection, "g")["y"] == 2
    (tmp_path / "store" / "times").unlink()
    (tmp_path / "store").rmdir()
    (tmp_path / "away").rename(tmp_path / "store")
    publish(3)
    while ask(connection, "g")["y"] != 3:
        pass
