"""Steps that processes of their own import by name."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

import motet as mt
from motet.workflow.options import StepResources


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


@mt.step
def kind(value: Any) -> str:
    return type(value).__name__


@mt.step(process=True)
def kind_apart(value: Any) -> str:
    return type(value).__name__


@mt.workflow
def resources() -> Any:
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
def troubles() -> Any:
    return own_failure(), sleeps(), dies()


def _end(how: str) -> None:
    """End this process in one way or another."""
    if how == "exit":
        os._exit(0)
    if how == "sys.exit":
        sys.exit(3)
    if how == "crash":
        signal.raise_signal(signal.SIGSEGV)
    os.kill(os.getpid(), signal.SIGKILL)


@mt.step(process=True, retries=1, backoff_s=0.001)
def ends_once(how: str) -> str:
    context = mt.current_step()
    assert context is not None
    if context.attempt == 0:
        _end(how)
    return how


@mt.step(retries=1, backoff_s=0.001)
def leaves_once() -> str:
    context = mt.current_step()
    assert context is not None
    if context.attempt == 0:
        sys.exit(3)
    return "left"


@mt.workflow
def deaths(hows: list[str]) -> Any:
    return [ends_once(how) for how in hows], leaves_once()


@mt.step(process=True)
def leaves_apart(value: Any) -> None:
    raise BaseException(value) if value else SystemExit(0)


@mt.workflow
def leavings() -> Any:
    return [leaves_apart(each) for each in (0, "gone")]


class Scaled:
    """A model that pickle cannot write: one of its parts is a lambda."""

    def __init__(self) -> None:
        self.scale = lambda x: 2 * x
        self.seen: list[float] = []

    def predict(self, x: float) -> float:
        self.seen.append(x)
        return self.scale(x)


@mt.step(process=True)
def trained() -> Scaled:
    return Scaled()


@mt.step
def trained_here() -> Scaled:
    return Scaled()


@mt.step
def predicted(model: Scaled, x: float) -> tuple[float, list[float], bool]:
    return model.predict(x), model.seen, isinstance(model, Scaled)


@mt.step(process=True)
def predicted_apart(model: Scaled, x: float) -> tuple[float, list[float], bool]:
    return model.predict(x), model.seen, isinstance(model, Scaled)


@mt.workflow
def unwritten() -> Any:
    made = trained()
    return [
        predicted(made, 1.0),
        predicted(made, 2.0),
        predicted_apart(made, 3.0),
        predicted_apart(trained_here(), 4.0),
    ]


@mt.step(process=True, retries=3)
def locked() -> Any:
    return threading.Lock()


@mt.workflow
def unsent() -> Any:
    return locked()


@mt.step(process=True)
def doubled(values: Any) -> Any:
    sys.stdout.write("said")
    return {"twice": 2 * values, "mean": float(values.mean())}


@mt.step(cache=True)
def counted(n: int) -> Any:
    return np.arange(float(n))


@mt.step
def changed(values: Any, by: float) -> list[float]:
    found = np.array(values)
    found += by
    return found.tolist()


@mt.workflow
def full_disk(n: int) -> Any:
    values = counted(n)
    twice = doubled(values)
    return [changed(twice["twice"], 1.0), changed(twice["twice"], 2.0), twice["mean"]]


@mt.step(memory="1TiB")
def hungry() -> None:
    pass


@mt.workflow
def hungry_flow() -> Any:
    return hungry()


def needs(**settings: Any) -> StepResources:
    return StepResources(**settings)


class Calls(list[Any]):
    """Notes what is called. A plain list would be a global value of the steps that write to it, and count by content."""

    def __reduce__(self) -> Any:
        return Calls, ()


@mt.step(process=True)
def fail_apart(name: str) -> None:
    sys.stdout.write(f"{name}\n")
    raise ValueError(f"bad {name}")


@mt.step
def holds_itself() -> Any:
    made: list[Any] = []
    made.append(made)
    return made


@mt.step
def deep() -> Any:
    made: list[Any] = []
    for _ in range(899):
        made = [made]
    return made


@mt.step
def depth(value: Any) -> int:
    """How deep a list goes; one that holds itself goes as deep as it is long."""
    found, seen = 1, {id(value)}
    while value and id(value[0]) not in seen:
        value, found = value[0], found + 1
        seen.add(id(value))
    return found


@mt.workflow
def odd_lists() -> Any:
    return depth(holds_itself()), depth(deep())
