"""How many replicas there should be, in time that the tests make."""

import itertools
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from motet.errors import InputError
from motet.runtime.autoscaling.policy import LoadSample, Memory, ScalingPolicy, decide
from motet.runtime.autoscaling.scaler import Scaler
from motet.runtime.resources.pool import Need, Pool


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
            seen = LoadSample(self.now, round(self.arrived), round(self.waiting), self.row_s, self.count)
            self.count, self.memory = decide(self.policy, self.memory, seen)
            self.counts.append(self.count)
        return self


def changes(counts):
    return sum(a != b for a, b in itertools.pairwise(counts))


def test_as_many_as_the_work_needs():
    line = Line(ScalingPolicy(1, 20)).run(120, rows_per_s=35)  # 3.5 busy, 0.7 of their time
    assert line.count == 5
    assert line.waiting == 0


def test_a_spike_is_answered_at_once():
    line = Line(ScalingPolicy(1, 20)).run(120, rows_per_s=5)
    line.run(3, rows_per_s=70)
    assert line.count >= 8
    line.run(10, rows_per_s=70)
    assert line.waiting == 0


def test_there_are_fewer_only_after_a_while():
    policy = ScalingPolicy(1, 20, hold_s=60)
    line = Line(policy).run(120, rows_per_s=70)
    high = line.count
    line.run(50, rows_per_s=5)
    assert line.count == high
    line.run(40, rows_per_s=5)
    assert line.count == 1


def test_noise_makes_no_steps():
    line = Line(ScalingPolicy(1, 20)).run(300, rows_per_s=35)
    line.counts.clear()
    for second in range(600):
        line.run(1, rows_per_s=35 + (8 if second % 7 < 3 else -6))
    assert changes(line.counts) <= 2


def test_to_zero_when_nobody_asks_and_back_with_the_first_row():
    policy = ScalingPolicy(0, 4, hold_s=30, idle_s=100)
    line = Line(policy).run(60, rows_per_s=5)
    assert line.count == 1
    line.run(90, rows_per_s=0)
    assert line.count == 1
    line.run(20, rows_per_s=0)
    assert line.count == 0
    line.run(1, rows_per_s=1)
    assert line.count == 1


def test_the_first_row_of_a_model_that_was_never_timed_brings_one():
    memory = decide(ScalingPolicy(0, 4, idle_s=1), Memory(), LoadSample(0.0, 0, 0, 0.0, 0))[1]
    count, memory = decide(ScalingPolicy(0, 4, idle_s=1), memory, LoadSample(5.0, 0, 0, 0.0, 0))
    assert count == 0
    assert decide(ScalingPolicy(0, 4, idle_s=1), memory, LoadSample(6.0, 1, 1, 0.0, 0))[0] == 1


@given(
    st.lists(st.tuples(st.floats(0.1, 60), st.integers(0, 500), st.integers(0, 500)), max_size=60),
    st.integers(0, 3),
    st.integers(1, 9),
)
@settings(max_examples=100, deadline=None)
def test_the_number_is_always_within_its_bounds_and_little_is_remembered(steps, least, more):
    policy, memory, now, arrived = ScalingPolicy(least, least + more), Memory(), 0.0, 0
    for passed_s, rows, waiting in steps:
        now, arrived = now + passed_s, arrived + rows
        count, memory = decide(policy, memory, LoadSample(now, arrived, waiting, 0.05, 1))
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
        ScalingPolicy(**wrong)


class Busy:
    """A model with work for a number of replicas."""

    def __init__(self, work):
        self.work, self.count, self.arrived, self.said = work, 1, 0, []

    def seen(self, now):
        self.arrived += int(self.work * 10)
        return LoadSample(now, self.arrived, 0, 0.1, self.count)

    def scale(self, count):
        self.count = count
        self.said.append(count)


def test_models_share_what_the_pool_has():
    now = [0.0]
    pool = Pool(Need(cpu=8), clock=lambda: now[0])
    scaler = Scaler(pool, clock=lambda: now[0])
    one, other = Busy(3.5), Busy(7.0)
    scaler.add("one", one, ScalingPolicy(1, 10), Need(cpu=1))
    scaler.add("other", other, ScalingPolicy(1, 10), Need(cpu=1))
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


class Crowd:
    """Models with work for replicas that are there at once, looked at every half second."""

    def __init__(self, pool, *policies):
        self.now, self.pool = 0.0, pool(lambda: self.now)
        self.scaler = Scaler(self.pool, clock=lambda: self.now)
        self.models = [Steady(policy.min) for policy in policies]
        for number, (model, policy) in enumerate(zip(self.models, policies, strict=True)):
            self.scaler.add(number, model, policy, Need(cpu=1))

    def run(self, seconds):
        """The numbers of replicas, look by look."""
        looks = []
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.scaler.look()
            looks.append(tuple(model.count for model in self.models))
        return looks


class Steady:
    """A model with steady work for so many replicas, of rows that take 50 ms; rows wait while it has none."""

    def __init__(self, count):
        self.work, self.count, self.arrived, self.row_s = 0.0, count, 0.0, 0.05

    def seen(self, now):
        self.arrived += self.work / self.row_s / 2
        waiting = 0 if self.count else int(min(self.work / self.row_s, 1000))
        return LoadSample(now, int(self.arrived), waiting, self.row_s, self.count)

    def scale(self, count):
        self.count = count


def cores(number):
    return lambda clock: Pool(Need(cpu=number), clock=clock)


@given(st.floats(0.1, 12.0), st.integers(0, 2), st.integers(1, 12))
@example(4.90625, 0, 8)
@settings(max_examples=15, deadline=None)
def test_the_number_settles_under_a_steady_load_and_stays(work, least, more):
    crowd = Crowd(cores(64), ScalingPolicy(least, least + more))
    crowd.models[0].work = work
    crowd.run(400)  # work of nearly a whole number of replicas is known so exactly only after many half minutes
    settled = crowd.run(300)
    assert len(set(settled)) == 1
    assert settled[0][0] >= min(least + more, work)


@given(st.lists(st.integers(0, 14), min_size=2, max_size=4), st.integers(5, 12))
@settings(max_examples=15, deadline=None)
def test_models_share_fairly_within_what_the_pool_lends(wanted, number):
    crowd = Crowd(cores(number), *(ScalingPolicy(0, 10) for _ in wanted))
    for model, count in zip(crowd.models, wanted, strict=True):
        model.work = max(0.0, count - 0.5) * ScalingPolicy().utilisation
    for counts in crowd.run(100):
        assert sum(counts) <= number
    settled = crowd.run(30)
    assert len(set(settled)) == 1
    shares = settled[0]
    assert crowd.pool.used().cpu == sum(shares)
    assert sum(shares) == min(number, sum(min(count, 10) for count in wanted))
    for share, count in zip(shares, wanted, strict=True):  # who has less than it wants has no less than others
        assert share == min(count, 10) or share >= max(shares) - 1


@given(st.floats(0.5, 9.0))
@settings(max_examples=20, deadline=None)
def test_there_are_fewer_only_after_the_hold_and_none_only_after_idleness(work):
    crowd = Crowd(cores(64), ScalingPolicy(0, 20, hold_s=30, idle_s=100))
    crowd.models[0].work = work
    high = crowd.run(120)[-1][0]
    crowd.models[0].work = 0.0
    falling = [counts[0] for counts in crowd.run(200)]
    assert set(falling[:58]) == {high}
    assert 0 not in falling[:198]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == 0


def test_a_model_without_a_replica_goes_before_those_with_several():
    crowd = Crowd(cores(4), ScalingPolicy(0, 8), ScalingPolicy(0, 8))
    crowd.models[0].work = 9.0
    assert crowd.run(30)[-1] == (4, 0)
    crowd.models[1].work = 0.2
    assert crowd.run(2)[-1] == (3, 1)


def test_a_model_without_a_replica_gets_one_of_another_process(tmp_path):
    shared = lambda clock: Pool(Need(cpu=4), folder=tmp_path, clock=clock)  # noqa: E731
    rich, poor = Crowd(shared, ScalingPolicy(0, 8)), Crowd(shared, ScalingPolicy(0, 8))
    rich.models[0].work = 9.0
    assert rich.run(30)[-1] == (4,)
    poor.models[0].work = 9.0
    poor.run(1)
    assert poor.models[0].count == 0
    rich.run(1)
    poor.run(1)
    assert (rich.models[0].count, poor.models[0].count) == (3, 1)
    for _ in range(50):
        rich.run(0.5)
        poor.run(0.5)
    assert (rich.models[0].count, poor.models[0].count) == (3, 1)


def test_nobody_stands_in_line_for_a_model_whose_rows_do_not_wait_any_more():
    crowd = Crowd(cores(1), ScalingPolicy(0, 8))
    with crowd.pool.borrow(Need(cpu=1)) as other:
        crowd.models[0].work = 1.0
        crowd.run(5)
        assert other.wanted
        crowd.models[0].work = 0.0  # their deadline has passed
        crowd.run(1)
        assert not other.wanted
        assert not crowd.scaler.waiting


def test_bulk_work_is_asked_for_what_it_holds_and_only_where_that_helps():
    crowd = Crowd(cores(4), ScalingPolicy(0, 8))
    bulk = [crowd.pool.borrow(Need(cpu=1), priority="bulk") for _ in range(4)]
    crowd.models[0].work = 1.2
    crowd.run(1)
    assert all(lease.wanted for lease in bulk)
    assert crowd.scaler.waiting
    bulk.pop().release()
    crowd.run(20)
    assert crowd.models[0].count == 1
    assert all(lease.wanted for lease in bulk)
    bulk.pop().release()
    crowd.run(0.5)
    assert crowd.models[0].count == 2
    assert not any(lease.wanted for lease in bulk)
    with crowd.pool.borrow(Need(cpu=0)) as other:
        crowd.models[0].work = 9.0
        [lease.release() for lease in bulk]
        crowd.run(20)
        assert crowd.models[0].count == 4
        assert not crowd.scaler.waiting  # for more than all of it nobody stands in line
        assert not other.wanted


def test_the_fewest_are_there_whatever_the_pool_lends():
    crowd = Crowd(cores(1), ScalingPolicy(2, 4))
    crowd.models[0].work = 9.0
    assert set(crowd.run(30)) == {(2,)}
    assert crowd.pool.used().cpu == 1


def test_a_number_that_somebody_asked_for_is_kept_for_a_while():
    crowd = Crowd(cores(8), ScalingPolicy(1, 8, hold_s=20))
    crowd.models[0].work = 0.1
    crowd.run(10)
    crowd.models[0].scale(5)
    assert set(crowd.run(19)) == {(5,)}
    assert crowd.run(5)[-1] == (1,)


def test_what_a_replica_was_seen_to_take_is_borrowed():
    crowd = Crowd(lambda clock: Pool(Need(cpu=8, memory_bytes=1000), clock=clock), ScalingPolicy(0, 8))
    crowd.models[0].work = 3.0
    crowd.run(120)
    assert crowd.models[0].count == 5
    crowd.scaler.measured(0, 150)
    assert 780 < crowd.pool.used().memory_bytes < 800
    crowd.models[0].work = 9.0
    crowd.run(20)
    assert crowd.models[0].count == 6


def test_a_model_that_the_pool_can_never_have_is_refused():
    scaler = Scaler(Pool(Need(cpu=2)))
    with pytest.raises(InputError, match="there will never be 3 cores"):
        scaler.add("m", Busy(1.0), ScalingPolicy(0, 1), Need(cpu=3))


def test_rows_that_come_by_chance_make_few_steps():
    random, line = Random(3), Line(ScalingPolicy(1, 20), row_s=0.25, step_s=0.5)
    line.run(120, rows_per_s=4)
    line.counts.clear()
    for _ in range(3600):
        came = sum(random.random() < 4 * 0.5 / 64 for _ in range(64))
        line.run(0.5, rows_per_s=came * 2)
    assert changes(line.counts) <= 12


def test_rows_that_wait_for_a_start_ask_for_no_more_than_the_backlog_needs():
    policy = ScalingPolicy(1, 50, catch_up_s=2.0)
    slow = replace(LoadSample(0.0, 0, 0, 0.6, 1), loading_s=20.0)
    memory = decide(policy, Memory(), slow)[1]
    counts = []
    for second in range(1, 20):
        seen = replace(slow, now=float(second), arrived_rows=3 * second, waiting_rows=max(0, 2 * second))
        count, memory = decide(policy, memory, seen)
        counts.append(count)
    assert max(counts) <= 4
