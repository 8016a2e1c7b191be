"""Models of a server that become more and fewer, and what it says of itself in a pool that it shares."""

import numpy as np
import pytest

import motet as mt
from helpers import keyed
from helpers.heavy import LOAD_S
from motet.errors import GraphError
from motet.runtime.resources.need import Need
from motet.runtime.resources.pool import Pool
from motet.serving.config.pool import PoolConfig
from motet.serving.repository.autoscaler import Autoscaler, ScaledModel
from serving.batching.batcher_live import submit


def graph(**replicas):
    made = keyed.model("m", 1.0, replicas=replicas)
    return mt.Graph("g", {"y": mt.model(made, mt.input("x", "float32"))})


@pytest.fixture(autouse=True)
def log():
    keyed.LOG.clear()
    return keyed.LOG


@pytest.fixture
def seconds():
    return [0.0]


@pytest.fixture
def breath(batcher_loop, seconds):
    """Makes what looks at a gateway's models in time that the test makes."""
    kept = []

    def make(repository, pool=None, waiting=lambda model: 0):
        models = lambda: repository.find("g").batcher.models  # noqa: E731
        kept.append(Autoscaler(batcher_loop.loop, models, waiting, pool, lambda: seconds[0]))
        return kept[-1]

    yield make
    for each in kept:
        batcher_loop.call(each.close)


def test_a_model_that_nobody_asks_goes_to_zero_and_comes_back_with_the_next_request(
    batcher_loop, gateways, breath, seconds, log
):
    repository = gateways(graph(min=0, max=2))
    assert repository.ready
    assert not log
    (first,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
    assert first.values() == [2.0]
    (model,) = repository.find("g").batcher.models
    looks = breath(repository)
    batcher_loop.call(looks.look)
    assert model.replicas.count == 1
    for _ in range(10):
        seconds[0] += 50
        batcher_loop.call(looks.look)
    assert model.replicas.count == 0
    (again,) = submit(batcher_loop, repository, ("g", {"x": [5.0]}))
    assert again.values() == [6.0]
    assert keyed.loads() == ["m", "m"]


def test_a_graph_says_after_how_long_its_models_go(batcher_loop, gateways, breath, seconds):
    repository = gateways(graph(min=0, max=2, hold_s=1, idle_s=3))
    assert submit(batcher_loop, repository, ("g", {"x": [1.0]}))[0].values() == [2.0]
    (model,) = repository.find("g").batcher.models
    looks = breath(repository)
    counts = []
    for seconds[0] in (0, 2, 4):
        batcher_loop.call(looks.look)
        counts.append(model.replicas.count)
    assert counts == [1, 1, 0]


def test_rows_that_wait_bring_more_replicas_up_to_what_the_pool_lends(batcher_loop, gateways, breath, seconds):
    repository = gateways(graph(min=1, max=8))
    (model,) = repository.find("g").batcher.models
    submit(batcher_loop, repository, ("g", {"x": [1.0]}))[0].values()
    pool = Pool(Need(cpu=3, memory_bytes=1 << 40))
    looks = breath(repository, None, lambda model: 1_000_000_000)
    batcher_loop.call(looks.look)
    seconds[0] += 1
    batcher_loop.call(looks.look)
    assert model.replicas.count == 8
    looks = breath(repository, pool, lambda model: 1_000_000_000)
    looks._tell = lambda pool: None
    for _ in range(3):
        seconds[0] += 1
        batcher_loop.call(looks.look)
    assert model.replicas.count == 3
    assert pool.used().cpu == 3


def test_what_a_row_takes_is_learned_while_it_is_asked(batcher_loop, gateways):
    repository = gateways(graph(min=1, max=2))
    (model,) = repository.find("g").batcher.models
    scaled = ScaledModel(model, lambda: 7)
    before = scaled.seen(0.0)
    assert before.waiting_rows == 7
    submit(batcher_loop, repository, ("g", {"x": np.zeros(100, dtype=np.float32)}))[0].values()
    seen = scaled.seen(1.0)
    assert seen.arrived_rows == before.arrived_rows + 100
    assert 0 < seen.row_s < 0.1


def test_a_server_says_what_it_uses_and_bulk_gives_way(batcher_loop, gateways, breath, tmp_path):
    repository = gateways(graph(min=1, max=2))
    pool, other = (Pool(Need(cpu=4, memory_bytes=1 << 40), folder=tmp_path) for _ in range(2))
    looks = breath(repository, pool)
    bulk = other.borrow(Need(cpu=4), priority="bulk")
    batcher_loop.call(looks.look)
    while not bulk.wanted:
        pass
    bulk.release()
    while not other.used().memory_bytes:
        batcher_loop.call(looks.look)
    assert other.used().memory_bytes > 1 << 20
    batcher_loop.call(looks.close)
    while other.used().memory_bytes:  # what it was about to be lent comes back a moment later
        pass


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"max_loded": 3}, "unknown key 'max_loded'"),
        ({"max_loaded": 0}, "max_loaded: must be at least 1; got 0"),
        ({"max_swap_wait_ms": 3}, "means nothing without 'max_loaded' or 'memory'"),
        ({"memory": "lots"}, "'lots' is no amount of memory"),
        ({"cpu": -1}, "must be at least 0"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(written, message):
    with pytest.raises(GraphError, match=message):
        PoolConfig.read(written, "pool")


def test_what_is_said_of_a_pool(tmp_path):
    found = PoolConfig.read({"max_loaded": 4, "memory": "1GiB", "cpu": 3, "folder": str(tmp_path / "pool")}, "pool")
    assert (found.places.max_loaded, found.places.memory_bytes) == (4, 1 << 30)
    assert found.pool.capacity.cpu == 3
    assert PoolConfig.read(None, "pool") == PoolConfig.read({}, "pool") == PoolConfig()


def test_a_request_waits_for_a_place_in_the_pool_and_is_answered_when_there_is_one(
    batcher_loop, gateways, breath, tmp_path
):
    repository = gateways(graph(min=0, max=2))
    pool, other = (Pool(Need(cpu=1, memory_bytes=1 << 40), folder=tmp_path) for _ in range(2))
    looks = breath(repository, pool)
    looks._tell = lambda pool: None
    bulk = other.borrow(Need(cpu=1), priority="bulk")
    (model,) = repository.find("g").batcher.models
    batcher_loop.call(looks.look)
    assert model.replicas.count == 0  # nobody has asked
    answer = submit(batcher_loop, repository, ("g", {"x": [1.0]}))[0]
    while not bulk.wanted:
        batcher_loop.call(looks.look)
    assert model.replicas.count == 0
    bulk.release()
    while not other.used().cpu:
        batcher_loop.call(looks.look)
    assert answer.values() == [2.0]
    assert keyed.loads() == ["m"]


def test_what_waits_for_a_replica_is_no_work_of_the_replica(batcher_loop, gateways):
    made = mt.Model(
        "python:helpers.heavy:Heavy", "m", inputs={"x": "float32"}, outputs={"y": "float32"},
        replicas={"min": 0, "max": 2},
    )  # fmt: skip
    repository = gateways(mt.Graph("g", {"y": mt.model(made, mt.input("x", "float32"))}))
    (model,) = repository.find("g").batcher.models
    scaled = ScaledModel(model, lambda: 0)
    scaled.seen(0.0)
    submit(batcher_loop, repository, ("g", {"x": [1.0]}))[0].values()
    seen = scaled.seen(1.0)
    assert 0 < seen.row_s < LOAD_S <= model.stats.seconds
    assert seen.loading_s >= LOAD_S
    assert seen.arrived_rows == 1


def test_rows_that_nobody_waits_for_any_more_have_come_all_the_same(batcher_loop, gateways):
    repository = gateways(graph(min=1, max=2))
    (model,) = repository.find("g").batcher.models
    waiting = [10]
    scaled = ScaledModel(model, lambda: waiting[0])
    before = scaled.seen(0.0).arrived_rows
    waiting[0] = 0
    assert scaled.seen(1.0).arrived_rows == before
    waiting[0] = 5
    assert scaled.seen(2.0).arrived_rows == before + 5


def test_a_model_that_the_pool_can_never_have_is_said(batcher_loop, gateways, breath, caplog):
    repository = gateways(graph(min=0, max=2))
    looks = breath(repository, Pool(Need(cpu=0.5, memory_bytes=1 << 40)))
    batcher_loop.call(looks.look)
    batcher_loop.call(looks.look)
    assert [each.message for each in caplog.records] == [
        "model 'm' is not scaled, and borrows nothing: replicas of m: there will never be 1 cores (there are 0.5)\n"
        "  hint: ask for less, or give the pool more"
    ]
    assert submit(batcher_loop, repository, ("g", {"x": [1.0]}))[0].values() == [2.0]
