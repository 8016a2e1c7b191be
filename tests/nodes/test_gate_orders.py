"""Calls of functions that fill one buffer, in every order in which threads may run: each answer holds its own values.

Threads run one at a time, from one point of a call to the next, and which is next is drawn; one that waits in a gate is not.
"""

import random
import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.nodes import gate as gates
from motet.nodes.gate import Gate

WAIT_S = 60.0


class Turns:
    """Lets one thread run at a time, up to its next point."""

    def __init__(self):
        self.changed, self.states, self.errors = threading.Condition(), {}, []

    def tell(self, state, threads=None):
        with self.changed:
            self.states.update(dict.fromkeys([threading.current_thread()] if threads is None else threads, state))
            self.changed.notify_all()

    def point(self):
        """Where another thread may go on before this one."""
        self.tell("stands")
        with self.changed:
            me = threading.current_thread()
            assert self.changed.wait_for(lambda: self.states[me] == "runs", WAIT_S)

    def _work(self, work):
        try:
            self.point()
            work()
        except BaseException as error:  # noqa: BLE001 (raised by `play`)
            self.errors.append(error)
        finally:
            self.tell("ended")

    def play(self, works, draws):
        threads = [threading.Thread(target=self._work, args=(work,), daemon=True) for work in works]
        self.states = dict.fromkeys(threads, "runs")
        for each in threads:
            each.start()
        with self.changed:
            while {*self.states.values()} != {"ended"}:
                assert self.changed.wait_for(lambda: "runs" not in self.states.values(), WAIT_S)
                standing = [each for each in threads if self.states[each] == "stands"]
                assert standing or {*self.states.values()} == {"ended"}, f"they wait for each other: {self.states}"
                if standing:
                    self.states[draws.choice(standing)] = "runs"
                    self.changed.notify_all()
        for each in self.errors:
            raise each


class Seen(threading.Condition):
    """A condition that tells who waits for it."""

    def __init__(self, turns):
        super().__init__(gates._lock)
        self.turns, self.those = turns, set()

    def wait(self, timeout=None):
        me = threading.current_thread()
        self.those.add(me)
        self.turns.tell("waits")
        try:
            return super().wait(timeout)
        finally:
            self.those.discard(me)

    def notify_all(self):
        self.turns.tell("runs", [*self.those])
        self.those.clear()
        super().notify_all()


class Late:
    """Memory that others may fill before it is read."""

    def __init__(self, turns, array):
        self.turns, self.array = turns, array

    def __array__(self, dtype=None, copy=None):
        self.turns.point()
        return self.array


class Calls:
    """Functions that fill one buffer, called through gates."""

    def __init__(self, most, inner):
        self.turns, self.buffer, self.inner = Turns(), np.zeros(1), inner
        self.gates = {name: Gate(most if name == "a" else None) for name in "abcde"}
        for each in self.gates.values():
            each._changed = Seen(self.turns)

    def function(self, value, kind):
        """What fills the buffer, and gives it or a copy; `outer` kinds call another one in between."""
        self.turns.point()
        if kind.startswith("outer"):
            assert self.call(self.inner, value + 1000, "fills") == value + 1000
        self.turns.point()
        if kind.endswith("fresh"):
            return np.full(1, value)
        self.buffer[:] = value
        self.turns.point()
        return Late(self.turns, self.buffer)

    def call(self, name, value, kind):
        return self.gates[name](partial(self.function, float(value)), (kind,), {}, rows=2)[0]

    def work(self, place, calls):
        for number, (name, kind) in enumerate(calls):
            value = place * 10 + number + 1
            assert self.call(name, value, kind) == value


def _lists(*calls):
    return st.lists(st.lists(st.sampled_from(calls), min_size=1, max_size=3), min_size=2, max_size=4)


def _play(threads, draws, most, inner):
    calls = Calls(most, inner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "_ended", Seen(calls.turns))
        calls.turns.play([partial(calls.work, place, each) for place, each in enumerate(threads)], draws)
    assert not gates._calls
    assert not any(each._running or each._waiting or each._alone for each in calls.gates.values())


draws = st.integers(0, 2**32).map(random.Random)
mosts = st.sampled_from([1, 2, None])
several = _lists(
    ("a", "fills"), ("b", "fills"), ("b", "fills"), ("c", "outer fills"), ("d", "outer fresh"), ("e", "fresh")
)


@settings(max_examples=200, deadline=None)
@given(several, draws, mosts)
def test_no_answer_holds_what_another_function_filled(threads, draws, most):
    """Whichever gives the buffer first, and whichever is in the middle of a call then, also within another one."""
    _play(threads, draws, most, "b")


@settings(max_examples=200, deadline=None)
@given(_lists(("a", "fills"), ("a", "fresh"), ("a", "outer fills"), ("a", "outer fresh")), draws, mosts)
def test_nor_what_the_same_one_filled_which_may_give_an_array_of_its_own_at_first(threads, draws, most):
    _play(threads, draws, most, "a")
