"""Batchers of graphs whose models share places: who waits for whom, what is together, what goes."""

import threading

import numpy as np
import pytest

from helpers import keyed
from motet.errors import GraphError
from serving.batching.batcher_live import submit


@pytest.fixture(autouse=True)
def log():
    keyed.LOG.clear()
    return keyed.LOG


def asked(*keys):
    return [("keyed", {"k": [key], "x": [float(place)]}) for place, key in enumerate(keys)]


def test_every_request_is_answered_by_the_model_of_its_key(batcher_loop, gateways):
    repository = gateways(keyed.graph(12, 3))
    keys = np.random.default_rng(1).integers(0, 12, 200).tolist()
    answers = submit(batcher_loop, repository, *asked(*keys))
    assert [each.values() for each in answers] == [[place + float(key)] for place, key in enumerate(keys)]
    assert repository.find("keyed").batcher.idle
    assert sum(held.state == "in" for held in repository.residency.held()) <= 3


def test_nothing_is_loaded_at_the_start_and_the_graph_is_ready(gateways, log):
    repository = gateways(keyed.graph(12, 3))
    assert repository.ready
    assert not log


def test_rows_that_wait_for_one_model_are_loaded_for_once_and_played_together(batcher_loop, gateways, log):
    repository = gateways(keyed.graph(12, 2))
    answers = submit(batcher_loop, repository, *asked(*[1, 2, 3, 4] * 10))
    assert all(each.values() for each in answers)
    assert sorted(keyed.loads()) == ["m1", "m2", "m3", "m4"]
    assert len([name for what, name in log if what == "call"]) < 20


def test_a_request_whose_model_is_loaded_does_not_wait_for_one_whose_model_is_not(
    batcher_loop, gateways, log, monkeypatch
):
    repository = gateways(keyed.graph(12, 2))
    (first,) = submit(batcher_loop, repository, *asked(1))
    first.values()
    free = threading.Event()
    load = keyed.Shelved.__init__

    def held_up(self, *arguments, **options):
        assert free.wait(20)
        load(self, *arguments, **options)

    monkeypatch.setattr(keyed.Shelved, "__init__", held_up)
    slow, quick = submit(batcher_loop, repository, *asked(5, 1))
    assert quick.values() == [2.0]
    assert not slow.told.done()
    free.set()
    assert slow.values() == [5.0]


def test_a_model_that_cannot_be_loaded_fails_its_requests_alone(batcher_loop, gateways):
    repository = gateways(keyed.graph(6, 2, broken=[3]))
    answers = submit(batcher_loop, repository, *asked(0, 3, 1))
    assert answers[0].values() == [0.0]
    assert answers[2].values() == [3.0]
    (failure,) = answers[1].reply.failures
    assert failure.error == "ModelLoadError"
    assert failure.message.startswith("the model of k '3': model 'm3' cannot be loaded")


def test_models_are_served_alone_too_and_share_the_places(batcher_loop, gateways, log):
    repository = gateways(keyed.graph(6, 2))
    answers = submit(batcher_loop, repository, *[(f"m{place}", {"x": [1.0]}) for place in range(6)])
    assert [each.values() for each in answers] == [[1.0 + place] for place in range(6)]
    assert sum(held.state == "in" for held in repository.residency.held()) == 2
    assert len(keyed.loads()) == 6


def test_unloading_gives_the_memory_back(batcher_loop, gateways, log):
    repository = gateways(keyed.graph(6, 2))
    submit(batcher_loop, repository, *asked(0, 1, 2))[-1].values()
    batcher_loop.run(repository.unload("keyed"))
    assert len([name for what, name in log if what == "close"]) == len(keyed.loads())
    assert repository.residency.held() == []


def test_a_server_may_have_places_for_all_its_graphs(batcher_loop, gateways, log):
    from motet.graph.pool import Places

    repository = gateways(keyed.graph(3, None, name="one"), keyed.graph(3, None, name="two"), places=Places(2))
    for name in ("one", "two"):
        answers = submit(batcher_loop, repository, *[(name, {"k": [key], "x": [0.0]}) for key in range(3)])
        assert [each.values() for each in answers] == [[0.0], [1.0], [2.0]]
    assert sum(held.state == "in" for held in repository.residency.held()) == 2


def test_places_of_a_server_must_be_some():
    from motet.graph.pool import Places

    with pytest.raises(GraphError, match="neither max_loaded nor memory is given"):
        Places()
