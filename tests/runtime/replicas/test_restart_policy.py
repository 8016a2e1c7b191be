from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.runtime.replicas.balancer import BALANCERS, power_of_two, rendezvous
from motet.runtime.replicas.limits import LEAST, MOST, ConcurrencyLimit
from motet.runtime.replicas.restart_policy import RestartCounter, RestartPolicy


@dataclass(eq=False)
class Standing:
    in_flight: int
    turn: int = 0


def standing(loads):
    return [Standing(load) for load in loads]


def play(balancer, candidates, calls):
    """Calls that are never over: the times that each was chosen."""
    chosen = []
    for turn in range(1, calls + 1):
        found = balancer(candidates)
        found.turn = turn
        chosen.append(candidates.index(found))
    return chosen


LOADS = st.lists(st.integers(0, 20), min_size=1, max_size=12)


@given(LOADS)
def test_least_loaded_never_chooses_a_busier_one(loads):
    found = BALANCERS["least_loaded"](standing(loads))
    assert found.in_flight == min(loads)


@given(st.integers(1, 12), st.integers(1, 60))
def test_least_loaded_takes_turns_among_equals(count, calls):
    chosen = play(BALANCERS["least_loaded"], standing([0] * count), calls)
    times = np.bincount(chosen, minlength=count)
    assert times.max() - times.min() <= 1


@given(LOADS, st.integers(1, 60))
def test_round_robin_is_fair_whatever_the_load(loads, calls):
    chosen = play(BALANCERS["round_robin"], standing(loads), calls)
    times = np.bincount(chosen, minlength=len(loads))
    assert times.max() - times.min() <= 1


@given(st.lists(st.integers(0, 20), min_size=2, max_size=12, unique=True), st.data())
def test_power_of_two_never_chooses_the_busiest(loads, data):
    chances = st.floats(0, 1, exclude_max=True)
    found = power_of_two(standing(loads), lambda: data.draw(chances))
    assert found.in_flight < max(loads)


def test_power_of_two_of_one_is_that_one():
    (only,) = standing([7])
    assert power_of_two([only]) is only


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=8, unique=True)
KEYS = st.lists(st.integers(0, 2**40), min_size=1, max_size=50)


@given(NAMES, KEYS, st.data())
def test_when_a_replica_goes_only_its_own_keys_move(names, keys, data):
    gone = data.draw(st.sampled_from(names))
    left = [name for name in names if name != gone]
    before = [names[place] for place in rendezvous(np.array(keys), names, "m")]
    after = [left[place] for place in rendezvous(np.array(keys), left, "m")]
    assert all(old == new for old, new in zip(before, after, strict=True) if old != gone)


@given(NAMES, KEYS, st.randoms())
def test_the_order_of_replicas_means_nothing(names, keys, random):
    shuffled = random.sample(names, len(names))
    first = [names[place] for place in rendezvous(np.array(keys), names, "m")]
    assert first == [shuffled[place] for place in rendezvous(np.array(keys), shuffled, "m")]


def test_rendezvous_spreads_keys_and_a_missing_one_has_no_place():
    chosen = rendezvous(np.arange(30_000), ["a", "b", "c"], "m")
    assert np.allclose(np.bincount(chosen) / 30_000, 1 / 3, atol=0.02)
    assert rendezvous(np.array(["", "x"], dtype=object), ["a"], "m").tolist() == [-1, 0]


def test_after_a_useful_life_the_next_begins_at_once():
    restarts = RestartCounter(RestartPolicy(tries=3), chance=lambda: 0.0)
    for now in range(100):
        assert restarts.ended(float(now), useful=True) == 0.0


def test_useless_lives_count_for_a_while_only():
    restarts = RestartCounter(RestartPolicy(tries=3, within_s=60), chance=lambda: 0.0)
    assert all(restarts.ended(now * 40.0, useful=False) is not None for now in range(100))
    assert restarts.ended(99 * 40.0 + 1, useful=False) is None


@given(st.integers(0, 40), st.floats(0, 1))
def test_pauses_double_up_to_a_bound_and_jitter_only_shortens_them(lifecycle, chance):
    rules = RestartPolicy(tries=0)
    restarts = RestartCounter(rules, chance=lambda: chance)
    for _ in range(lifecycle):
        restarts.ended(0.0, useful=False)
    wanted = min(rules.longest_pause_s, rules.first_pause_s * 2**lifecycle)
    assert wanted * (1 - rules.jitter) <= restarts.ended(0.0, useful=False) <= wanted


def a_server(limit, servers, calls=4000, service_s=0.01):
    """Calls to a server that plays `servers` at a time: with more than that under way they wait there."""
    for _ in range(calls):
        under_way = limit.value
        limit.answered(8, service_s * max(1.0, under_way / servers), under_way)
    return limit.value


@pytest.mark.parametrize("servers", [1, 4, 16, 40])
def test_the_limit_finds_what_a_server_can_do(servers):
    found = a_server(ConcurrencyLimit(8), servers)
    assert servers <= found <= servers + 8


def test_the_limit_follows_a_server_that_changes():
    limit = ConcurrencyLimit(8)
    assert a_server(limit, 32) >= 32
    assert a_server(limit, 2) <= 12
    assert a_server(limit, 32) >= 32


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 4096), st.floats(0, 1e3), st.integers(1, 64)))))
def test_the_limit_has_bounds(events):
    limit = ConcurrencyLimit()
    for event in events:
        if event is None:
            limit.refused()
        else:
            limit.answered(*event)
        assert LEAST <= limit.value <= MOST


def test_a_limit_that_is_not_used_does_not_grow():
    limit = ConcurrencyLimit(8)
    for _ in range(1000):
        limit.answered(1, 0.01, 1)
    assert limit.value == 8
