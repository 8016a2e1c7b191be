"""What a program has set stays as it was: after a model is loaded, while and after it is called, and when it is closed."""

import contextlib
import locale
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import pytest

import motet as mt
from helpers import onnxes

with contextlib.suppress(ImportError):
    import torch  # before scikit-learn's models look for the libraries that use threads

x = mt.input("x", "float32[4]")
ROWS = np.ones((3000, 4), "f4")


def torch_model(folder):
    pytest.importorskip("torch")
    path = folder / "m.pt"
    torch.jit.script(torch.nn.Linear(4, 1)).save(str(path))
    return mt.Model(str(path), "m", inputs={"x": "float32[4]"}, outputs={"y": "float32[1]"})


def sklearn_model(folder):
    joblib = pytest.importorskip("joblib")
    from sklearn.linear_model import LinearRegression

    joblib.dump(LinearRegression().fit(ROWS[:9], ROWS[:9, 0]), folder / "m.joblib")
    return mt.Model(str(folder / "m.joblib"), "m")


def forest_model(folder):
    """Tasks, and estimators inside that were fitted with names."""
    joblib, pandas = pytest.importorskip("joblib"), pytest.importorskip("pandas")
    from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier

    rows = np.random.default_rng(0).normal(size=(60, 4))
    frame = pandas.DataFrame(rows, columns=list("abcd"))
    members = [("f", RandomForestClassifier(5)), ("b", BaggingClassifier(n_estimators=3))]
    joblib.dump(VotingClassifier(members, voting="soft").fit(frame, rows[:, 0] > 0), folder / "f.joblib")
    return mt.Model(str(folder / "f.joblib"), "m", inputs={"x": "float32[4]"}, outputs={"probabilities": "float64[2]"})


def test_the_programs_own_calls_of_sklearn_warn_as_ever(tmp_path):
    graph = mt.Graph("g", {"y": mt.model(forest_model(tmp_path), x)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph({"x": ROWS})
    import joblib

    estimator = joblib.load(tmp_path / "f.joblib")
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        estimator.predict_proba(ROWS[:3].astype("f8"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="X does not have valid feature names"):
            estimator.predict_proba(ROWS[:3].astype("f8"))


def test_models_that_load_at_the_same_time_leave_the_filters(tmp_path):
    import joblib
    from sklearn.linear_model import LinearRegression

    for place in range(12):
        joblib.dump(LinearRegression().fit(ROWS[:9] * place, ROWS[:9, 0]), tmp_path / f"{place}.joblib")
    before = list(warnings.filters)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def load(place):
            with mt.Graph("g", {"y": mt.model(mt.Model(str(tmp_path / f"{place}.joblib"), "m"), x)}) as graph:
                graph.executor.load()

        loading = [threading.Thread(target=load, args=(place,)) for place in range(12)]
        for each in loading:
            each.start()
        for each in loading:
            each.join()
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before


def onnx_model(folder):
    return mt.Model(str(onnxes.classifier(folder / "m.onnx")), "m")


def settings():
    found = {
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "errors of numpy": np.geterr(),
        "print options": np.get_printoptions(),
        "locale": locale.setlocale(locale.LC_ALL),
        "random": random.getstate(),
        "random of numpy": str(np.random.get_state()),
        "folder": os.getcwd(),
        "filters of warnings": list(warnings.filters),
    }
    if "torch" not in globals():
        return found
    found |= {
        "threads": torch.get_num_threads(), "grad": torch.is_grad_enabled(), "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(), "random of torch": torch.random.get_rng_state().tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }  # fmt: skip
    return found


@pytest.mark.parametrize("model", [torch_model, sklearn_model, forest_model, onnx_model])
@pytest.mark.parametrize("placement", [None, "thread"])
def test_what_the_program_has_set_stays(model, placement, tmp_path):
    made = model(tmp_path)
    before = settings()
    with mt.Graph("g", {"y": mt.model(made, x)}) as graph:
        assert settings() == before
        for rows in (ROWS[:3], ROWS):
            graph({"x": rows})
            assert settings() == before
        graph.run({"x": ROWS}, batch_rows=100, workers=2)
        assert settings() == before
    assert settings() == before


def threads_of_a_new_thread():
    found = []
    asking = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    asking.start()
    asking.join()
    return found[0]


@pytest.mark.parametrize("own", [1, 3])
def test_torch_has_the_programs_threads_between_calls_and_the_models_within(own, tmp_path):
    pytest.importorskip("torch")
    before = torch.get_num_threads()
    seen = []

    class Tells(torch.nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x[:, :1]

    torch.manual_seed(0)
    model = torch_model(tmp_path)
    torch.set_num_threads(own)
    try:
        with mt.Graph("g", {"y": mt.model(model, x)}) as graph:
            for rows in (ROWS[:3], ROWS):
                graph({"x": rows})
                assert torch.get_num_threads() == own
                assert threads_of_a_new_thread() == own
            loaded = graph.executor.models()[0].replicas.direct._model  # type: ignore[attr-defined]
            loaded._function = Tells()
            graph({"x": ROWS})
            assert set(seen) == {1}
            asking = [threading.Thread(target=graph, args=({"x": ROWS},)) for _ in range(4)]
            for each in asking:
                each.start()
            for each in asking:
                each.join()
            assert set(seen) == {1}
            assert torch.get_num_threads() == own
            assert threads_of_a_new_thread() == own
    finally:
        torch.set_num_threads(before)
