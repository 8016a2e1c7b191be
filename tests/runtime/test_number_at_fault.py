"""Models that take a few rows a call only: that is learned once, and not by failing for each batch."""

import logging

import numpy as np
import pytest

import motet as mt
from motet.runtime.isolate import OFTEN, CallHealth, isolate
from motet.testing.fakes import Hungry, calls, fake

X = np.arange(640, dtype=np.float32)


def graph_of(most, log, **settings):
    calls.pop(log, None)
    model = fake(Hungry, log, most=most, log=log, scale=2.0, error="ValueError", settings=settings)
    return mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32"), name="asked")})


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("placement", [None, "thread"])
def test_it_is_learned_from_a_few_batches(most, placement, caplog):
    graph = graph_of(most, f"few{most}{placement}", placement=placement)
    with caplog.at_level(logging.WARNING, "motet.runtime"):
        for first in range(0, len(X), 64):
            assert graph({"x": X[first : first + 64]})["y"].tolist() == (X[first : first + 64] * 2).tolist()
    rows = np.array(calls[f"few{most}{placement}"])
    assert (rows > most).sum() <= OFTEN * 128 // most
    assert (rows[-(64 // most) :] == most).all()
    name = "1 row" if most == 1 else f"{most} rows"
    assert [record.getMessage() for record in caplog.records] == [
        f"model 'few{most}{placement}' answers calls of {name}, and of no more; say batch: {{max_rows: {most}}}, or export it "
        "for any number of rows"
    ]


def test_a_run_learns_it_too(tmp_path):
    graph = graph_of(1, "bulk")
    assert graph.run({"x": X}, batch_rows=32)["y"].to_pylist() == (X * 2).tolist()
    rows = np.array(calls["bulk"])
    assert (rows > 1).sum() < 300 < len(X) <= (rows == 1).sum()


def tried(health, fails, rows=16):
    """What is said to be too big, of a function that raises for some stretches."""
    said = []

    def run(first, end):
        if fails(first, end):
            raise ValueError("no")
        return end - first

    isolate(run, rows, health, too_big=said.append)
    return said


def test_errors_that_come_and_go_teach_nothing():
    health, done = CallHealth("m"), set()

    def once(first, end):
        fresh = (first, end) not in done
        done.add((first, end))
        return fresh and end - first == 16

    for _ in range(2 * OFTEN):
        done.clear()
        assert tried(health, once) == []


def test_rows_at_fault_teach_nothing():
    health = CallHealth("m")
    for _ in range(2 * OFTEN):
        assert tried(health, lambda first, end: first <= 3 < end) == []


def test_the_number_is_said_once_it_was_seen_often():
    health = CallHealth("m")
    assert [tried(health, lambda first, end: end - first > 2) for _ in range(OFTEN + 1)] == [[], [], [4], []]
