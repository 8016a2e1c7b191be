"""The gateway: what is served under which name, loading and unloading while requests come, draining."""

import asyncio
import gc
import weakref

import numpy as np
import pytest
import yaml
from lane_live import Asked, request, submit

import motet as mt
from helpers.gates import Gated, gated, gates, shut
from motet import errors
from motet.serving.repository.store_watcher import StoreWatcher
from motet.testing.fakes import Affine, fake

X = mt.input("x", "float32")


def graph_of(model, name="g"):
    return mt.Graph(name, outputs={"y": mt.model(model, X)})


def written(path, add=0.0, gate="file", models=1, **changes):
    """The file of a graph of models in a row, each of which adds a number."""
    nodes = {}
    for number in range(models):
        nodes[f"n{number}"] = {"model": f"m{number}", "inputs": [f"n{number - 1}" if number else "x"]}
    declared = {
        f"m{number}": {
            "uri": "python:helpers.gates:Gated",
            "inputs": {"x": "float32"},
            "outputs": {"y": "float32"},
            "with": {"gate": gate, "add": add},
            "placement": "thread",
        }
        for number in range(models)
    }
    graph = {"motet": 1, "name": "filed", "inputs": {"x": "float32"}, "models": declared, "nodes": nodes}
    graph["outputs"] = {"y": f"n{models - 1}"}
    path.write_text(yaml.safe_dump({**graph, **changes}))
    return str(path)


class TestNames:
    def test_graphs_and_their_models(self, gateways):
        gateway = gateways(graph_of(gated("a", "own"), "one"), graph_of(gated("a", "shared"), "two"),
                           graph_of(gated("b", "shared"), "three"))  # fmt: skip
        assert sorted(gateway.served) == ["one", "one.own", "own", "three", "three.shared", "two", "two.shared"]
        assert gateway.find("own") is gateway.find("one.own")
        assert gateway.find("own").kind == "model"
        assert gateway.find("own").platform == "motet_python"
        assert gateway.find("one", "1").kind == "graph"
        assert gateway.ready

    def test_a_graph_goes_before_a_model_of_its_name(self, gateways):
        gateway = gateways(graph_of(gated("a", "two"), "one"), graph_of(gated("a", "m"), "two"))
        assert gateway.find("two").kind == "graph"
        assert gateway.find("one.two").kind == "model"

    @pytest.mark.parametrize(("name", "version"), [("nosuch", ""), ("g", "2"), ("", "")])
    def test_what_is_not_there(self, gateways, name, version):
        gateway = gateways(graph_of(gated("a")))
        with pytest.raises(errors.NotFoundError, match=r"g(\.gate)?|has no version '2'; it has 1"):
            gateway.find(name, version)

    def test_two_graphs_of_one_name(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("a")))
        with pytest.raises(errors.GraphError, match="two graphs are called 'g'"):
            lane_loop.call(gateway.add, graph_of(gated("b")))

    def test_a_model_answers_under_its_own_name(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("a", "own", add=2.0)))
        asked = submit(lane_loop, gateway, ("own", {"x": [1.0]}), ("g.own", {"x": [5.0]}))
        assert [each.values() for each in asked] == [[3.0], [7.0]]


class TestLoading:
    def test_a_graph_that_cannot_be_loaded_says_why_and_the_others_go_on(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("a", add="no number"), "bad"), graph_of(gated("b"), "good"))
        lane_loop.run(gateway.unload("bad"))
        lane_loop.run(gateway.unload("good"))
        assert gateway.find("bad").state == "UNAVAILABLE"

    def test_one_whose_model_is_broken(self, lane_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        gateway = gateways(written(path, models=2), graph_of(gated("b"), "good"))
        assert gateway.ready
        before = Gated.loaded
        bad = yaml.safe_load(path.read_text())
        bad["models"]["m1"]["with"]["nosuch"] = 1
        path.write_text(yaml.safe_dump(bad))
        with pytest.raises(errors.MotetError, match="nosuch"):
            lane_loop.run(gateway.load("filed"))
        assert gateway.ready  # what there was stays
        assert Gated.loaded == before  # and what was loaded for nothing is given back
        (asked,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
        assert asked.values() == [1.0]
        lane_loop.run(gateway.unload("filed"))
        for _ in range(2):  # a second attempt is no better
            with pytest.raises(errors.MotetError, match="nosuch"):
                lane_loop.run(gateway.load("filed"))
            assert gateway.find("filed").state == "UNAVAILABLE"
            assert "nosuch" in gateway.find("filed").reason
            assert not gateway.ready
            (asked,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
            assert isinstance(asked.error, errors.NotReadyError)
            assert asked.error.retry_after_s
        written(path, models=2, add=1.0)
        lane_loop.run(gateway.load("filed"))
        assert gateway.ready
        (asked,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
        assert asked.values() == [3.0]

    def test_a_graph_of_python_whose_model_is_broken(self, lane_loop, gateways):
        gateway = gateways(graph_of(fake(Affine, "affine", nosuch=1)))
        assert not gateway.ready
        for _ in range(2):
            with pytest.raises(errors.MotetError, match="nosuch"):
                lane_loop.run(gateway.load("g"))
            (asked,) = submit(lane_loop, gateway, ("g", {"x": [1.0]}))
            assert isinstance(asked.error, errors.NotReadyError)

    def test_loading_again_reads_the_file_again(self, lane_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        gateway = gateways(written(path, add=1.0))
        before = Gated.loaded
        for add in (2.0, 3.0):
            written(path, add=add)
            lane_loop.run(gateway.load("filed"))
            (asked,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
            assert asked.values() == [1.0 + add]
            assert Gated.loaded == before
        lane_loop.run(gateway.unload("filed"))
        written(path, add=4.0)
        lane_loop.run(gateway.load("m0"))
        (asked,) = submit(lane_loop, gateway, ("m0", {"x": [1.0]}))
        assert asked.values() == [5.0]

    def test_a_graph_may_change_what_it_takes(self, lane_loop, gateways, tmp_path):
        """Whoever has found it before, and asks only now, is told that it is gone."""
        path = tmp_path / "filed.yaml"
        gateway = gateways(written(path))
        old = gateway.find("filed")
        written(path, outputs={"other": "n0"})
        lane_loop.run(gateway.load("filed"))
        asked = request(old, x=[1.0])
        lane_loop.call(gateway.submit, old, asked)
        assert isinstance(asked.error, errors.NotReadyError)
        (asked,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
        assert asked.values("other") == [1.0]

    def test_no_request_is_lost_while_a_graph_is_loaded_again(self, lane_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        gateway = gateways(written(path, add=0.0, gate="again"), threads=2)
        asked = []

        async def asks(stop):
            """Finds what is served a while before it asks it, as one does whose body takes its time."""
            found = gateway.find("filed")
            while not stop.is_set():
                for _ in range(3):
                    each = request(found, x=[1.0])
                    asked.append(each)
                    gateway.submit(found, each)
                    await asyncio.sleep(0.0005)
                found = gateway.find("filed")
                await asyncio.sleep(0.002)

        async def loads():
            stop = asyncio.Event()
            asking = [asyncio.create_task(asks(stop)) for _ in range(4)]
            for add in range(1, 9):
                written(path, add=float(add), gate="again")
                await gateway.load("filed")
            stop.set()
            await asyncio.gather(*asking)

        before = Gated.loaded
        lane_loop.run(loads())
        asked += submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
        values = [each.values()[0] for each in asked]
        assert set(values) <= {float(n) for n in range(1, 10)}
        assert values[-1] == 9.0
        assert [each.times for each in asked] == [1] * len(asked)
        assert Gated.loaded == before

    def test_requests_that_are_played_by_the_old_one_finish_while_the_new_one_answers(
        self, lane_loop, gateways, tmp_path
    ):
        path = tmp_path / "filed.yaml"
        gateway = gateways(written(path, add=1.0, gate="old"), threads=2)
        with shut("old") as gate:
            (first,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            written(path, add=2.0, gate="new")
            loading = lane_loop.start(gateway.load("filed"))
            lane_loop.until(lambda: gateway.find("filed").reason == "" and "new" in gates)
            lane_loop.until(lambda: gateway.find("filed").graph.models["m0"].options["add"] == 2.0)
            (second,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
            assert second.values() == [3.0]
            assert not loading.done()
        assert first.values() == [2.0]
        loading.result(20)


class TestUnloading:
    def test_requests_that_were_accepted_finish_and_the_memory_is_given_back(self, lane_loop, gateways):
        before = Gated.loaded
        gateway = gateways(graph_of(gated("unload"), "one"), graph_of(gated("unload"), "two"), threads=1)
        assert Gated.loaded == before + 1  # one model, which both share
        with shut("unload") as gate:
            asked = submit(lane_loop, gateway, ("one", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            asked += submit(lane_loop, gateway, ("one", {"x": [2.0]}), ("gate", {"x": [3.0]}) if "gate" in gateway.served
                            else ("one.gate", {"x": [3.0]}))  # fmt: skip
            unloading = lane_loop.start(gateway.unload("one"))
            lane_loop.until(lambda: gateway.find("one").state == "UNLOADING")
            (refused,) = submit(lane_loop, gateway, ("one", {"x": [4.0]}))
            assert isinstance(refused.error, errors.NotReadyError)
        unloading.result(20)
        assert [each.values() for each in asked] == [[1.0], [2.0], [3.0]]
        assert gateway.find("one").state == "UNAVAILABLE"
        assert gateway.ready  # it is not wanted
        assert Gated.loaded == before + 1
        (still,) = submit(lane_loop, gateway, ("two", {"x": [5.0]}))
        assert still.values() == [5.0]
        lane_loop.run(gateway.unload("two"))
        assert Gated.loaded == before
        lane_loop.run(gateway.load("one"))
        assert Gated.loaded == before + 1
        (again,) = submit(lane_loop, gateway, ("one", {"x": [6.0]}))
        assert again.values() == [6.0]

    def test_nothing_holds_a_model_that_was_unloaded(self, lane_loop, gateways):
        shared = gated("held by", placement=None)
        gateway = gateways(graph_of(shared, "one"), graph_of(shared, "two"), graph_of(gated("other"), "three"))
        asked = submit(lane_loop, gateway, *[(name, {"x": [1.0]}) for name in ("one", "two")])
        assert [each.values() for each in asked] == [[1.0], [1.0]]
        model = weakref.ref(gateway.find("one").lane.models[0])
        for name in ("one", "two"):
            lane_loop.run(gateway.unload(name))
        submit(lane_loop, gateway, ("three", {"x": [1.0]}))[0].values()
        lane_loop.until(lambda: gc.collect() is not None and model() is None)  # timers of its lanes run out

    def test_a_model_belongs_to_its_graph(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("a")))
        with pytest.raises(errors.ForbiddenError, match="belongs to graph 'g'"):
            lane_loop.run(gateway.unload("gate"))

    def test_what_is_not_there(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("a")))
        for act in (gateway.load, gateway.unload):
            with pytest.raises(errors.NotFoundError):
                lane_loop.run(act("nosuch"))

    def test_loads_and_unloads_at_the_same_time(self, lane_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        gateway = gateways(written(path, gate="many"))
        before = Gated.loaded

        async def all_at_once():
            acts = [gateway.load("filed") if n % 3 else gateway.unload("filed") for n in range(12)]
            await asyncio.gather(*acts, gateway.load("filed"))

        lane_loop.run(all_at_once())
        assert gateway.ready
        assert Gated.loaded == before
        (asked,) = submit(lane_loop, gateway, ("filed", {"x": [1.0]}))
        assert asked.values() == [1.0]


class TestDraining:
    def test_what_was_accepted_is_answered_and_nothing_more(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("drain")), threads=1)
        with shut("drain") as gate:
            asked = submit(lane_loop, gateway, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            asked += submit(lane_loop, gateway, ("g", {"x": [2.0]}), ("gate", {"x": [3.0]}))
            draining = lane_loop.start(gateway.drain(20))
            lane_loop.until(lambda: gateway.draining)
            assert not gateway.ready
            (refused,) = submit(lane_loop, gateway, ("g", {"x": [4.0]}))
            assert isinstance(refused.error, errors.NotReadyError)
            assert "about to stop" in str(refused.error)
        assert draining.result(20) is True
        assert [each.values() for each in asked] == [[1.0], [2.0], [3.0]]

    def test_not_longer_than_is_allowed(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("too long")), threads=1)
        with shut("too long") as gate:
            (asked,) = submit(lane_loop, gateway, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            assert lane_loop.run(gateway.drain(0.05)) is False
        assert asked.values() == [1.0]

    def test_what_still_waits_when_the_gateway_is_closed_is_told_so(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("closed")), threads=1)
        with shut("closed") as gate:
            first = submit(lane_loop, gateway, ("g", {"x": [1.0]}))[0]
            assert gate.entered.acquire(timeout=20)
            (other,) = submit(lane_loop, gateway, ("g", {"x": [2.0]}))  # it waits for the thread of its graph
            lane_loop.call(gateway.close)
            assert isinstance(other.error, errors.NotReadyError)
        assert first.values() == [1.0]

    def test_a_request_that_says_nothing_has_a_deadline_all_the_same(self, lane_loop, gateways):
        gateway = gateways(graph_of(gated("deadline")), threads=1, answer_timeout_s=0.05)
        with shut("deadline"):
            (asked,) = submit(lane_loop, gateway, ("g", {"x": [1.0]}))
            assert isinstance(asked.error, errors.DeadlineError)


def test_a_request_without_rows(lane_loop, gateways):
    gateway = gateways(graph_of(gated("nothing")))
    asked = Asked({"x": np.zeros(0, np.float32)}, 0)
    submit(lane_loop, gateway, ("g", asked))
    assert asked.values() == []


def test_it_is_said_at_once_that_nothing_is_loaded_any_more(gateways, lane_loop):
    gateway = gateways(graph_of(gated("a", "own")))
    said = []
    gateway.rests = lambda: said.append(gateway.busy)
    for change in (gateway.load_all, lambda: gateway.load("g"), lambda: gateway.unload("g")):
        lane_loop.run(change())
    assert said == [False] * 3


def test_a_graph_that_is_unloaded_while_its_store_is_asked_stays_so(gateways, lane_loop, monkeypatch):
    gateway = gateways(graph_of(gated("a", "m"), "stored"))
    watch = StoreWatcher(gateway, 60)

    def moved(served):
        lane_loop.run(gateway.unload(served.name))
        return {"m": 2}

    monkeypatch.setattr(watch, "_moved", moved)
    lane_loop.run(watch._look(gateway.find("stored")))
    assert (gateway.find("stored").state, gateway.find("stored").reason) == ("UNAVAILABLE", "unloaded")
