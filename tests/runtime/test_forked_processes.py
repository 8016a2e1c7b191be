"""A process that is forked calls the graphs of the one that it was forked from, also those that were called before, and ends."""

import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import onnxes
from motet import locks as process_locks
from motet.workflow.memo import locks

X = np.arange(5, dtype="f4")
BIG = np.arange(5000, dtype="f4")


def in_child(work):
    """What a function gives in a forked process that ends as `sys.exit` ends one, and the exit code."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def graph_of(model, **options):
    made = mt.Model(str(model), **options)
    return mt.Graph("g", {"y": mt.model(made, mt.input("x", "float32"))})


def onnx(tmp_path, **options):
    return graph_of(onnxes.affine(tmp_path / "m.onnx"), **options)


@pytest.mark.parametrize("options", [{}, {"placement": "thread"}, {"placement": "process"}, {"placement": "machine"}, {"resources": {"cpu": 2}}, {"replicas": 2}])  # fmt: skip
@pytest.mark.parametrize("rows", [X, BIG])
def test_a_graph_that_was_called_is_called_in_the_child_and_still_here(tmp_path, options, rows):
    with onnx(tmp_path, **options) as graph:
        wanted = (rows * 2 + 1).sum().item()
        assert graph({"x": rows})["y"].sum().item() == wanted
        assert in_child(lambda: graph({"x": rows})["y"].sum().item()) == (repr(wanted), 0)
        assert in_child(lambda: len(graph.run({"x": rows}, batch_rows=100))) == (repr(len(rows)), 0)
        assert graph({"x": rows})["y"].sum().item() == wanted


def test_the_child_loads_anew_and_closes_nothing_of_its_parents(tmp_path):
    with onnx(tmp_path, placement="process") as graph:
        graph({"x": X})
        (pid,) = [each.pid for model in graph.executor.models() for each in model.replicas.status()]

        def child():
            graph.close()
            graph({"x": X})
            (own,) = [each.pid for model in graph.executor.models() for each in model.replicas.status()]
            graph.close()
            return own

        said, code = in_child(child)
        assert code == 0
        assert int(said) != pid
        (now,) = [each.pid for model in graph.executor.models() for each in model.replicas.status()]
        assert now == pid
        assert graph({"x": X})["y"].tolist() == (X * 2 + 1).tolist()


def test_locks_that_other_threads_hold_do_not_stop_the_child(tmp_path):
    graph = onnx(tmp_path)
    graph({"x": X})  # a fork while another thread imports a module leaves Python's own lock of it held in the child
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            graph({"x": X})
            graph.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert in_child(lambda: graph({"x": X})["y"].tolist()) == (repr((X * 2 + 1).tolist()), 0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("make", [process_locks.new_lock, process_locks.new_rlock])
def test_a_lock_of_the_process_is_free_in_the_child(make):
    lock = make()
    with lock:
        there = in_child(lambda: beside(lambda: lock.acquire(timeout=5)))
        assert there == ("True", 0)
        assert not beside(lambda: lock.acquire(blocking=False))


def beside(call):
    """What a function gives in another thread."""
    given = []
    thread = threading.Thread(target=lambda: given.append(call()))
    thread.start()
    thread.join()
    return given[0]


def test_all_locks_that_live_as_long_as_the_process_are_such():
    """Locks of modules and classes, and those of objects that modules hold."""
    kinds = (type(threading.Lock()), type(threading.RLock()))
    for each in pkgutil.walk_packages(mt.__path__, "motet."):
        if not each.name.endswith("__main__"):
            with contextlib.suppress(mt.MotetError, ImportError):
                importlib.import_module(each.name)
    anew = ("CLOCKWORK", "_pool", "INCIDENTS")  # which a forked process has anew
    found = []
    for module in [each for name, each in list(sys.modules.items()) if name.startswith("motet.")]:
        for name, value in vars(module).items():
            written_here = isinstance(value, type) and value.__module__ == module.__name__
            ours = written_here or (is_ours(value) and name not in anew)
            own = vars(value).values() if ours else ()
            locks = [each._lock if isinstance(each, threading.Condition) else each for each in (value, *own)]  # type: ignore[attr-defined]
            found += [(f"{module.__name__}.{name}", lock) for lock in locks if isinstance(lock, kinds)]
    assert found
    assert {name for name, lock in found if lock not in process_locks._locks} == set()


def is_ours(value):
    return type(value).__module__.startswith("motet.") and hasattr(value, "__dict__")


def test_locks_of_keys_are_those_of_the_process_that_took_them(tmp_path):
    assert locks.try_lock(tmp_path / "locks", "a" * 16)
    try:
        assert in_child(lambda: locks.try_lock(tmp_path / "locks", "a" * 16)) == ("False", 0)
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.read(read, 1)
            os._exit(0 if locks.try_lock(tmp_path / "locks", "a" * 16) else 1)
    finally:
        locks.unlock(tmp_path / "locks", "a" * 16)
    os.write(write, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(read)
    os.close(write)


def test_lazy_models_and_functions(tmp_path):
    paths = {str(by): mt.Model(str(onnxes.affine(tmp_path / f"{by}.onnx", by, 0.0))) for by in (2, 3, 4)}
    key, x = mt.input("key", "string"), mt.input("x", "float32")
    routed = mt.route(paths, mt.map(lambda x: x + 1, x, outputs="float32"), key=key, max_loaded=1)
    columns = {"x": X, "key": ["2", "3", "4", "2", "3"]}
    with mt.Graph("g", {"y": routed}) as graph:
        wanted = graph({**columns})["y"].tolist()
        assert wanted == [2, 6, 12, 8, 15]
        assert in_child(lambda: graph(columns)["y"].tolist()) == (repr(wanted), 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_frameworks_in_the_child(tmp_path, threads):
    """Frameworks whose own threads were used before the fork."""
    torch = pytest.importorskip("torch")
    joblib = pytest.importorskip("joblib")
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = np.random.default_rng(0).normal(size=(4000, 64)).astype("f4")
    torch.jit.script(torch.nn.Linear(64, 1)).save(str(tmp_path / "m.pt"))
    joblib.dump(HistGradientBoostingRegressor(max_iter=3).fit(rows, rows[:, 0]), tmp_path / "m.joblib")
    x = mt.input("x", "float32[64]")
    kinds: dict[str, Any] = {"inputs": {"x": "float32[64]"}, "outputs": {"y": "float32[1]"}}
    outputs = {
        "torch": mt.model(mt.Model(str(tmp_path / "m.pt"), "t", resources={"cpu": threads}, **kinds), x),
        "sklearn": mt.model(mt.Model(str(tmp_path / "m.joblib"), "s", resources={"cpu": threads}), x),
    }
    for name, output in outputs.items():
        with mt.Graph(name, {"y": output}) as graph:
            wanted = round(float(graph({"x": rows})["y"].sum()), 2)
            _graphs["now"] = (graph, rows)
            with multiprocessing.get_context("fork").Pool(1) as pool:
                assert pool.apply_async(_asked, (0,)).get(timeout=60) == pytest.approx(wanted, abs=0.1)


_graphs = {}


def _asked(_):
    graph, rows = _graphs["now"]
    return float(graph({"x": rows})["y"].sum())


PRELOAD = """
import os, sys, numpy as np, motet as mt
graph = mt.Graph("g", {"y": mt.model(mt.Model(sys.argv[1], resources={"cpu": int(sys.argv[2])}), mt.input("x", "float32"))})
if sys.argv[3] == "called":
    graph({"x": np.zeros(3, "f4")})
pids = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        os.write(1, f"{graph({'x': np.float32([1])})['y'].tolist()}\\n".encode())
        sys.exit(7)
    pids.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids], flush=True)
print("ORT_DISABLE_TELEMETRY" in os.environ)
"""


@pytest.mark.parametrize("cpu", [1, 2])
@pytest.mark.parametrize("before", ["built", "called"])
def test_children_end_as_they_should(tmp_path, before, cpu):
    """As workers of gunicorn do with `--preload`, which leave by `sys.exit`."""
    path = onnxes.affine(tmp_path / "m.onnx")
    ran = subprocess.run([sys.executable, "-c", PRELOAD, str(path), str(cpu), before], capture_output=True, text=True, timeout=60)  # fmt: skip
    assert ran.stderr == ""
    assert sorted(ran.stdout.splitlines()) == ["False", *["[3.0]"] * 4, "[7, 7, 7, 7]"]
    assert Path(path).exists()
