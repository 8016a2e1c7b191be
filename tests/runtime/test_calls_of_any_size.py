"""Calls and runs of many rows behave as those of few: in the caller's context, at the end of the program, without threads."""

import contextlib
import contextvars
import subprocess
import sys
import threading
import warnings

import numpy as np
import pyarrow as pa
import pytest

import motet as mt
from helpers import onnxes
from motet.runtime.call import BATCH_ROWS
from motet.threads import ThreadPool

SIZES = (1, BATCH_ROWS, BATCH_ROWS + 1, 3 * BATCH_ROWS + 5)
request = contextvars.ContextVar("request", default="none")
x = mt.input("x", "float32")


def told(values):
    return [request.get()] * len(values)


@pytest.mark.parametrize("rows", SIZES)
def test_functions_see_the_callers_context(rows):
    graph = mt.Graph("g", {"o": mt.map(told, x, outputs="string")})
    token = request.set("r-17")
    try:
        assert set(graph({"x": np.zeros(rows, "f4")})["o"]) == {"r-17"}
        assert set(graph.run({"x": np.zeros(rows, "f4")}, batch_rows=50)["o"].to_pylist()) == {"r-17"}
    finally:
        request.reset(token)


@pytest.mark.parametrize("rows", SIZES)
def test_errstate_holds(rows):
    graph = mt.Graph("g", {"o": mt.map(lambda x: 1 / x, x, outputs="float32")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(divide="ignore"):
            answers, failures = graph({"x": np.zeros(rows, "f4")}, failures="return")
            assert not failures
            assert np.isinf(answers["o"]).all()
            assert len(graph.run({"x": np.zeros(rows, "f4")}, batch_rows=50)) == rows
        with np.errstate(divide="raise"):
            assert len(graph({"x": np.zeros(rows, "f4")}, failures="return")[1]) == rows
    assert np.geterr()["divide"] == "warn"


def test_each_piece_of_work_has_a_context_of_its_own():
    token = request.set("outer")
    with contextlib.closing(ThreadPool(2, "two")) as pool:
        barrier = threading.Barrier(2, timeout=30)

        def read(_):
            barrier.wait()
            seen = request.get()
            request.set("inner")  # of the copy alone
            return seen

        assert [made.result() for made in [pool.submit(read, 0), pool.submit(read, 1)]] == ["outer", "outer"]
    assert request.get() == "outer"
    request.reset(token)


@pytest.fixture
def without_threads(monkeypatch):
    def refused(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)


@pytest.mark.parametrize("rows", SIZES)
def test_calls_and_runs_need_no_threads(rows, without_threads):
    graph = mt.Graph("g", {"o": mt.map(lambda x: x + 1, x, outputs="float32")})
    numbers = np.arange(rows, dtype="f4")
    np.testing.assert_array_equal(graph({"x": numbers})["o"], numbers + 1)
    table = graph.run(pa.table({"x": numbers}), batch_rows=100, workers=2)
    np.testing.assert_array_equal(table["o"], numbers + 1)


def test_models_load_and_take_turns_without_threads(tmp_path, without_threads):
    paths = [onnxes.affine(tmp_path / f"{by}.onnx", by, 0.0) for by in (2.0, 3.0, 4.0)]
    models = {str(place): mt.Model(str(path)) for place, path in enumerate(paths)}
    key = mt.input("key", "string")
    routed = mt.route(models, x, key=key)
    both = mt.Graph("g", {"o": routed, "all": mt.ensemble(list(models.values()), x, combine="max")})
    answers = both({"x": np.ones(9, "f4"), "key": [str(row % 3) for row in range(9)]})
    assert answers["o"].tolist() == [2, 3, 4] * 3
    assert answers["all"].tolist() == [4.0] * 9


SCRIPT = """
import atexit, sys, threading
import numpy as np, motet as mt
x = mt.input("x", "float32")
g = mt.Graph("g", {"o": mt.map(mt.ops.columns.cast, x, dtype="float64")})

def ask(where):
    for rows in (2048, 5000, 40000):
        print(where, len(g({"x": np.zeros(rows, "f4")})["o"]), flush=True)
    print(where, len(g.run({"x": np.zeros(5000, "f4")}, batch_rows=100)), flush=True)

def after_main():
    threading.main_thread().join()
    ask("thread")

atexit.register(ask, "atexit")
threading.Thread(target=after_main).start()
"""


def test_the_end_of_the_program_is_no_end_of_calls(tmp_path):
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    rows = ["2048", "5000", "40000", "5000"]
    assert ran.stdout.split() == [word for where in ("thread", "atexit") for count in rows for word in (where, count)]


AT_THE_VERY_END = """
import os, sys
import numpy as np, motet as mt
x = mt.input("x", "float32")
g = mt.Graph("g", {"o": mt.map(lambda x: x + 1, x, outputs="float32")})
g({"x": [1]})

class Last:
    def __init__(self, ask, write, finalizing):
        self.ask, self.write, self.finalizing = ask, write, finalizing
        self.me = self  # so that it is there until the last collection of garbage

    def __del__(self):
        self.write(1, f"{self.finalizing()} {len(self.ask()['o'])}".encode())

Last(lambda g=g, np=np: g({"x": np.zeros(%d, "f4")}, timeout=%s), os.write, sys.is_finalizing)
"""


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("rows", SIZES)
def test_what_python_clears_away_last_may_call_a_graph(rows, timeout):
    script = AT_THE_VERY_END % (rows, timeout)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", f"True {rows}")
