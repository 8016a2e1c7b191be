"""Models of a server that become more and fewer, and what it says of itself in a pool that it shares."""

import numpy as np
import pytest
from lane_live import submit

import motet as mt
from helpers import keyed
from helpers.heavy import LOAD_S
from motet.errors import GraphError
from motet.runtime.resources.need import Need
from motet.runtime.resources.pool import Pool
from motet.serving.config.pool import PoolConfig
from motet.serving.repository.autoscaler import Autoscaler, ScaledModel


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
def breath(lane_loop, seconds):
    """Makes what looks at a gateway's models in time that the test makes."""
    kept = []

    def make(gateway, pool=None, waiting=lambda model: 0):
        models = lambda: gateway.find("g").lane.models  # noqa: E731
        kept.append(Autoscaler(lane_loop.loop, models, waiting, pool, lambda: seconds[0]))
        return kept[-1]

    yield make
    for each in kept:
        lane_loop.call(each.close)


def test_a_model_that_nobody_asks_goes_to_zero_and_comes_back_with_the_next_request(
    lane_loop, gateways, breath, seconds, log
):
    gateway = gateways(graph(min=0, max=2))
    assert gateway.ready
    assert not log
    (first,) = submit(lane_loop, gateway, ("g", {"x": [1.0]}))
    assert first.values() == [2.0]
    (model,) = gateway.find("g").lane.models
    looks = breath(gateway)
    lane_loop.call(looks.look)
    assert model.replicas.count == 1
    for _ in range(10):
        seconds[0] += 50
        lane_loop.call(looks.look)
    assert model.replicas.count == 0
    (again,) = submit(lane_loop, gateway, ("g", {"x": [5.0]}))
    assert again.values() == [6.0]
    assert keyed.loads() == ["m", "m"]


def test_a_graph_says_after_how_long_its_models_go(lane_loop, gateways, breath, seconds):
    gateway = gateways(graph(min=0, max=2, hold_s=1, idle_s=3))
    assert submit(lane_loop, gateway, ("g", {"x": [1.0]}))[0].values() == [2.0]
    (model,) = gateway.find("g").lane.models
    looks = breath(gateway)
    counts = []
    for seconds[0] in (0, 2, 4):
        lane_loop.call(looks.look)
        counts.append(model.replicas.count)
    assert counts == [1, 1, 0]


def test_rows_that_wait_bring_more_replicas_up_to_what_the_pool_lends(lane_loop, gateways, breath, seconds):
    gateway = gateways(graph(min=1, max=8))
    (model,) = gateway.find("g").lane.models
    submit(lane_loop, gateway, ("g", {"x": [1.0]}))[0].values()
    pool = Pool(Need(cpu=3, memory_bytes=1 << 40))
    looks = breath(gateway, None, lambda model: 1_000_000_000)
    lane_loop.call(looks.look)
    seconds[0] += 1
    lane_loop.call(looks.look)
    assert model.replicas.count == 8
    looks = breath(gateway, pool, lambda model: 1_000_000_000)
    looks._tell = lambda pool: None
    for _ in range(3):
        seconds[0] += 1
        lane_loop.call(looks.look)
    assert model.replicas.count == 3
    assert pool.used().cpu == 3


def test_what_a_row_takes_is_learned_while_it_is_asked(lane_loop, gateways):
    gateway = gateways(graph(min=1, max=2))
    (model,) = gateway.find("g").lane.models
    scaled = ScaledModel(model, lambda: 7)
    before = scaled.seen(0.0)
    assert before.waiting_rows == 7
    submit(lane_loop, gateway, ("g", {"x": np.zeros(100, dtype=np.float32)}))[0].values()
    seen = scaled.seen(1.0)
    assert seen.arrived_rows == before.arrived_rows + 100
    assert 0 < seen.row_s < 0.1


def test_a_server_says_what_it_uses_and_bulk_gives_way(lane_loop, gateways, breath, tmp_path):
    gateway = gateways(graph(min=1, max=2))
    pool, other = (Pool(Need(cpu=4, memory_bytes=1 << 40), folder=tmp_path) for _ in range(2))
    looks = breath(gateway, pool)
    bulk = other.borrow(Need(cpu=4), priority="bulk")
    lane_loop.call(looks.look)
    while not bulk.wanted:
        pass
    bulk.release()
    while not other.used().memory_bytes:
        lane_loop.call(looks.look)
    assert other.used().memory_bytes > 1 << 20
    lane_loop.call(looks.close)
    while other.used().memory_bytes:  # what it was about to be lent comes back a moment later
        pass


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"max_loded": 3}, "unknown key 'max_loded'"),
        ({"max_loaded": 0}, "at least 1 model must be loaded"),
        ({"max_swap_wait_ms": 3}, "no meaning without max_loaded or memory"),
        ({"memory": "lots"}, "'lots' is no amount of memory"),
        ({"cpu": -1}, "must not be negative"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(written, message):
    with pytest.raises(GraphError, match=message):
        PoolConfig.read(written)


def test_what_is_said_of_a_pool(tmp_path):
    found = PoolConfig.read({"max_loaded": 4, "memory": "1GiB", "cpu": 3, "folder": str(tmp_path / "pool")})
    assert (found.places.max_loaded, found.places.memory_bytes) == (4, 1 << 30)
    assert found.pool.capacity.cpu == 3
    assert PoolConfig.read(None) == PoolConfig.read({}) == PoolConfig()


def test_a_request_waits_for_a_place_in_the_pool_and_is_answered_when_there_is_one(
    lane_loop, gateways, breath, tmp_path
):
    gateway = gateways(graph(min=0, max=2))
    pool, other = (Pool(Need(cpu=1, memory_bytes=1 << 40), folder=tmp_path) for _ in range(2))
    looks = breath(gateway, pool)
    looks._tell = lambda pool: None
    bulk = other.borrow(Need(cpu=1), priority="bulk")
    (model,) = gateway.find("g").lane.models
    lane_loop.call(looks.look)
    assert model.replicas.count == 0  # nobody has asked
    answer = submit(lane_loop, gateway, ("g", {"x": [1.0]}))[0]
    while not bulk.wanted:
        lane_loop.call(looks.look)
    assert model.replicas.count == 0
    bulk.release()
    while not other.used().cpu:
        lane_loop.call(looks.look)
    assert answer.values() == [2.0]
    assert keyed.loads() == ["m"]


def test_what_waits_for_a_replica_is_no_work_of_the_replica(lane_loop, gateways):
    made = mt.Model(
        "python:helpers.heavy:Heavy", "m", inputs={"x": "float32"}, outputs={"y": "float32"},
        replicas={"min": 0, "max": 2},
    )  # fmt: skip
    gateway = gateways(mt.Graph("g", {"y": mt.model(made, mt.input("x", "float32"))}))
    (model,) = gateway.find("g").lane.models
    scaled = ScaledModel(model, lambda: 0)
    scaled.seen(0.0)
    submit(lane_loop, gateway, ("g", {"x": [1.0]}))[0].values()
    seen = scaled.seen(1.0)
    assert 0 < seen.row_s < LOAD_S <= model.stats.seconds
    assert seen.loading_s >= LOAD_S
    assert seen.arrived_rows == 1


def test_rows_that_nobody_waits_for_any_more_have_come_all_the_same(lane_loop, gateways):
    gateway = gateways(graph(min=1, max=2))
    (model,) = gateway.find("g").lane.models
    waiting = [10]
    scaled = ScaledModel(model, lambda: waiting[0])
    before = scaled.seen(0.0).arrived_rows
    waiting[0] = 0
    assert scaled.seen(1.0).arrived_rows == before
    waiting[0] = 5
    assert scaled.seen(2.0).arrived_rows == before + 5


def test_a_model_that_the_pool_can_never_have_is_said(lane_loop, gateways, breath, caplog):
    gateway = gateways(graph(min=0, max=2))
    looks = breath(gateway, Pool(Need(cpu=0.5, memory_bytes=1 << 40)))
    lane_loop.call(looks.look)
    lane_loop.call(looks.look)
    assert [each.message for each in caplog.records] == [
        "model 'm' is not scaled, and borrows nothing: replicas of m: there will never be 1 cores (there are 0.5)\n"
        "  hint: ask for less, or give the pool more"
    ]
    assert submit(lane_loop, gateway, ("g", {"x": [1.0]}))[0].values() == [2.0]
