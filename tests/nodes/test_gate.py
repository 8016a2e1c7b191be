"""Calls that may disturb each other are kept apart, and none waits for itself."""

import ctypes
import os
import threading
from array import array
from collections import deque
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial

import numpy as np
import pytest

from motet.batch import objects
from motet.errors import GraphError
from motet.nodes import gate as gates
from motet.nodes.gate import Gate
from motet.nodes.owned import own_result
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
        gate(inner, (), {}, rows=1)
        raise KeyError("no")

    assert type(_error_of(lambda: gate(outer, (), {}, rows=1))) is KeyError
    assert calls == ["outer", "inner"] * 2
    assert _error_of(lambda: gate(inner, (), {}, rows=1)) is None


def _filling(inner=None):
    """A function that fills a buffer again at each call, and its gate, which has seen that it does."""
    buffer, gate = np.zeros(1), _known(Gate())

    def fill():
        buffer[0] += 1
        return buffer if inner is None else [buffer, inner()]

    return lambda: gate(fill, (), {}, rows=1)


@pytest.mark.parametrize("most", [1, 2])
def test_a_call_that_those_it_waits_for_wait_for_says_so(most, monkeypatch):
    """As of a function that calls a server in its own process: there nothing tells that it is within a call."""
    monkeypatch.setattr(gates, "MOST_WAIT_S", 0.05)
    gate = Gate(most)

    call = partial(gate, list, (), {}, rows=1)
    for _ in range(most):
        call = partial(gate, partial(_raised, call), (), {}, rows=2)
    error = _error_of(call)
    assert type(error) is GraphError
    assert "none did" in str(error)
    assert _error_of(lambda: gate(list, (), {}, rows=1)) is None


def _raised(call):
    """A call in another thread, which knows nothing of this one, as a server's does."""
    error = _error_of(partial(Context().run, call))
    if error is not None:
        raise error


def test_a_thread_that_outlives_the_call_that_began_it_is_within_none(monkeypatch):
    monkeypatch.setattr(gates, "MOST_WAIT_S", 0.05)
    gate = Gate(1)
    begun = gate(copy_context, (), {}, rows=1)
    call = partial(begun.run, gate, list, (), {}, rows=1)
    assert type(_error_of(partial(gate, partial(_raised, call), (), {}, rows=2))) is GraphError
    assert _error_of(call) is None


def test_so_does_one_of_functions_that_fill_buffers_again(monkeypatch):
    monkeypatch.setattr(gates, "MOST_WAIT_S", 0.05)
    inner = _filling()
    outer = _filling(lambda: _raised(inner))
    assert type(_error_of(outer)) is GraphError
    assert _error_of(inner) is None


def _known(gate):
    """A gate that has seen a buffer that is filled again."""
    buffer = np.zeros(1)
    gate(lambda: buffer, (), {}, rows=1)
    return gate


def test_a_function_may_call_one_that_fills_a_buffer_through_threads_of_its_own(monkeypatch):
    """They do not say within which call they are: it is taken for one that fills nothing, and told where it does."""
    monkeypatch.setattr(gates, "UNKNOWN_WAIT_S", 0.05)
    buffer, filling = np.zeros(1), _known(Gate())

    def fill(value):
        buffer[:] = value
        return buffer

    def outer(gives):
        _raised(lambda: np.testing.assert_array_equal(filling(fill, (7,), {}, rows=1), [7]))
        return buffer if gives else 5

    assert Gate()(outer, (False,), {}, rows=1) == 5
    gate = Gate()
    with pytest.raises(GraphError, match="did not end before it began"):
        gate(outer, (True,), {}, rows=1)
    assert gate.refills


def test_a_forked_process_waits_for_no_thread_that_it_has_not():
    gate, clean, entered, leave = _known(Gate()), Gate(1), threading.Event(), threading.Event()
    clean(int, (), {}, rows=1)

    def stays():
        entered.set()
        assert leave.wait(WAIT_S)

    other = threading.Thread(target=gate, args=(stays, (), {}), kwargs={"rows": 1})
    other.start()
    assert entered.wait(WAIT_S)

    def forks():
        """Within a call of which there is a copy in the forked process, too."""
        made = os.fork()
        return made or _known(Gate())(lambda: 42, (), {}, rows=1)

    child = clean(forks, (), {}, rows=2)
    if child == 42:
        os._exit(Gate(1)(lambda: 43, (), {}, rows=1))
    leave.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 43


@pytest.mark.parametrize("made", [np.zeros, lambda n: array("d", n * [0]), lambda n: (ctypes.c_double * n)()])
@pytest.mark.parametrize(
    "give",
    [
        lambda buffer: buffer,
        lambda buffer: [buffer],
        lambda buffer: (buffer, np.zeros(1)),
        lambda buffer: deque([buffer]),
        lambda buffer: objects([buffer, None]),
        lambda buffer: {"a": objects([buffer])},
        lambda buffer: (objects(["x"]), objects([[buffer]])),
    ],
)
def test_a_buffer_is_copied_before_another_call_may_fill_it(made, give):
    buffer = made(1)
    held = [give(buffer)]
    assert own_result(held, (), 2)
    before = repr(held)
    buffer[0] += 1
    assert repr(held) == before
    assert "c_double" not in before


def test_objects_of_their_own_keep_no_calls_apart():
    for make in (lambda: objects(["a", None]), lambda: {"a": objects([np.zeros(1), np.zeros(2)])}):
        assert not own_result([make()], (), 2)
