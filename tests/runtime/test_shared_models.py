"""A model is loaded once in a process, however many graphs use it, and is let go when the last one is closed, or gone."""

import gc
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import motet as mt
from helpers import onnxes
from helpers.counted import Counted, Waiting
from motet.locks import close_garbage
from motet.models.onnx import OnnxHandler
from motet.runtime.replicas import shared

X = {"x": np.arange(3, dtype=np.float32)}


@pytest.fixture(autouse=True)
def _none_open():
    gc.collect()  # graphs of other tests, which errors hold
    Counted.made = Counted.open = 0
    Waiting.entered.clear()
    Waiting.go_on.clear()


def _model(name="", kind="Counted", **settings):
    return mt.Model(f"python:helpers.counted:{kind}", name, outputs={"o": "float32"}, **settings)


def _graph(model):
    return mt.Graph("g", {"o": mt.model(model, mt.input("x", "float32"))})


def _played(graph):
    return graph(X)["o"].tolist()


def test_two_graphs_load_a_model_once():
    model = _model()
    first, second = _graph(model), _graph(model)
    assert _played(first) == _played(second) == [0, 1, 2]
    assert (Counted.made, Counted.open) == (1, 1)
    first.close()
    assert Counted.open == 1
    assert _played(second) == [0, 1, 2]
    second.close()
    assert Counted.open == 0
    assert _played(first) == [0, 1, 2]  # loads anew
    assert (Counted.made, Counted.open) == (2, 1)
    first.close()


def test_runs_and_copies_share_too(tmp_path):
    import copy

    with _graph(_model()) as graph, copy.deepcopy(graph) as other:
        assert _played(other) == [0, 1, 2]
        graph.run([X], str(tmp_path / "o.parquet"))
        assert _played(graph) == [0, 1, 2]
        assert (Counted.made, Counted.open) == (1, 1)
    assert Counted.open == 0


@pytest.mark.parametrize(
    "settings",
    [{"options": {"scale": 2.0}}, {"concurrent": 1}, {"resources": {"cpu": 2}}, {"replicas": 2}, {"version": "2"}, {"inputs": {"x": "float32"}}],
    ids=str,
)  # fmt: skip
def test_other_settings_are_another_model(settings):
    with _graph(_model()) as first, _graph(_model(**settings)) as second:
        scale = settings.get("options", {"scale": 1.0})["scale"]
        assert _played(first) == [0, 1, 2]
        assert _played(second) == [0, scale, 2 * scale]
        assert Counted.made == (3 if "replicas" in settings else 2)
    assert Counted.open == 0


@pytest.fixture
def loads(monkeypatch):
    """The locations that ONNX Runtime loads."""
    found = []
    load = OnnxHandler.load

    def counted(self, source):
        found.append(source.location)
        return load(self, source)

    monkeypatch.setattr(OnnxHandler, "load", counted)
    return found


def test_two_names_of_one_file_load_it_once(tmp_path, loads, monkeypatch):
    onnxes.affine(tmp_path / "a.onnx")
    monkeypatch.chdir(tmp_path)
    x, values = mt.input("x", "float32"), X
    one, two = mt.Model("a.onnx", "one"), mt.Model(str(tmp_path / "a.onnx"), "two")
    both = mt.Graph("g", {"one": mt.model(one, x), "two": mt.model(two, x)})
    other = mt.Graph("h", {"o": mt.model(mt.Model("./a.onnx"), x)})
    assert both(values)["one"].tolist() == both(values)["two"].tolist() == other(values)["o"].tolist()
    assert len(loads) == 1
    with pytest.raises(mt.RowErrors) as caught:
        mt.Graph("g", {"o": mt.map(_odd, mt.model(two, x))})(values)
    assert "one" not in str(caught.value)
    assert len(loads) == 1


def _odd(column):
    raise ValueError("no")


def test_a_file_that_changed_is_loaded_anew(tmp_path, loads):
    path = tmp_path / "a.onnx"
    onnxes.classifier(path, seed=1)
    x, values = mt.input("x", "float32[4]"), {"x": np.ones((1, 4), np.float32)}
    first = mt.Graph("g", {"o": mt.model(mt.Model(str(path)), x)})
    before = first(values)["o"].tolist()
    onnxes.classifier(path, seed=2)
    second = mt.Graph("g", {"o": mt.model(mt.Model(str(path)), x)})
    assert second(values)["o"].tolist() != before
    assert first(values)["o"].tolist() == before
    assert len(loads) == 2


def test_an_estimator_that_changed_is_another_model():
    values = np.random.default_rng(0).normal(size=(50, 2))
    x = mt.input("x", "float64[2]")
    estimator = LogisticRegression().fit(values, values[:, 0] > 0)
    first = mt.Graph("g", {"o": mt.model(mt.Model(estimator), x).probabilities})
    wanted = estimator.predict_proba(values)
    estimator.fit(values, values[:, 1] > 0)
    second = mt.Graph("g", {"o": mt.model(mt.Model(estimator), x).probabilities})
    assert np.array_equal(second({"x": values})["o"], estimator.predict_proba(values))
    assert np.array_equal(first({"x": values})["o"], wanted)


def test_each_graph_gets_the_outputs_that_it_needs(tmp_path):
    joblib = pytest.importorskip("joblib")
    values = np.random.default_rng(0).normal(size=(50, 2))
    estimator = LogisticRegression().fit(values, values[:, 0] > 0)
    joblib.dump(estimator, tmp_path / "a.joblib")
    x = mt.input("x", "float64[2]")

    def graph(output):
        return mt.Graph("g", {"o": getattr(mt.model(mt.Model(str(tmp_path / "a.joblib")), x), output)})

    label, scores = graph("label"), graph("probabilities")
    for _ in range(2):
        assert label({"x": values})["o"].tolist() == estimator.predict(values).tolist()
        assert np.array_equal(scores({"x": values})["o"], estimator.predict_proba(values))
    label.close()
    assert np.array_equal(scores({"x": values})["o"], estimator.predict_proba(values))
    assert label({"x": values})["o"].tolist() == estimator.predict(values).tolist()


def test_a_module_that_is_loaded_anew_has_other_models(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "changing_module.py"
    path.write_text("class M:\n    def __call__(self, x):\n        return x + 1\n")
    model = mt.Model("python:changing_module:M", outputs={"o": "float32"})
    first = _graph(model)
    assert _played(first) == [1, 2, 3]
    path.write_text("class M:\n    def __call__(self, x):\n        return x + 10\n")
    importlib.invalidate_caches()
    del sys.modules["changing_module"]
    assert _played(_graph(model)) == [10, 11, 12]
    assert _played(first) == [1, 2, 3]


def test_a_dropped_graph_lets_its_models_go_at_once():
    gc.disable()
    try:
        graph = _graph(_model())
        _played(graph)
        held = weakref.ref(graph)
        del graph
        assert held() is None
        assert Counted.open == 0
        for _ in range(40):
            graph = _graph(_model())
            _played(graph)
            del graph
            assert Counted.open == 0
    finally:
        gc.enable()


def test_a_graph_with_a_graph_inside_is_dropped_too():
    inner = _graph(_model())
    outer = mt.Graph("h", {"o": mt.model(inner, mt.input("x", "float32"))})
    _played(outer)
    held = [weakref.ref(inner), weakref.ref(outer)]
    del inner, outer
    assert [each() for each in held] == [None, None]
    assert Counted.open == 0


def test_closing_lets_calls_end():
    graph = _graph(_model(kind="Waiting"))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_played, graph)
        assert Waiting.entered.wait(60)
        graph.close()
        assert Counted.open == 1
        Waiting.go_on.set()
        assert answer.result(60) == [0, 1, 2]
    assert Counted.open == 0


def test_with_closes_also_when_it_raises():
    with suppress(mt.GraphError), _graph(_model()) as graph:
        _played(graph)
        graph({"y": [1]})
    assert Counted.open == 0
    graph.close()  # any number of times


def test_a_model_that_cannot_be_loaded_is_asked_again():
    with pytest.raises(mt.ModelError, match="failed"):
        _played(_graph(_model(options={"scael": 1.0})))
    assert _played(_graph(_model())) == [0, 1, 2]


@pytest.fixture
def _switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _at_once(count, call):
    """Calls from so many threads that begin together."""
    barrier = threading.Barrier(count)

    def run(place):
        barrier.wait()
        return call(place)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.usefixtures("_switching")
def test_first_calls_from_many_threads_load_once():
    for number in range(5):
        with _graph(_model(kind="Slow")) as graph, _graph(_model(kind="Slow")) as other:
            graphs = [graph, other]
            answers = _at_once(32, lambda place, graphs=graphs: _played(graphs[place % 2]))
            assert answers == [[0, 1, 2]] * 32
            assert Counted.made == number + 1
        assert Counted.open == 0


def _in_process(name=""):
    return mt.Model(
        "python:helpers.counted:process_of", name, inputs={"x": "float32"}, outputs={"o": "int64"}, placement="process"
    )


@pytest.mark.usefixtures("_switching")
def test_a_process_is_shared_and_begun_once():
    with _graph(_in_process()) as first, _graph(_in_process("other")) as second:
        answers = _at_once(8, lambda place: _played((first, second)[place % 2]))
        pid = answers[0][0]
        assert answers == [[pid] * 3] * 8
        os.kill(pid, signal.SIGKILL)
        after = _played(first)
        assert after[0] != pid
        assert _played(second) == after
        first.close()
        assert _played(second) == after
    with pytest.raises(ProcessLookupError):
        os.kill(after[0], 0)


def test_a_graph_that_was_called_is_called_by_what_ends_with_the_interpreter(tmp_path):
    script = tmp_path / "late.py"
    script.write_text(
        textwrap.dedent("""
        import builtins, sys
        import numpy as np, motet as mt
        from motet.testing.fakes import Affine, fake

        class Late:
            def __init__(self):
                self.graph = mt.Graph("g", {"o": mt.model(fake(Affine, "a", scale=2.0), mt.input("x", "float32"))})
                self.graph({"x": [1.0]})

            def __del__(self):
                print(sys.meta_path, self.graph({"x": [1.0, 2.0]})["o"].tolist(), file=sys.__stderr__)

        builtins.late = Late()
        """)
    )
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert told.stderr == "None [2.0, 4.0]\n"


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    "lock", [lambda host: shared._lock, lambda host: host._lock, lambda host: host.residency._lock]
)
def test_garbage_that_is_collected_where_its_thread_holds_a_lock_is_closed_behind(lock, replicas):
    """A collector runs at any line, also where a lock is held that closing needs, in this thread or in those that close copies."""
    graph = _graph(_model(replicas=replicas))
    assert _played(graph) == [0, 1, 2]
    held = lock(graph.executor.host)
    circle = [graph]
    circle.append(circle)
    del graph, circle
    with held:
        gc.collect()
        assert Counted.open == replicas
    assert Counted.open == 0


def test_garbage_is_closed_where_no_thread_can_begin_to_work():
    """Python holds this lock in `threading.enumerate`; a thread that was begun works only once it has had it."""
    graph = _graph(_model(replicas=2))
    assert _played(graph) == [0, 1, 2]
    assert Counted.open == 2
    with threading._active_limbo_lock:  # type: ignore[attr-defined]
        del graph
        assert Counted.open == 0


def test_garbage_that_cannot_be_closed_is_logged_and_harms_nobody(caplog):
    with shared._lock:
        close_garbage(lambda: 1 / 0)
        assert not caplog.records
    assert "ZeroDivisionError" in caplog.text


def test_garbage_that_is_collected_while_a_thread_gets_its_first_place_for_it_is_closed_too(monkeypatch):
    """As Python may collect it when that place is made."""
    closed, made = [], []

    def place():
        if not made:
            made.append(True)
            close_garbage(lambda: closed.append("collected then"))
        return deque()

    monkeypatch.setattr("motet.locks.deque", place)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(close_garbage, lambda: closed.append("its own")).result()
    assert closed == ["collected then", "its own"]
