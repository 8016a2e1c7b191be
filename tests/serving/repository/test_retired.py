"""Requests that still wait, or are still played, when a graph that was replaced or unloaded has drained for as long as it may."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.gates import shut
from motet import errors
from serving.batching.batcher_live import submit

GATED = {
    "uri": "python:helpers.gates:Gated",
    "inputs": {"x": "float32"},
    "outputs": {"y": "float32"},
}
KINDS: dict[str, Any] = {
    "thread": {"placement": "thread"},
    "held back": {"batch": {"max_wait_ms": 1, "max_rows": 1}, "concurrent": 1},
    "one at a time": {"placement": "thread", "concurrent": 1},
    "free": {},
}


def written(path, add, kind, gate):
    graph = {
        "motet": 1,
        "name": "g",
        "inputs": {"x": "float32"},
        "models": {"m": {**GATED, **KINDS[kind], "with": {"gate": gate, "add": add}}},
        "nodes": {"n": {"model": "m", "inputs": ["x"]}},
        "outputs": {"y": "n"},
    }
    path.write_text(yaml.safe_dump(graph))
    return str(path)


def asked_while_one_is_played(loop, repository, held):
    (played,) = submit(loop, repository, ("g", {"x": [1.0]}))
    assert held.entered.acquire(timeout=20)
    waiting = [
        submit(loop, repository, (name, {"x": [value]}))[0] for name, value in (("g", 2.0), ("g", 3.0), ("m", 4.0))
    ]
    return played, waiting


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_longer_than_a_replaced_graph_may_is_answered_by_the_new_one(batcher_loop, gateways, tmp_path, kind):
    path, gate = tmp_path / "g.yaml", f"replaced {kind}"
    repository = gateways(written(path, 1.0, kind, gate), threads=1, drain_timeout_s=0.05)
    with shut(gate) as held:
        played, waiting = asked_while_one_is_played(batcher_loop, repository, held)
        written(path, 2.0, kind, f"{gate} anew")
        batcher_loop.run(repository.load("g"))
        assert [each.values() for each in waiting[:2]] == [[4.0], [5.0]]  # while the old one is still at its call
    assert played.values() == [2.0]
    assert waiting[2].values()[0] in (5.0, 6.0)  # whose call may have begun before
    assert [each.times for each in (played, *waiting)] == [1] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_longer_than_an_unloaded_graph_may_is_told(batcher_loop, gateways, tmp_path, kind):
    gate = f"unloaded {kind}"
    repository = gateways(written(tmp_path / "g.yaml", 1.0, kind, gate), threads=1, drain_timeout_s=0.05)
    with shut(gate) as held:
        played, waiting = asked_while_one_is_played(batcher_loop, repository, held)
        batcher_loop.run(repository.unload("g"))
        for each in waiting[:2]:
            assert isinstance(each.error, errors.NotReadyError)
            assert each.error.retry_after_s
    assert played.values() == [2.0]
    assert [each.told.exception(20) is None or each.error.status for each in waiting[2:]] in ([True], [503])
    assert [each.times for each in (played, *waiting)] == [1] * 4


def test_one_that_takes_something_else_answers_nothing_of_the_old_one(batcher_loop, gateways, tmp_path):
    path = tmp_path / "g.yaml"
    repository = gateways(written(path, 1.0, "thread", "other"), threads=1, drain_timeout_s=0.05)
    with shut("other") as held:
        _, waiting = asked_while_one_is_played(batcher_loop, repository, held)
        graph = yaml.safe_load(Path(written(path, 2.0, "thread", "other anew")).read_text())
        path.write_text(yaml.safe_dump({**graph, "outputs": {"other": "n"}}))
        batcher_loop.run(repository.load("g"))
        assert [str(each.error) for each in waiting[:2]] == ["g is not ready: replaced"] * 2
