import asyncio
import glob
import sqlite3
from collections import defaultdict

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import GraphError, OverloadedError
from motet.serving.admission.rates import Busy, SqliteRates
from motet.serving.admission.redis_rates import RedisRates
from motet.serving.admission.sqlite import SqliteStorage
from motet.serving.config.admission import Rate

KEY = b"k" * 16
FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")


def run(coroutine):
    return asyncio.run(coroutine)


@pytest.fixture
def rates(tmp_path, clock):
    made = SqliteRates(tmp_path / "rates.sqlite", ticks=clock, clock=clock)
    yield made
    run(made.close())


def test_a_rate_lets_so_many_in_and_says_when_the_next_one_may(rates, clock):
    wanted = [(KEY, Rate(3, 60))]
    for _ in range(3):
        assert rates.take_now(wanted) == 0
        clock.now += 5
    assert rates.take_now(wanted) == pytest.approx(45)
    clock.now += 44.9
    assert rates.take_now(wanted) == pytest.approx(0.1)
    clock.now += 0.2
    assert rates.take_now(wanted) == 0
    assert rates.take_now(wanted) == pytest.approx(4.9)


def test_a_request_that_one_rate_refuses_counts_for_no_other(rates, clock):
    long, short = (KEY, Rate(10, 3600)), (KEY, Rate(1, 1))
    assert rates.take_now([long, short]) == 0
    for _ in range(20):
        assert 0 < rates.take_now([long, short]) <= 1
    for _ in range(9):
        clock.now += 1.1
        assert rates.take_now([long, short]) == 0
    clock.now += 1.1
    assert rates.take_now([long, short]) > 3000


def test_looking_counts_nothing(rates):
    wanted = [(KEY, Rate(1, 60))]
    for _ in range(5):
        assert run(rates.look(wanted)) == 0
    assert rates.take_now(wanted) == 0
    assert run(rates.look(wanted)) == pytest.approx(60)


def test_rates_outlive_the_server(tmp_path, clock):
    wanted = [(KEY, Rate(1, 3600))]
    for expected in (0, 3600):
        rates = SqliteRates(tmp_path / "rates.sqlite", ticks=clock, clock=clock)
        assert rates.take_now(wanted) == pytest.approx(expected)
        run(rates.close())


class Machine:
    """A machine whose time of day may be set, and that may be started again."""

    def __init__(self):
        self.since_start, self.day, self.start = 100.0, 1_800_000_000.0, "one"

    def pass_by(self, seconds):
        self.since_start, self.day = self.since_start + seconds, self.day + seconds

    def storage(self, path):
        return SqliteStorage(path, ticks=lambda: self.since_start, clock=lambda: self.day, boot=lambda: self.start)


@pytest.mark.parametrize("step_s", [-60.0, -86_400.0, 86_400.0, 3_600.0])
def test_a_time_of_day_that_is_set_changes_no_rate(tmp_path, step_s):
    machine = Machine()
    before = machine.storage(tmp_path / "r.sqlite")
    assert [before.acquire_entry("k", 2, 60) for _ in range(3)] == [True, True, False]
    machine.day += step_s
    later = machine.storage(tmp_path / "r.sqlite")  # another process, that begins after it was set
    machine.pass_by(59)
    for storage in (before, later):
        assert not storage.acquire_entry("k", 2, 60)
        assert storage.free_at("k", 2, 60) - storage.now() == pytest.approx(1)
    machine.pass_by(1.5)
    assert [each.acquire_entry("k", 2, 60) for each in (before, later, before)] == [True, True, False]
    before.close()
    later.close()


@pytest.mark.parametrize(("away_s", "free"), [(30.0, False), (61.0, True), (-86_400.0, False)])
def test_rates_go_on_after_another_start_of_the_machine(tmp_path, away_s, free):
    machine = Machine()
    storage = machine.storage(tmp_path / "r.sqlite")
    assert storage.acquire_entry("k", 1, 60)
    storage.close()
    machine.since_start, machine.day, machine.start = 5.0, machine.day + away_s, "two"
    storage = machine.storage(tmp_path / "r.sqlite")
    assert storage.acquire_entry("k", 1, 60) is free
    assert 0 <= storage.free_at("k", 1, 60) - storage.now() <= 60
    machine.pass_by(60)
    assert storage.acquire_entry("k", 1, 60)
    storage.close()


steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.25, 1.0, 4.0, 9.0]), st.integers(1, 3)), max_size=60
)


@given(steps, st.integers(1, 5), st.integers(1, 10))
def test_the_moving_window_is_what_a_plain_list_of_times_says(tmp_path_factory, steps, limit, period_s):
    now = [1000.0]
    storage = SqliteStorage(tmp_path_factory.mktemp("rates") / "r.sqlite", ticks=lambda: now[0], clock=lambda: now[0])
    hits = defaultdict(list)
    for key, later_s, amount in steps:
        now[0] += later_s
        hits[key] = [at for at in hits[key] if at > now[0] - period_s]
        room = len(hits[key]) + amount <= limit
        assert storage.get_moving_window(key, limit, period_s)[1] == len(hits[key])
        assert (storage.free_at(key, limit, period_s) > now[0]) == (len(hits[key]) >= limit)
        assert storage.acquire_entry(key, limit, period_s, amount) is room
        if room:
            hits[key] += [now[0]] * amount
    storage.close()


def test_processes_and_threads_together_are_let_in_exactly_as_often_as_the_rate_says(tmp_path, child):
    children = [child("hit", tmp_path / "rates.sqlite", 100, 8, 10) for _ in range(4)]
    assert [each.hear() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    assert sum(int(each.hear()) for each in children) == 100


def test_a_file_that_another_process_holds_is_waited_for_without_blocking(tmp_path):
    path = tmp_path / "rates.sqlite"
    rates, wanted = SqliteRates(path), [(KEY, Rate(1, 60))]
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy):
        rates.take_now(wanted)

    async def main():
        taking = asyncio.create_task(rates.take(wanted))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not taking.done()
        other.execute("COMMIT")
        return await taking

    assert run(main()) == 0
    other.close()
    run(rates.close())


def test_a_file_that_breaks_lets_nobody_in(tmp_path):
    rates = SqliteRates(tmp_path / "rates.sqlite")
    other = sqlite3.connect(tmp_path / "rates.sqlite")
    other.executescript("DROP TABLE hits; DROP TABLE keys")
    other.close()
    with pytest.raises(OverloadedError, match="requests cannot be counted now"):
        rates.take_now([(KEY, Rate(1, 60))])
    run(rates.close())


def test_a_file_that_is_no_store_of_rates_is_told_when_a_server_starts(tmp_path):
    (tmp_path / "rates.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(GraphError, match="cannot keep rates"):
        SqliteRates(tmp_path / "rates.sqlite")


def test_keys_that_nobody_uses_are_forgotten(tmp_path, clock):
    storage = SqliteStorage(tmp_path / "r.sqlite", ticks=clock, clock=clock)
    for number in range(1000):
        storage.acquire_entry(f"key{number}", 5, 10)
    clock.now += 11
    for _ in range(1000):
        assert storage.acquire_entry("steady", 100_000, 10)
    count = storage._base.execute("SELECT count(*) FROM keys").fetchone()[0]
    rows = storage._base.execute("SELECT count(*) FROM hits").fetchone()[0]
    assert (count, rows) == (1, 1000)
    storage.close()


def test_a_file_that_grows_too_big_forgets_what_would_be_forgotten_first(tmp_path, clock):
    storage = SqliteStorage(tmp_path / "r.sqlite", ticks=clock, clock=clock, max_bytes=300_000)
    for number in range(20_000):
        storage.acquire_entry(f"key{number}", 5, 3600)
        clock.now += 0.01
    used = [storage._base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")]
    assert (used[0] - used[1]) * 4096 < 400_000
    assert not all(storage.acquire_entry("key19999", 5, 3600) for _ in range(5))
    storage.close()


def test_redis_lets_so_many_in_for_all_processes(redis_url, tmp_path, child):
    arguments = [redis_url, "-", "-", "100/hour", "-", 80]
    children = [child("enter", tmp_path / str(number), *arguments) for number in range(4)]
    assert [each.hear() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    assert sum(int(each.hear()) for each in children) == 100


@pytest.mark.skipif(not FAKETIME, reason="no libfaketime")
def test_machines_whose_clocks_differ_share_one_window(redis_url, tmp_path, child):
    """One a day ahead, one a day behind, one two minutes ahead, one right."""
    arguments = [redis_url.replace("/0", "/1"), "-", "-", "100/minute", "-", 60]
    children = []
    for number, offset in enumerate(("+1d", "-1d", "+2m", "+0")):
        fake = {"LD_PRELOAD": FAKETIME[0], "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1"}
        children.append(child("enter", tmp_path / str(number), *arguments, **fake))
    assert [each.hear() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    assert sum(int(each.hear()) for each in children) == 100


def test_a_rate_goes_on_when_the_clock_of_redis_is_set_back(redis_url):
    """What was counted before then lies ahead: it is as old as it was, and refuses nobody for longer than the period."""

    async def main():
        rates, (key, rate) = RedisRates(redis_url), (b"b" * 16, Rate(2, 60))
        for _ in range(2):
            assert await rates.take([(key, rate)]) == 0
        client = redis.Redis.from_url(redis_url)
        (name,) = client.keys(f"motet/{key.hex()}/*")
        newest, oldest = (int(each) for each in client.lrange(name, 0, -1))
        client.delete(name)
        client.rpush(name, newest + 3_600_000_000, oldest + 3_600_000_000 - 50_000_000)
        assert 1 < await rates.look([(key, rate)]) <= 10
        assert int(client.lindex(name, 0)) <= newest + 60_000_000
        client.close()
        await rates.close()

    run(main())


def test_redis_counts_a_request_in_all_of_its_rates_or_in_none(redis_url):
    async def main():
        rates = RedisRates(redis_url)
        long, short = (b"m" * 16, Rate(10, 3600)), (b"n" * 16, Rate(1, 60))
        left = await asyncio.gather(*(rates.take([long, short]) for _ in range(50)))
        assert left.count(0) == 1
        assert (await asyncio.gather(*(rates.take([long]) for _ in range(50)))).count(0) == 9
        await rates.close()

    run(main())


def test_redis_refuses_for_every_rate_and_says_when_the_next_one_may(redis_url):
    async def main():
        rates = RedisRates(redis_url)
        long, short = (b"l" * 16, Rate(2, 3600)), (b"s" * 16, Rate(1, 60))
        assert await rates.take([long, short]) == 0
        assert 0 < await rates.take([long, short]) <= 60
        assert await rates.take([long]) == 0
        assert 3000 < await rates.take([long, short]) <= 3600
        await rates.close()

    run(main())


def test_a_redis_that_does_not_answer_lets_nobody_in():
    async def main():
        rates = RedisRates("redis://127.0.0.1:1/0")
        with pytest.raises(OverloadedError, match="Redis does not answer"):
            await rates.take([(KEY, Rate(1, 60))])
        await rates.close()

    run(main())
