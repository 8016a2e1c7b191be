"""Steps that set what a process has once, for processes that import them by name."""

from __future__ import annotations

import os
import random
import time
import warnings
from pathlib import Path

import numpy as np

import motet as mt

FACTOR = 1


@mt.step
def seeded(seed, wait):
    np.random.seed(seed)
    random.seed(seed)
    wait()
    return [float(np.random.rand()), random.random(), os.getpid()]


@mt.step
def placed(folder, wait):
    os.makedirs(folder)
    os.chdir(folder)
    wait()
    return os.getcwd(), os.getpid()


@mt.step
def told(value, wait):
    os.environ["MOTET_TEST_TOLD"] = value
    wait()
    return os.environ["MOTET_TEST_TOLD"], os.getpid()


@mt.step
def strict(wait):
    warnings.simplefilter("error")
    np.seterr(over="raise")
    wait()
    return warnings.filters[0][0], np.geterr()["over"], os.getpid()


@mt.step
def plain(wait):
    wait()
    return os.getcwd(), os.environ.get("MOTET_TEST_TOLD"), warnings.filters[0][0], np.geterr()["over"], os.getpid()


@mt.step
def alike():
    """Nothing that a process has once."""
    found = np.random.default_rng(3).random(), np.setdiff1d([1, 2], [2]), os.environ.get("HOME"), dict(os.environ)
    found[3]["HOME"] = "nowhere"
    return os.getpid()


@mt.step
def scaled(seed):
    np.random.seed(seed)
    return FACTOR * seed, os.getpid()


@mt.step(process=False)
def shares(value):
    os.environ["MOTET_TEST_TOLD"] = value
    return os.getpid()


@mt.step(retries=2, backoff_s=0.0)
def fails_once(folder, seed):
    np.random.seed(seed)
    path = Path(folder) / str(seed)
    if not path.exists():
        path.touch()
        raise ValueError("once")
    return os.getpid()


@mt.step
def gives_function(seed):
    np.random.seed(seed)
    return lambda: seed


def short():
    time.sleep(0.02)  # so that others run meanwhile; nothing is told by how long


@mt.workflow
def side_by_side(folder, wait=short):
    return (
        [seeded(seed, wait) for seed in range(4)],
        [placed(f"{folder}/{i}", wait) for i in range(3)],
        [told(str(i), wait) for i in range(3)],
        [strict(wait)],
        [plain(wait) for _ in range(4)],
        [alike(), alike()],
    )
