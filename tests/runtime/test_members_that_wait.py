"""Members that wait are called at the same time, once they were seen to; members that compute are not."""

import threading
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import waiting
from motet.runtime.side_by_side import SEEN, SLOW_S, Members


def waits():
    threading.Event().wait(4 * SLOW_S)  # as for an address that answers late
    return threading.get_ident()


def test_calls_that_wait_are_made_together():
    members = Members()
    for _ in range(SEEN + 1):
        assert set(members([waits, waits], "ab")) == {threading.get_ident()}
    barrier = threading.Barrier(2, timeout=30)
    assert sorted(members([barrier.wait, barrier.wait], "ab")) == [0, 1]


def test_calls_that_are_quick_are_made_one_after_the_other():
    members = Members()
    for _ in range(10):
        assert set(members([threading.get_ident, threading.get_ident], "ab")) == {threading.get_ident()}


def test_the_first_error_is_the_one_that_is_raised():
    members = Members()
    for _ in range(SEEN + 1):
        members([waits, waits], "ab")

    def fails():
        raise LookupError("odd")

    with pytest.raises(LookupError, match="odd"):
        members([waits, fails], "ab")


def test_members_of_an_ensemble_that_wait_are_asked_at_the_same_time():
    kinds: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    first, second = (mt.Model(f"python:helpers.waiting:{name}", name, **kinds) for name in ("first", "second"))
    graph = mt.Graph("g", {"y": mt.ensemble([first, second], mt.input("x", "float32"))})
    for _ in range(SEEN + 1):
        assert graph({"x": np.array([4], np.float32)})["y"].tolist() == [5.0]
    waiting.together = threading.Barrier(2, timeout=30)
    try:
        assert graph({"x": np.array([4], np.float32)})["y"].tolist() == [5.0]
    finally:
        waiting.together = None
