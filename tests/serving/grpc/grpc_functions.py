"""Functions and models that the graphs of these tests name."""

import contextlib
import threading

import numpy as np

from motet.types import returns

gates = {}
"""Events by name: a `Gated` model answers when its own is set."""
played = {}
"""The values that it was given, by the name of its gate."""


@returns(lambda x: x)
def same(x):
    return x


@returns("float32[?]")
def counted(x):
    return [np.arange(int(value), dtype=np.float32) for value in x]


@returns("float16")
def half(x):
    return x.astype(np.float16)


def anything(x):
    return np.array([{"not": "a tensor"}] * len(x), dtype=object)


class Gated:
    """Gives what it takes, when it may."""

    def __init__(self, gate):
        self.gate, self.entered = (gates.setdefault(name, threading.Event()) for name in (gate, f"{gate} entered"))
        self.gate.set()
        self.played = played.setdefault(gate, [])

    def __call__(self, x):
        self.played.extend(x.tolist())
        self.entered.set()
        assert self.gate.wait(20)
        return x


@contextlib.contextmanager
def shut(gate):
    """While it lasts, the model does not answer; what was played before is forgotten."""
    gates[gate].clear()
    gates[f"{gate} entered"].clear()
    played[gate].clear()
    try:
        yield gates[f"{gate} entered"]
    finally:
        gates[gate].set()
