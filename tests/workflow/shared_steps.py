"""Steps that set what a process has once, for processes that import them by name."""

from __future__ import annotations

import os
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import motet as mt

FACTOR = 1


@mt.step
def seeded(seed: Any, wait: Any) -> Any:
    np.random.seed(seed)
    random.seed(seed)
    wait()
    return [float(np.random.rand()), random.random(), os.getpid()]


@mt.step
def placed(folder: Any, wait: Any) -> Any:
    os.makedirs(folder)
    os.chdir(folder)
    wait()
    return os.getcwd(), os.getpid()


@mt.step
def told(value: Any, wait: Any) -> Any:
    os.environ["MOTET_TEST_TOLD"] = value
    wait()
    return os.environ["MOTET_TEST_TOLD"], os.getpid()


@mt.step
def strict(wait: Any) -> Any:
    warnings.simplefilter("error")
    np.seterr(over="raise")
    wait()
    return warnings.filters[0][0], np.geterr()["over"], os.getpid()


@mt.step
def plain(wait: Any) -> Any:
    wait()
    return os.getcwd(), os.environ.get("MOTET_TEST_TOLD"), warnings.filters[0][0], np.geterr()["over"], os.getpid()


@mt.step
def alike() -> Any:
    """Nothing that a process has once."""
    found = np.random.default_rng(3).random(), np.setdiff1d([1, 2], [2]), os.environ.get("HOME"), dict(os.environ)
    found[3]["HOME"] = "nowhere"
    return os.getpid()


@mt.step
def scaled(seed: Any) -> Any:
    np.random.seed(seed)
    return FACTOR * seed, os.getpid()


@mt.step(process=False)
def shares(value: Any) -> Any:
    os.environ["MOTET_TEST_TOLD"] = value
    return os.getpid()


@mt.step(retries=2, backoff_s=0.0)
def fails_once(folder: Any, seed: Any) -> Any:
    np.random.seed(seed)
    path = Path(folder) / str(seed)
    if not path.exists():
        path.touch()
        raise ValueError("once")
    return os.getpid()


@mt.step
def gives_function(seed: Any) -> Any:
    np.random.seed(seed)
    return lambda: seed


def short() -> None:
    time.sleep(0.02)  # so that others run meanwhile; nothing is told by how long


@mt.workflow
def side_by_side(folder: Any, wait: Any = short) -> Any:
    return (
        [seeded(seed, wait) for seed in range(4)],
        [placed(f"{folder}/{i}", wait) for i in range(3)],
        [told(str(i), wait) for i in range(3)],
        [strict(wait)],
        [plain(wait) for _ in range(4)],
        [alike(), alike()],
    )
