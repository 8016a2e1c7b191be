"""Steps that processes of their own import by name."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np

import motet as mt
from motet.workflow.options import Resources


@mt.step
def array() -> Any:
    return {"x": np.arange(4.0)}


@mt.step
def pid() -> int:
    return os.getpid()


@mt.step(cpu=1, memory="1KiB")
def sums(x: Any) -> tuple[int, float, str]:
    context = mt.current_step()
    assert context is not None
    assert context.step == "sums"
    return os.getpid(), float(x.sum()), os.environ["OMP_NUM_THREADS"]


@mt.workflow
def resources():
    return pid(), sums(array()["x"])


@mt.step(process=True)
def own_failure() -> None:
    raise ValueError("bad luck")


@mt.step(timeout_s=0.3)
def sleeps() -> None:
    time.sleep(60)


@mt.step(process=True)
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@mt.workflow
def troubles():
    return own_failure(), sleeps(), dies()


@mt.step(memory="1TiB")
def hungry() -> None:
    pass


@mt.workflow
def hungry_flow():
    return hungry()


def needs(**settings: Any) -> Resources:
    return Resources(**settings)


class Calls(list[Any]):
    """Notes what is called. A plain list would be a global value of the steps that write to it, and count by content."""

    def __reduce__(self) -> Any:
        return Calls, ()
