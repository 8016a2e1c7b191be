"""What is shown of the places of models, and of the pool, over a real gateway."""

import sys

import pytest

from helpers import keyed
from motet.runtime.resources.need import Need
from motet.runtime.resources.pool import Pool
from motet.serving.observability.board import Board
from motet.serving.observability.counters import Counters
from motet.serving.observability.places import PlacesBoard, pool_status
from motet.serving.observability.totals import Totals
from serving.batching.batcher_live import submit

NAME = "node 'by_key' of graph 'keyed'"


@pytest.fixture
def repository(batcher_loop, gateways):
    made = gateways(keyed.graph(12, 3, resident=[7]))
    answers = submit(batcher_loop, made, *[("keyed", {"k": [key], "x": [1.0]}) for key in (1, 2, 3, 1, 4)])
    assert all(each.values() for each in answers)
    return made


@pytest.fixture
def totals(tmp_path):
    """The numbers of all processes, by metric and label."""
    made = Totals(tmp_path)

    def read(name):
        return {tuple(labels.values()): values[0] for labels, values in made.read().of(name)}

    yield read
    made.close()


def test_places_say_which_models_are_loaded_and_how_often_they_were(repository, tmp_path):
    board = PlacesBoard(tmp_path, Counters(tmp_path))
    (found,), borrowed = board.look(repository)
    assert borrowed is None
    assert (found["name"], found["max_loaded"], found["models_known"]) == (NAME, 3, 12)
    assert found["loads"] == sum(each["loads"] for each in found["models"]) >= 5
    loaded = {each["name"] for each in found["models"] if each["state"] == "in"}
    assert "m7" in loaded
    assert found["loaded"] == len(loaded) <= 3
    assert {"m1", "m2", "m3", "m4", "m7"} == {each["name"] for each in found["models"]}
    (shown,) = board.everywhere()
    assert shown.pop("process") > 0
    assert shown == found
    board.close()
    assert board.everywhere() == []


def test_loads_are_counted_once_however_often_is_looked(repository, tmp_path, totals):
    board = PlacesBoard(tmp_path, Counters(tmp_path))
    for _ in range(3):
        found, borrowed = board.look(repository)
        board.count(found, borrowed, None)
    assert totals("motet_places_loads") == {(NAME,): found[0]["loads"]}
    assert totals("motet_places_loaded") == {(NAME,): found[0]["loaded"]}
    board.close()
    assert totals("motet_places_loaded") == {(NAME,): 0}
    assert totals("motet_places_loads") == {(NAME,): found[0]["loads"]}


class Lender:
    """A gateway with a pool."""

    def __init__(self, repository, pool):
        self.residency, self.pool = repository.residency, pool


def test_a_server_counts_what_it_borrowed_and_shows_what_everybody_did(repository, tmp_path, totals):
    pool = Pool(Need(cpu=4, memory_bytes=1 << 30), folder=tmp_path / "pool", name="motet serve")
    board = PlacesBoard(tmp_path, Counters(tmp_path))
    with pool.borrow(Need(cpu=1, memory_bytes=1 << 20)), pool.borrow(Need(cpu=2), priority="bulk", who="run"):
        found, borrowed = board.look(Lender(repository, pool))  # type: ignore[arg-type]
        board.count(found, borrowed, pool.capacity)
        shown = pool_status(pool)
    assert totals("motet_pool_borrowed") == {("cpu",): 3, ("memory_bytes",): 1 << 20}
    assert totals("motet_pool_capacity") == {("cpu",): 4, ("memory_bytes",): 1 << 30}
    assert shown["capacity"] == {"cpu": 4, "memory_bytes": 1 << 30}
    held = {each["who"]: (each["priority"], each["held"]["cpu"]) for each in shown["holders"]}
    assert held == {"motet serve": ("live", 1), "run": ("bulk", 2)}
    board.close()


@pytest.mark.skipif(sys.platform != "linux", reason="processes may have larger numbers")
def test_what_a_dead_process_showed_is_forgotten(tmp_path):
    living, dead = Board(tmp_path, "1-a", ".x"), Board(tmp_path, f"{2**22 + 7}-b", ".x")  # beyond what Linux numbers
    living.show([{"n": 1}])
    dead.show([{"n": 2}])
    assert living.everywhere() == [{"n": 1, "process": 1}]
    assert [path.name for path in tmp_path.iterdir()] == ["1-a.x"]
