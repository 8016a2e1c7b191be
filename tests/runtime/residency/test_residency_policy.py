"""Places for models: what is true whatever comes, and how close the plan is to one that knows the future."""

import random
from concurrent.futures import Future

import pytest
from benchmarks.keys import FAIR, loads, lru, oracle, ours, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.runtime.residency.policy import ResidencyGroup, ResidencyPolicy, Waiter


class Played:
    """Models that share places, loaded at once or later, and whose calls end in any order."""

    def __init__(self, models, places, *, residents=(), loads_at_once=1, max_wait_s=5.0):
        self.policy, self.group = ResidencyPolicy(loads_at_once), ResidencyGroup("all", places, max_wait_s=max_wait_s)
        for key in range(models):
            self.policy.add(key, self.group, resident=key in residents)
        self.now, self.waiting, self.calls, self.residency, self.loaded, self.waits = 0.0, [], [], [], {}, []

    def ask(self, key, rows=1):
        if self.policy.ask(key, rows, self.now) is True:
            assert key in self.loaded
            self.calls.append(key)
        else:
            waiter = Waiter(key, rows, self.now, Future())
            self.policy.wait(waiter)
            self.waiting.append(waiter)
        self.look()

    def look(self):
        while (swap := self.policy.next(self.now, self.loaded)) is not None:
            for key in swap.drop:
                assert key not in self.calls, "a model went that a call had"
                del self.loaded[key]
            self.policy.dropped(swap.drop)
            self.residency.append(swap)
            held = [entry for entry in self.policy.entries.values() if entry.state != "out"]
            assert self.group.max_loaded is None or len(held) <= self.group.max_loaded
        self.granted()

    def finish_load(self, place=0):
        if self.residency:
            key = self.residency.pop(place % len(self.residency)).load
            self.loaded[key] = key
            for waiter in self.policy.done(key):
                waiter.told.set_result(key)
            self.look()

    def finish_call(self, place=0):
        if self.calls:
            self.policy.give_back(self.calls.pop(place % len(self.calls)))
            self.look()

    def granted(self):
        for waiter in [waiter for waiter in self.waiting if waiter.told.done() and not waiter.told.cancelled()]:
            self.waiting.remove(waiter)
            self.calls.append(waiter.key)
            self.waits.append(self.now - waiter.since)


events = st.lists(
    st.tuples(st.sampled_from(["ask", "load", "call", "pass", "cancel"]), st.integers(0, 11), st.integers(1, 9)),
    max_size=120,
)


@given(events, st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_nobody_is_forgotten_and_no_model_goes_that_a_call_has(events, places, at_once):
    played = Played(12, places, loads_at_once=at_once)
    for what, which, rows in events:
        if what == "ask":
            played.ask(which, rows)
        elif what == "load":
            played.finish_load(which)
        elif what == "call":
            played.finish_call(which)
        elif what == "pass":
            played.now += rows
            played.look()
        elif played.waiting:
            played.waiting.pop(which % len(played.waiting)).told.cancel()
            played.look()
    for _ in range(200):
        played.finish_load()
        played.granted()
        played.finish_call()
    assert not played.waiting
    assert not played.calls
    assert not played.policy.wanted


def test_no_key_starves_while_others_are_asked_all_the_time():
    played = Played(3, 2, max_wait_s=5.0)
    for key in (0, 1):
        played.ask(key)
        played.finish_load()
        played.granted()
    played.ask(2)
    for _ in range(200):  # rows of models that are loaded come all the time, and their calls overlap
        played.now += 0.1
        played.ask(0)
        played.ask(1)
        played.finish_call()
        if len(played.calls) > 2:
            played.finish_call()
        played.finish_load()
        played.granted()
        if 2 in played.loaded:
            break
    assert 2 in played.loaded
    assert played.now <= 5.0 + 1.0


def test_until_then_rows_of_models_that_are_loaded_go_first():
    played = Played(3, 2, max_wait_s=5.0)
    for key in (0, 1):
        played.ask(key)
        played.finish_load()
        played.granted()
    played.ask(2)
    played.now = 4.9
    played.look()
    played.ask(0)
    played.ask(1)
    assert sorted(played.calls) == [0, 0, 1, 1]
    assert not played.residency


def test_what_was_kept_from_new_rows_goes_on_when_nobody_waits_for_its_place_any_more():
    played = Played(2, 1, max_wait_s=1.0)
    played.ask(0)
    played.finish_load()
    played.granted()
    played.ask(1)
    played.now = 2.0
    played.look()
    played.ask(0)  # waits: the place is wanted by rows that are late
    assert len(played.waiting) == 2
    next(waiter for waiter in played.waiting if waiter.key == 1).told.cancel()
    played.look()
    assert played.calls == [0, 0]


def test_an_idle_model_that_many_ask_stays_where_one_that_few_ask_is_about_to_be_idle():
    played = Played(3, 2)
    for key, times in ((0, 50), (1, 1)):
        played.ask(key)
        played.finish_load()
        played.granted()
        for _ in range(times):
            played.ask(key)
    while 0 in played.calls:
        played.finish_call(played.calls.index(0))
    played.ask(2)
    assert not played.residency
    while played.calls:
        played.finish_call()
    assert played.residency[0].drop == (1,)


def test_memory_makes_room_by_as_many_models_as_it_takes():
    policy, group = ResidencyPolicy(), ResidencyGroup("all", memory_bytes=100)
    for key, size in enumerate((40, 40, 90)):
        policy.add(key, group, memory_bytes=size)
    for key in (0, 1):
        policy.ask(key, 1, 0.0)
        policy.wait(Waiter(key, 1, 0.0, Future()))
        assert policy.next(0.0, {}).load == key
        policy.done(key)
        policy.give_back(key)
    policy.ask(2, 1, 1.0)
    policy.wait(Waiter(2, 1, 1.0, Future()))
    assert sorted(policy.next(1.0, {}).drop) == [0, 1]  # type: ignore[type-var]


def test_a_failed_load_is_tried_again_after_pauses_that_grow_and_end():
    policy, group = ResidencyPolicy(), ResidencyGroup("all", 1)
    policy.add("a", group)
    now, pauses = 0.0, []
    for _ in range(9):
        assert policy.ask("a", 1, now) is False
        policy.wait(Waiter("a", 1, now, Future()))
        policy.next(now, {})
        policy.failed("a", ValueError("torn"), now)
        assert isinstance(policy.ask("a", 1, now), ValueError)
        pauses.append(policy.entries["a"].retry_at - now)
        now = policy.entries["a"].retry_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("skew", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("window", [16, 64, 256])
def test_loads_are_close_to_those_of_a_plan_that_knows_the_future(skew, window):
    keys = zipf(4_000, 200, skew, seed=random.Random(window).randrange(100))
    plan = ours(keys, 8, window)
    assert loads(plan) <= 1.2 * loads(oracle(keys, 8, window))
    assert loads(plan) < loads(lru(keys, 8, window)) / (1.2 if window == 16 else 1.7)
    assert sorted(row for _, _, rows in plan for row in rows) == list(range(4_000))


def test_no_row_waits_longer_than_is_fair():
    keys, window = zipf(6_000, 200, 1.0), 64
    came = {}
    done = 0
    for _, _, rows in ours(keys, 8, window):
        done += len(rows)
        for row in rows:
            came[row] = done
    assert max(end - row for row, end in came.items()) <= (FAIR + 6) * window
