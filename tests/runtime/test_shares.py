"""Threads that are shared out: nobody waits for another's calls who has none under way."""

import threading
from concurrent.futures import wait

import pytest

from motet.runtime.shares import ThreadShares


@pytest.fixture
def shares():
    made = ThreadShares(2, "shared")
    yield made
    made.shutdown()


class Gate:
    """Calls that go on until they are let go, and in what order they began."""

    def __init__(self):
        self.begun, self.open, self.came = [], threading.Event(), threading.Semaphore(0)

    def __call__(self, name):
        self.begun.append(name)
        self.came.release()
        assert self.open.wait(20)
        return name

    def until(self, count):
        for _ in range(count):
            assert self.came.acquire(timeout=20)


def test_one_alone_has_all_of_them_and_each_other_has_one_at_once(shares):
    slow, others, gate = shares.share(), [shares.share() for _ in range(20)], Gate()
    calls = [slow.submit(gate, "slow") for _ in range(5)]
    gate.until(2)
    assert not slow.free
    assert all(each.free for each in others)
    calls += [each.submit(gate, place) for place, each in enumerate(others)]
    gate.until(20)
    assert gate.begun == ["slow", "slow", *range(20)]
    assert not any(each.free for each in others)
    gate.open.set()
    assert [call.result(20) for call in calls] == ["slow"] * 5 + list(range(20))
    assert slow.free


def test_what_waits_begins_in_turns(monkeypatch):
    shares, begun = ThreadShares(3, "turns"), []
    monkeypatch.setattr(shares._pool, "submit", lambda play, share, call: begun.append((play, share, call)))
    one, other = shares.share(), shares.share()
    for share, letters in ((one, "abcd"), (other, "wxyz")):
        for name in letters:
            share.submit(str, name)
    names = lambda: "".join(call.args[0] for _, _, call in begun)  # noqa: E731
    assert names() == "abcw"  # three, and one of each
    for place in range(8):
        play, share, call = begun[place]
        play(share, call)
    assert sorted(names()) == list("abcdwxyz")
    assert names()[4:6] == "dx"
    shares.shutdown()


def test_who_holds_back_is_told_when_a_thread_may_be_free(shares):
    busy, waiting, gate, told = shares.share(), shares.share(), Gate(), threading.Event()
    waiting.hold(told.set)
    assert told.wait(20)  # at once: it is free
    told.clear()
    calls = [share.submit(gate, "busy") for share in (busy, waiting)]
    gate.until(2)
    waiting.hold(told.set)
    assert not told.is_set()
    gate.open.set()
    wait(calls, 20)
    assert told.wait(20)


def test_errors_cancelled_calls_and_the_end(shares):
    share, gate = shares.share(), Gate()

    def fail():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        share.submit(fail).result(20)
    running = [share.submit(gate, place) for place in range(2)]
    gate.until(2)
    cancelled, waiting, last = (share.submit(gate, name) for name in ("cancelled", "waiting", "last"))
    assert cancelled.cancel()
    gate.open.set()
    assert [call.result(20) for call in (*running, waiting, last)] == [0, 1, "waiting", "last"]
    assert "cancelled" not in gate.begun
    closed = Gate()
    held = [share.submit(closed, "held") for _ in range(3)]
    closed.until(2)
    shares.shutdown()
    assert held[2].cancelled()
    closed.open.set()
    assert [call.result(20) for call in held[:2]] == ["held", "held"]
    with pytest.raises(RuntimeError, match="shutdown"):
        share.submit(gate, "late").result(20)
