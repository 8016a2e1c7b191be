"""Calls that may disturb each other are kept apart, and none waits for itself."""

from concurrent.futures import Future

import pytest

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
