"""How many replicas there should be, in time that the tests make."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.errors import InputError
from motet.runtime.pool.pool import Need, Pool
from motet.runtime.pool.scaler import Scaler
from motet.runtime.pool.scaling import Memory, Policy, Seen, decide


class Line:
    """Rows that come at a rate and are answered by replicas, second by second."""

    def __init__(self, policy, row_s=0.1, count=None, step_s=1.0):
        self.policy, self.row_s, self.step_s = policy, row_s, step_s
        self.count = policy.min if count is None else count
        self.now, self.arrived, self.waiting, self.memory = 0.0, 0, 0.0, Memory()
        self.counts = []

    def run(self, seconds, rows_per_s):
        for _ in range(int(seconds / self.step_s)):
            self.now += self.step_s
            came = rows_per_s * self.step_s
            self.arrived += came
            self.waiting = max(0.0, self.waiting + came - self.count / self.row_s * self.step_s)
            seen = Seen(self.now, round(self.arrived), round(self.waiting), self.row_s, self.count)
            self.count, self.memory = decide(self.policy, self.memory, seen)
            self.counts.append(self.count)
        return self


def changes(counts):
    return sum(a != b for a, b in itertools.pairwise(counts))


def test_as_many_as_the_work_needs():
    line = Line(Policy(1, 20)).run(120, rows_per_s=35)  # 3.5 busy, 0.7 of their time
    assert line.count == 5
    assert line.waiting == 0


def test_a_spike_is_answered_at_once():
    line = Line(Policy(1, 20)).run(120, rows_per_s=5)
    line.run(3, rows_per_s=70)
    assert line.count >= 8
    line.run(10, rows_per_s=70)
    assert line.waiting == 0


def test_there_are_fewer_only_after_a_while():
    policy = Policy(1, 20, hold_s=60)
    line = Line(policy).run(120, rows_per_s=70)
    high = line.count
    line.run(50, rows_per_s=5)
    assert line.count == high
    line.run(40, rows_per_s=5)
    assert line.count == 1


def test_noise_makes_no_steps():
    line = Line(Policy(1, 20)).run(300, rows_per_s=35)
    line.counts.clear()
    for second in range(600):
        line.run(1, rows_per_s=35 + (8 if second % 7 < 3 else -6))
    assert changes(line.counts) <= 2


def test_to_zero_when_nobody_asks_and_back_with_the_first_row():
    policy = Policy(0, 4, hold_s=30, idle_s=100)
    line = Line(policy).run(60, rows_per_s=5)
    assert line.count == 1
    line.run(90, rows_per_s=0)
    assert line.count == 1
    line.run(20, rows_per_s=0)
    assert line.count == 0
    line.run(1, rows_per_s=1)
    assert line.count == 1


def test_the_first_row_of_a_model_that_was_never_timed_brings_one():
    memory = decide(Policy(0, 4, idle_s=1), Memory(), Seen(0.0, 0, 0, 0.0, 0))[1]
    count, memory = decide(Policy(0, 4, idle_s=1), memory, Seen(5.0, 0, 0, 0.0, 0))
    assert count == 0
    assert decide(Policy(0, 4, idle_s=1), memory, Seen(6.0, 1, 1, 0.0, 0))[0] == 1


@given(
    st.lists(st.tuples(st.floats(0.1, 60), st.integers(0, 500), st.integers(0, 500)), max_size=60),
    st.integers(0, 3),
    st.integers(1, 9),
)
@settings(max_examples=100, deadline=None)
def test_the_number_is_always_within_its_bounds_and_little_is_remembered(steps, least, more):
    policy, memory, now, arrived = Policy(least, least + more), Memory(), 0.0, 0
    for passed_s, rows, waiting in steps:
        now, arrived = now + passed_s, arrived + rows
        count, memory = decide(policy, memory, Seen(now, arrived, waiting, 0.05, 1))
        assert policy.min <= count <= policy.max
        falling = [number for _, number in memory.needed]
        assert falling == sorted(set(falling), reverse=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min": 3, "max": 2}, "got 3 and 2"),
        ({"max": 0, "min": 0}, "got 0 and 0"),
        ({"utilisation": 0.0}, "utilisation must be above 0"),
        ({"hold_s": 0.0}, "hold_s must be more than 0"),
    ],
)
def test_policies_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Policy(**wrong)


class Busy:
    """A model with work for a number of replicas."""

    def __init__(self, work):
        self.work, self.count, self.arrived, self.said = work, 1, 0, []

    def seen(self, now):
        self.arrived += int(self.work * 10)
        return Seen(now, self.arrived, 0, 0.1, self.count)

    def scale(self, count):
        self.count = count
        self.said.append(count)


def test_models_share_what_the_pool_has():
    now = [0.0]
    pool = Pool(Need(cpu=8), clock=lambda: now[0])
    scaler = Scaler(pool, clock=lambda: now[0])
    one, other = Busy(3.5), Busy(7.0)
    scaler.add("one", one, Policy(1, 10), Need(cpu=1))
    scaler.add("other", other, Policy(1, 10), Need(cpu=1))
    for _ in range(60):
        now[0] += 1
        scaler.look()
    assert one.count + other.count == 8
    assert pool.used().cpu == 8
    one.work = 0
    for _ in range(120):
        now[0] += 1
        scaler.look()
    assert (one.count, other.count) == (1, 7)
    scaler.remove("one")
    scaler.remove("other")
    assert pool.used().cpu == 0
