"""Models that answer when a test says so, for tests of what serves."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import motet as mt


class Gate:
    """Attributes: open, set while the model may answer; entered, released for each call; played, what each call was given."""

    def __init__(self) -> None:
        self.open, self.entered, self.played = threading.Event(), threading.Semaphore(0), []
        self.open.set()


gates = {}


class Gated:
    """Gives what it takes, plus a number, when it may; raises where a row is a bad one, or there are too many."""

    loaded = 0

    def __init__(self, gate: Any, add: float = 0.0, bad: Any = (), most: Any = 1_000_000) -> None:
        self.gate, self.add, self.bad, self.most = gates.setdefault(gate, Gate()), add, bad, most
        type(self).loaded += 1

    def __call__(self, x: Any) -> Any:
        self.gate.played.append(x.tolist())
        self.gate.entered.release()
        assert self.gate.open.wait(20)
        if len(x) > self.most:
            raise SystemError("too many rows")
        for value in self.bad:
            if (x == value).any():
                raise ValueError(f"cannot take {value}")
        return x + x.dtype.type(self.add)

    def close(self) -> None:
        type(self).loaded -= 1


def gated(gate: Any, name: str = "gate", placement: str = "thread", batch: Any = None, **settings: Any) -> mt.Model:
    """A model that is a `Gated`."""
    return mt.Model(
        "python:helpers.gates:Gated",
        name,
        inputs={"x": "float32"},
        outputs={"y": "float32"},
        options={"gate": gate, **settings},
        placement=placement,
        **({} if batch is None else {"batch": batch}),
    )


@contextlib.contextmanager
def shut(name: Any) -> Iterator[Any]:
    """While it lasts, a gate is shut; what was played before is forgotten. Gives the gate."""
    gate = gates.setdefault(name, Gate())
    gate.open.clear()
    while gate.entered.acquire(blocking=False):
        pass
    gate.played.clear()
    try:
        yield gate
    finally:
        gate.open.set()
