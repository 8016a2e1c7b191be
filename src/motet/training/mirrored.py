"""Workers that train a Keras model with TensorFlow: one strategy, whose variables are the same in all of them.

Keras is not imported for it: what a model or an optimizer of Keras holds is its `variables`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from motet.errors import InputError
from motet.system.extras import imported
from motet.system.signals import kept_signals

__all__ = ["arrays_of", "fill_arrays", "is_of_keras", "multi_worker_strategy"]

_CONFIG = "TF_CONFIG"


def is_of_keras(thing: Any) -> bool:
    """Whether it is a model or an optimizer of Keras."""
    keras = any(kind.__module__.partition(".")[0] == "keras" for kind in type(thing).__mro__)
    return keras and hasattr(thing, "variables")


def arrays_of(thing: Any) -> list[Any]:
    """What a model or an optimizer of Keras holds, one array a variable."""
    keras = sys.modules["keras"]  # whose thing it is
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in thing.variables]


def fill_arrays(thing: Any, arrays: Sequence[Any]) -> None:
    """Put back what `arrays_of` gave.

    Raises:
        InputError: when it has other variables.
    """
    if len(arrays) != len(thing.variables):
        what = f"the checkpoint has {len(arrays)} variables of it, and it has {len(thing.variables)}"
        raise InputError(
            what, hint="build an optimizer before the training: optimizer.build(model.trainable_variables)"
        )
    for variable, array in zip(thing.variables, arrays, strict=True):
        variable.assign(array)


def multi_worker_strategy(rank: int, num_workers: int, together: Callable[[list[float]], list[float]]) -> Any:
    """TensorFlow's strategy for these workers; of one worker the default one.

    Args:
        rank: this worker's number.
        num_workers: how many there are; all of them ask.
        together: adds up the numbers of all workers.

    Raises:
        InputError: when Keras was imported with another backend, or `KERAS_BACKEND` says that it will be.
        MissingExtraError: when TensorFlow is not installed.
    """
    keras = getattr(sys.modules.get("keras"), "backend", None)
    backend = os.environ.get("KERAS_BACKEND") if keras is None else keras.backend()
    if backend and backend != "tensorflow":
        what = f"Keras computes with {backend} here, and a strategy is of TensorFlow"
        raise InputError(what, hint="set KERAS_BACKEND=tensorflow before Keras is imported")
    tensorflow = imported("tensorflow", "tensorflow", "tensorflow", "training")
    if num_workers == 1:
        return tensorflow.distribute.get_strategy()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        ports = together([float(port if each == rank else 0) for each in range(num_workers)])
    addresses = [f"127.0.0.1:{int(each)}" for each in ports]
    cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    try:
        # TensorFlow takes SIGTERM for the notice of a preemption, and would go on waiting for a worker that died
        with _environment(json.dumps(cluster)), kept_signals(signal.SIGTERM):
            return tensorflow.distribute.MultiWorkerMirroredStrategy()
    except tensorflow.errors.UnknownError as error:
        what = f"TensorFlow cannot listen at port {port}, which another process may have got meanwhile"
        raise ConnectionError(f"{what}: {error.message}") from error  # which is worth another try


@contextmanager
def _environment(config: str) -> Iterator[None]:
    before = os.environ.get(_CONFIG)
    os.environ[_CONFIG] = config
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CONFIG, None)
        else:
            os.environ[_CONFIG] = before
