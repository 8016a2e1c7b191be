"""The gateway: what is served under which name, loading and unloading while requests come, draining."""

import asyncio
import gc
import weakref

import numpy as np
import pytest
import yaml

import motet as mt
from helpers.gates import Gated, gated, gates, shut
from motet import errors
from motet.serving.repository.store_watcher import StoreWatcher
from motet.testing.fakes import Affine, fake
from serving.batching.batcher_live import Asked, request, submit

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
        repository = gateways(graph_of(gated("a", "own"), "one"), graph_of(gated("a", "shared"), "two"),
                           graph_of(gated("b", "shared"), "three"))  # fmt: skip
        assert sorted(repository.served) == ["one", "one.own", "own", "three", "three.shared", "two", "two.shared"]
        assert repository.find("own") is repository.find("one.own")
        assert repository.find("own").kind == "model"
        assert repository.find("own").platform == "motet_python"
        assert repository.find("one", "1").kind == "graph"
        assert repository.ready

    def test_a_graph_goes_before_a_model_of_its_name(self, gateways):
        repository = gateways(graph_of(gated("a", "two"), "one"), graph_of(gated("a", "m"), "two"))
        assert repository.find("two").kind == "graph"
        assert repository.find("one.two").kind == "model"

    @pytest.mark.parametrize(("name", "version"), [("nosuch", ""), ("g", "2"), ("", "")])
    def test_what_is_not_there(self, gateways, name, version):
        repository = gateways(graph_of(gated("a")))
        with pytest.raises(errors.NotFoundError, match=r"g(\.gate)?|has no version '2'; it has 1"):
            repository.find(name, version)

    def test_two_graphs_of_one_name(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("a")))
        with pytest.raises(errors.GraphError, match="two graphs are called 'g'"):
            batcher_loop.call(repository.add, graph_of(gated("b")))

    def test_a_model_answers_under_its_own_name(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("a", "own", add=2.0)))
        asked = submit(batcher_loop, repository, ("own", {"x": [1.0]}), ("g.own", {"x": [5.0]}))
        assert [each.values() for each in asked] == [[3.0], [7.0]]


class TestLoading:
    def test_a_graph_that_cannot_be_loaded_says_why_and_the_others_go_on(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("a", add="no number"), "bad"), graph_of(gated("b"), "good"))
        batcher_loop.run(repository.unload("bad"))
        batcher_loop.run(repository.unload("good"))
        assert repository.find("bad").state == "UNAVAILABLE"

    def test_one_whose_model_is_broken(self, batcher_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        repository = gateways(written(path, models=2), graph_of(gated("b"), "good"))
        assert repository.ready
        before = Gated.loaded
        bad = yaml.safe_load(path.read_text())
        bad["models"]["m1"]["with"]["nosuch"] = 1
        path.write_text(yaml.safe_dump(bad))
        with pytest.raises(errors.MotetError, match="nosuch"):
            batcher_loop.run(repository.load("filed"))
        assert repository.ready  # what there was stays
        assert Gated.loaded == before  # and what was loaded for nothing is given back
        (asked,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
        assert asked.values() == [1.0]
        batcher_loop.run(repository.unload("filed"))
        for _ in range(2):  # a second attempt is no better
            with pytest.raises(errors.MotetError, match="nosuch"):
                batcher_loop.run(repository.load("filed"))
            assert repository.find("filed").state == "UNAVAILABLE"
            assert "nosuch" in repository.find("filed").reason
            assert not repository.ready
            (asked,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
            assert isinstance(asked.error, errors.NotReadyError)
            assert asked.error.retry_after_s
        written(path, models=2, add=1.0)
        batcher_loop.run(repository.load("filed"))
        assert repository.ready
        (asked,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
        assert asked.values() == [3.0]

    def test_a_graph_of_python_whose_model_is_broken(self, batcher_loop, gateways):
        repository = gateways(graph_of(fake(Affine, "affine", nosuch=1)))
        assert not repository.ready
        for _ in range(2):
            with pytest.raises(errors.MotetError, match="nosuch"):
                batcher_loop.run(repository.load("g"))
            (asked,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert isinstance(asked.error, errors.NotReadyError)

    def test_loading_again_reads_the_file_again(self, batcher_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        repository = gateways(written(path, add=1.0))
        before = Gated.loaded
        for add in (2.0, 3.0):
            written(path, add=add)
            batcher_loop.run(repository.load("filed"))
            (asked,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
            assert asked.values() == [1.0 + add]
            assert Gated.loaded == before
        batcher_loop.run(repository.unload("filed"))
        written(path, add=4.0)
        batcher_loop.run(repository.load("m0"))
        (asked,) = submit(batcher_loop, repository, ("m0", {"x": [1.0]}))
        assert asked.values() == [5.0]

    def test_a_graph_may_change_what_it_takes(self, batcher_loop, gateways, tmp_path):
        """Whoever has found it before, and asks only now, is told that it is gone."""
        path = tmp_path / "filed.yaml"
        repository = gateways(written(path))
        old = repository.find("filed")
        written(path, outputs={"other": "n0"})
        batcher_loop.run(repository.load("filed"))
        asked = request(old, x=[1.0])
        batcher_loop.call(repository.submit, old, asked)
        assert isinstance(asked.error, errors.NotReadyError)
        (asked,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
        assert asked.values("other") == [1.0]

    def test_no_request_is_lost_while_a_graph_is_loaded_again(self, batcher_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        repository = gateways(written(path, add=0.0, gate="again"), threads=2)
        asked = []

        async def asks(stop):
            """Finds what is served a while before it asks it, as one does whose body takes its time."""
            found = repository.find("filed")
            while not stop.is_set():
                for _ in range(3):
                    each = request(found, x=[1.0])
                    asked.append(each)
                    repository.submit(found, each)
                    await asyncio.sleep(0.0005)
                found = repository.find("filed")
                await asyncio.sleep(0.002)

        async def loads():
            stop = asyncio.Event()
            asking = [asyncio.create_task(asks(stop)) for _ in range(4)]
            for add in range(1, 9):
                written(path, add=float(add), gate="again")
                await repository.load("filed")
            stop.set()
            await asyncio.gather(*asking)

        before = Gated.loaded
        batcher_loop.run(loads())
        asked += submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
        values = [each.values()[0] for each in asked]
        assert set(values) <= {float(n) for n in range(1, 10)}
        assert values[-1] == 9.0
        assert [each.times for each in asked] == [1] * len(asked)
        assert Gated.loaded == before

    def test_requests_that_are_played_by_the_old_one_finish_while_the_new_one_answers(
        self, batcher_loop, gateways, tmp_path
    ):
        path = tmp_path / "filed.yaml"
        repository = gateways(written(path, add=1.0, gate="old"), threads=2)
        with shut("old") as gate:
            (first,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            written(path, add=2.0, gate="new")
            loading = batcher_loop.start(repository.load("filed"))
            batcher_loop.until(lambda: repository.find("filed").reason == "" and "new" in gates)
            batcher_loop.until(lambda: repository.find("filed").graph.models["m0"].options["add"] == 2.0)
            (second,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
            assert second.values() == [3.0]
            assert not loading.done()
        assert first.values() == [2.0]
        loading.result(20)


class TestUnloading:
    def test_requests_that_were_accepted_finish_and_the_memory_is_given_back(self, batcher_loop, gateways):
        before = Gated.loaded
        repository = gateways(graph_of(gated("unload"), "one"), graph_of(gated("unload"), "two"), threads=1)
        assert Gated.loaded == before + 1  # one model, which both share
        with shut("unload") as gate:
            asked = submit(batcher_loop, repository, ("one", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            asked += submit(batcher_loop, repository, ("one", {"x": [2.0]}), ("gate", {"x": [3.0]}) if "gate" in repository.served
                            else ("one.gate", {"x": [3.0]}))  # fmt: skip
            unloading = batcher_loop.start(repository.unload("one"))
            batcher_loop.until(lambda: repository.find("one").state == "UNLOADING")
            (refused,) = submit(batcher_loop, repository, ("one", {"x": [4.0]}))
            assert isinstance(refused.error, errors.NotReadyError)
        unloading.result(20)
        assert [each.values() for each in asked] == [[1.0], [2.0], [3.0]]
        assert repository.find("one").state == "UNAVAILABLE"
        assert repository.ready  # it is not wanted
        assert Gated.loaded == before + 1
        (still,) = submit(batcher_loop, repository, ("two", {"x": [5.0]}))
        assert still.values() == [5.0]
        batcher_loop.run(repository.unload("two"))
        assert Gated.loaded == before
        batcher_loop.run(repository.load("one"))
        assert Gated.loaded == before + 1
        (again,) = submit(batcher_loop, repository, ("one", {"x": [6.0]}))
        assert again.values() == [6.0]

    def test_nothing_holds_a_model_that_was_unloaded(self, batcher_loop, gateways):
        shared = gated("held by", placement=None)
        repository = gateways(graph_of(shared, "one"), graph_of(shared, "two"), graph_of(gated("other"), "three"))
        asked = submit(batcher_loop, repository, *[(name, {"x": [1.0]}) for name in ("one", "two")])
        assert [each.values() for each in asked] == [[1.0], [1.0]]
        model = weakref.ref(repository.find("one").batcher.models[0])
        for name in ("one", "two"):
            batcher_loop.run(repository.unload(name))
        submit(batcher_loop, repository, ("three", {"x": [1.0]}))[0].values()
        batcher_loop.until(lambda: gc.collect() is not None and model() is None)  # timers of its batchers run out

    def test_a_model_belongs_to_its_graph(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("a")))
        with pytest.raises(errors.ForbiddenError, match="belongs to graph 'g'"):
            batcher_loop.run(repository.unload("gate"))

    def test_what_is_not_there(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("a")))
        for act in (repository.load, repository.unload):
            with pytest.raises(errors.NotFoundError):
                batcher_loop.run(act("nosuch"))

    def test_loads_and_unloads_at_the_same_time(self, batcher_loop, gateways, tmp_path):
        path = tmp_path / "filed.yaml"
        repository = gateways(written(path, gate="many"))
        before = Gated.loaded

        async def all_at_once():
            acts = [repository.load("filed") if n % 3 else repository.unload("filed") for n in range(12)]
            await asyncio.gather(*acts, repository.load("filed"))

        batcher_loop.run(all_at_once())
        assert repository.ready
        assert Gated.loaded == before
        (asked,) = submit(batcher_loop, repository, ("filed", {"x": [1.0]}))
        assert asked.values() == [1.0]


class TestDraining:
    def test_what_was_accepted_is_answered_and_nothing_more(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("drain")), threads=1)
        with shut("drain") as gate:
            asked = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            asked += submit(batcher_loop, repository, ("g", {"x": [2.0]}), ("gate", {"x": [3.0]}))
            draining = batcher_loop.start(repository.drain(20))
            batcher_loop.until(lambda: repository.draining)
            assert not repository.ready
            (refused,) = submit(batcher_loop, repository, ("g", {"x": [4.0]}))
            assert isinstance(refused.error, errors.NotReadyError)
            assert "about to stop" in str(refused.error)
        assert draining.result(20) is True
        assert [each.values() for each in asked] == [[1.0], [2.0], [3.0]]

    def test_not_longer_than_is_allowed(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("too long")), threads=1)
        with shut("too long") as gate:
            (asked,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            assert batcher_loop.run(repository.drain(0.05)) is False
        assert asked.values() == [1.0]

    def test_what_still_waits_when_the_gateway_is_closed_is_told_so(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("closed")), threads=1)
        with shut("closed") as gate:
            first = submit(batcher_loop, repository, ("g", {"x": [1.0]}))[0]
            assert gate.entered.acquire(timeout=20)
            (other,) = submit(batcher_loop, repository, ("g", {"x": [2.0]}))  # it waits for the thread of its graph
            batcher_loop.call(repository.close)
            assert isinstance(other.error, errors.NotReadyError)
        assert first.values() == [1.0]

    def test_a_request_that_says_nothing_has_a_deadline_all_the_same(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("deadline")), threads=1, answer_timeout_s=0.05)
        with shut("deadline"):
            (asked,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert isinstance(asked.error, errors.DeadlineError)


def test_a_request_without_rows(batcher_loop, gateways):
    repository = gateways(graph_of(gated("nothing")))
    asked = Asked({"x": np.zeros(0, np.float32)}, 0)
    submit(batcher_loop, repository, ("g", asked))
    assert asked.values() == []


def test_it_is_said_at_once_that_nothing_is_loaded_any_more(gateways, batcher_loop):
    repository = gateways(graph_of(gated("a", "own")))
    said = []
    repository.rested.append(lambda: said.append(repository.busy))
    for change in (repository.load_all, lambda: repository.load("g"), lambda: repository.unload("g")):
        batcher_loop.run(change())
    assert said == [False] * 3


def test_a_graph_that_is_unloaded_while_its_store_is_asked_stays_so(gateways, batcher_loop, monkeypatch):
    repository = gateways(graph_of(gated("a", "m"), "stored"))
    watch = StoreWatcher(repository, 60)

    def moved(served):
        batcher_loop.run(repository.unload(served.name))
        return {"m": 2}

    monkeypatch.setattr(watch, "_moved", moved)
    batcher_loop.run(watch._look(repository.find("stored")))
    assert (repository.find("stored").state, repository.find("stored").reason) == ("UNAVAILABLE", "unloaded")
