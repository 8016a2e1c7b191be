"""Functions and models that the graphs of these tests name."""

import threading

import numpy as np

from motet.types import returns

gates = {}
"""Events by name: a `Gated` model answers when its own is set."""
entered = {}
"""Semaphores by name: released when a `Gated` model was called."""
played = {}
"""The values that a `Gated` model was given."""


@returns(lambda x: x)
def same(x):
    return x


@returns("float32[1000]")
def wide(x):
    return np.repeat(x[:, None], 1000, axis=1)


class Gated:
    """Gives what it takes, when it may; it takes nothing below zero."""

    def __init__(self, gate):
        self.gate, self.entered = (
            gates.setdefault(gate, threading.Event()),
            entered.setdefault(gate, threading.Semaphore(0)),
        )
        self.gate.set()
        self.played = played.setdefault(gate, [])

    def __call__(self, x):
        self.played.append(x.tolist())
        self.entered.release()
        assert self.gate.wait(20)
        if (x < 0).any():
            raise ValueError("below zero")
        return x
