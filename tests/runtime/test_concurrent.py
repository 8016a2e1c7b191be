"""Code that cannot bear several threads: a row is tried alone before it is at fault, and `concurrent` keeps it alone."""

import threading
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import busy
from motet.nodes.gate import Gate

X = np.arange(1000, dtype=np.float64)


def run(graph, tmp_path):
    failed = tmp_path / "f.parquet"
    graph.run({"x": X}, str(tmp_path / "o.parquet"), batch_rows=10, workers=4, failed=str(failed), overwrite=True)
    return pq.read_table(tmp_path / "o.parquet")["y"].to_pylist(), pq.read_table(failed)["row"].to_pylist()


def model(**settings):
    kinds: dict[str, Any] = {"inputs": {"x": "float64"}, "outputs": {"y": "float64"}}
    return mt.model(mt.Model("python:helpers.busy:limited", "m", **kinds, **settings), mt.input("x", "float64"))


@pytest.mark.parametrize("kind", ["model", "function"])
def test_no_row_fails_for_another_thread(kind, tmp_path):
    node = model() if kind == "model" else mt.map(busy.double, mt.input("x", "float64"), outputs="float64")
    values, failed = run(mt.Graph("g", {"y": node}), tmp_path)
    assert failed == [500]
    assert values == [2 * x for x in X if x != 500]


def test_as_many_calls_run_as_a_model_says(tmp_path):
    busy.limited.most = 0
    values, failed = run(mt.Graph("g", {"y": model(concurrent=1)}), tmp_path)
    assert (len(values), failed, busy.limited.most) == (999, [500], 1)


def test_concurrent_is_said_in_files(tmp_path):
    graph = mt.Graph("g", {"y": model(concurrent=2)})
    graph.save(str(tmp_path / "g.yaml"))
    assert "concurrent: 2" in (tmp_path / "g.yaml").read_text()
    mt.load(str(tmp_path / "g.yaml")).save(str(tmp_path / "again.yaml"))
    assert "concurrent: 2" in (tmp_path / "again.yaml").read_text()
    with pytest.raises(mt.GraphError, match="concurrent must be a whole number of at least 1; got 0"):
        model(concurrent=0)


def test_a_lone_row_is_called_again_when_no_other_call_runs():
    gate, entered, leave = Gate(), threading.Event(), threading.Event()

    def slow():
        entered.set()
        assert leave.wait(30)

    other = threading.Thread(target=gate, args=(slow, (), {}), kwargs={"rows": 2})
    other.start()
    assert entered.wait(30)
    tries = []

    def fails_at_first():
        tries.append(other.is_alive())
        if len(tries) == 1:
            leave.set()
            raise RuntimeError("busy")
        return 7

    assert gate(fails_at_first, (), {}, rows=1) == 7
    other.join()
    assert len(tries) == 2


def test_what_raises_alone_is_called_once():
    gate, tries = Gate(), []

    def raises():
        tries.append(1)
        raise LookupError("odd")

    for rows in (1, 2):
        with pytest.raises(LookupError):
            gate(raises, (), {}, rows=rows)
    assert len(tries) == 2


def test_a_gate_lets_so_many_through():
    gate, inside, most, lock = Gate(3), [], [], threading.Lock()
    barrier = threading.Barrier(3, timeout=30)

    def call():
        with lock:
            inside.append(1)
            most.append(len(inside))
        barrier.wait()
        with lock:
            inside.pop()

    threads = [threading.Thread(target=gate, args=(call, (), {}), kwargs={"rows": 2}) for _ in range(9)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert max(most) == 3
