"""Calls that may disturb each other are kept apart, and none waits for itself."""

from concurrent.futures import Future
from contextvars import Context
from functools import partial

import numpy as np
import pytest

from motet.errors import GraphError
from motet.nodes import gate as gates
from motet.nodes.gate import Gate
from motet.threads import beside, do

WAIT_S = 60.0


def _error_of(call):
    """What a call raises, made in another thread, so that one that never ends fails here."""
    made = Future()
    beside(lambda: do(made, call), "test")
    return made.exception(WAIT_S)


@pytest.mark.parametrize("most", [1, 2, None])
def test_a_row_that_is_tried_again_alone_may_call_what_it_is_part_of(most):
    gate, calls = Gate(most), []

    def inner():
        calls.append("inner")

    def outer():
        calls.append("outer")
        gate(inner, (), {}, lone=True)
        raise KeyError("no")

    assert type(_error_of(lambda: gate(outer, (), {}, lone=True))) is KeyError
    assert calls == ["outer", "inner"] * 2
    assert _error_of(lambda: gate(inner, (), {}, lone=True)) is None


def _filling(inner=None):
    """A function that fills a buffer again at each call, and its gate, which has seen that it does."""
    buffer, gate = np.zeros(1), Gate()

    def fill():
        buffer[0] += 1
        return buffer if inner is None else [buffer, inner()]

    gate(lambda: buffer, (), {}, lone=True)
    return lambda: gate(fill, (), {}, lone=True)


@pytest.mark.parametrize("most", [1, 2])
def test_a_call_that_those_it_waits_for_wait_for_says_so(most, monkeypatch):
    """As of a function that calls a server in its own process: there nothing tells that it is within a call."""
    monkeypatch.setattr(gates, "MOST_WAIT_S", 0.05)
    gate = Gate(most)

    call = partial(gate, list, (), {}, lone=True)
    for _ in range(most):
        call = partial(gate, partial(_raised, call), (), {}, lone=False)
    error = _error_of(call)
    assert type(error) is GraphError
    assert "none did" in str(error)
    assert _error_of(lambda: gate(list, (), {}, lone=True)) is None


def _raised(call):
    """A call in another thread, which knows nothing of this one, as a server's does."""
    error = _error_of(partial(Context().run, call))
    if error is not None:
        raise error


def test_so_does_one_of_functions_that_fill_buffers_again(monkeypatch):
    monkeypatch.setattr(gates, "MOST_WAIT_S", 0.05)
    inner = _filling()
    outer = _filling(lambda: _raised(inner))
    assert type(_error_of(outer)) is GraphError
    assert _error_of(inner) is None
