"""Graphs that need no files."""

import threading
from collections import defaultdict
from contextlib import contextmanager

import numpy as np

import motet as mt
from motet.batch import objects
from motet.testing.fakes import Scores, fake
from motet.types import returns

GATES = defaultdict(threading.Event)
"""A `Gated` model answers when its own is set; see `shut`."""


class Gated:
    """Doubles, when its gate is open."""

    def __init__(self, gate):
        self.gate = GATES[gate]
        self.gate.set()

    def __call__(self, x):
        self.gate.wait(20)
        return x * 2


@contextmanager
def shut(gate):
    """Let a `Gated` model wait."""
    GATES[gate].clear()
    try:
        yield GATES[gate]
    finally:
        GATES[gate].set()


class Doubled:
    """Doubles."""

    def __call__(self, x):
        return x * 2


class Tens:
    """Raises on rows that hold 13."""

    def __call__(self, x):
        if (x == 13).any():
            raise ValueError("13 brings bad luck")
        return x * 10


def model(kind, name, type_="float32", placement="thread", **options):
    return mt.Model(
        f"python:serving.rest.app_graphs:{kind}",
        name,
        inputs={"x": type_},
        outputs={"y": type_},
        options=options,
        placement=placement,
    )


def scores(name):
    made = fake(Scores, "scores", "float32[4]", "float32[3]")
    return mt.Graph(name, outputs={"scores": mt.model(made, mt.input("x", "float32[4]"))})


def tens(name="tens"):
    return mt.Graph(name, outputs={"y": mt.model(model("Tens", "ten", placement="inline"), mt.input("x", "float32"))})


def gated(name="gated"):
    return mt.Graph(name, outputs={"y": mt.model(model("Gated", name, gate=name), mt.input("x", "float32"))})


def two_speeds(name="two_speeds"):
    """A quick member and one that waits for its gate, side by side."""
    members = [model("Doubled", "quick"), model("Gated", "slow", gate=name)]
    both = mt.ensemble(members, mt.input("x", "float32"), combine="stack")
    return mt.Graph(name, outputs={"both": both})


@returns("string")
def said(*columns):
    """What came, as text."""
    return objects(["|".join(_text(column[row]) for column in columns) for row in range(len(columns[0]))])


def _text(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return repr(value)


def echo(name, **types):
    """Says what it was given."""
    inputs = [mt.input(each, kind) for each, kind in types.items()]
    return mt.Graph(name, outputs={"said": mt.map(said, *inputs)})
