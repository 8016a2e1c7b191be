"""Workers of TensorFlow against gradient descent written out: the same weights, through a death and a restart."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import keras_jobs
from helpers.keras_jobs import BATCH, EPOCHS, RATE
from motet.errors import InputError
from motet.training.gradients import Gradients
from motet.training.state import kept, refuse_unkept, restore
from motet.training.worker import Worker

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*")
needs_tensorflow = pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow")


def by_hand(dataset: Any) -> tuple[Any, Any, list[float]]:
    """Weights, biases and losses of one worker with whole batches."""
    weights, biases, losses = np.zeros((4, 3)), np.zeros(3), []
    for epoch in range(EPOCHS):
        for columns in dataset.batches(BATCH, epoch=epoch):
            x, y = columns["x"].astype(float), np.eye(3)[columns["y"]]
            scores = x @ weights + biases
            shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            losses.append(-float(np.log((shares * y).sum(axis=1)).mean()))
            off = (shares - y) / BATCH
            weights, biases = weights - RATE * x.T @ off, biases - RATE * off.sum(axis=0)
    return weights, biases, losses


@needs_tensorflow
def test_two_workers_of_which_one_dies_learn_what_one_would() -> None:
    dataset = mt.data.arrays(**keras_jobs.rows()).shuffle(4)
    found = mt.train.distributed(keras_jobs.train, dataset, 3, workers=2, threads=1)
    first, num_steps = found["steps"][0], EPOCHS * keras_jobs.ROWS // BATCH
    assert first in (3, 4), "the checkpoint before the death is after step 2, or worker 0 wrote one more"
    assert found["steps"] == list(range(first, num_steps))
    weights, biases, losses = by_hand(dataset)
    np.testing.assert_allclose(found["weights"][0], weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["weights"][1], biases, rtol=1e-4, atol=1e-5)
    assert (found["replicas"], found["attempt"], found["config"]) == (2, 1, None)
    np.testing.assert_allclose(found["losses"], losses[first:], rtol=1e-4)


def test_what_keras_holds_is_kept_and_put_back() -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")

    def made(seed: int) -> dict[str, Any]:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
        optimizer = keras.optimizers.Adam(0.1)
        optimizer.build(model.trainable_variables)
        return {"model": model, "optimizer": optimizer}

    one, other = made(1), made(2)
    one["optimizer"].variables[0].assign(7)
    found = kept(one)
    refuse_unkept(one)
    restore(other, found)
    for left, right in zip(one["model"].get_weights(), other["model"].get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert int(keras.ops.convert_to_numpy(other["optimizer"].variables[0])) == 7
    with pytest.raises(InputError, match=r"the checkpoint has \d+ variables of it, and it has \d+") as told:
        restore({"optimizer": other["optimizer"]}, {"optimizer": found["model"]})
    assert "build an optimizer before the training" in told.value.hint


@pytest.mark.parametrize("named", [False, True], ids=["imported", "named by the environment"])
def test_a_strategy_is_refused_where_keras_computes_otherwise(named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Keras:
        class backend:
            @staticmethod
            def backend() -> str:
                return "jax"

    monkeypatch.setenv("KERAS_BACKEND", "jax" if named else "tensorflow")
    if named:
        monkeypatch.delitem(sys.modules, "keras", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "keras", Keras)
    with pytest.raises(InputError, match="Keras computes with jax here, and a strategy is of TensorFlow") as told:
        Worker().strategy()
    assert told.value.hint == "set KERAS_BACKEND=tensorflow before Keras is imported"


def test_a_model_of_keras_on_torch_is_averaged_as_any_module(monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras computes otherwise in this process")
    added: list[Any] = []
    monkeypatch.setattr(Gradients, "add", lambda self, module: added.append(module))
    monkeypatch.setattr(Worker, "_differs", lambda self, digest: False)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    assert Worker(num_workers=2).wrap(model) is model
    assert added == [model]
