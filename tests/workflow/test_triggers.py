"""When workflows run again."""

from __future__ import annotations

import os
import threading
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import InputError
from motet.workflow.cron import read_cron
from motet.workflow.triggers import At, Every, Watch, repeat


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("*/15 * * * *", "2026-11-21 10:07", "2026-11-21 10:15"),
        ("0 3 * * *", "2026-11-21 03:00", "2026-11-22 03:00"),
        ("30 6 1 jan *", "2026-11-21 00:00", "2027-01-01 06:30"),
        ("0 0 * * mon-fri", "2026-11-20 12:00", "2026-11-23 00:00"),
        ("0 0 13 * fri", "2026-11-01 00:00", "2026-11-06 00:00"),
        ("0 0 29 2 *", "2026-11-21 00:00", "2028-02-29 00:00"),
        ("5,10-12/2 4 * * 7", "2026-11-22 04:05", "2026-11-22 04:10"),
        ("@weekly", "2026-11-21 00:00", "2026-11-22 00:00"),
    ],
)
def test_cron_says_the_next_time(text, after, expected):
    assert read_cron(text).after(datetime.fromisoformat(after)) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *", "has 4 fields"),
        ("60 * * * *", "'60' is no minute"),
        ("* * 0 * *", "'0' is no day"),
        ("* 5-3 * * *", "'5-3' is no hour"),
        ("*/0 * * * *", r"'\*/0' is no minute"),
        ("* * * may-feb *", "'may-feb' is no month"),
        ("* * * * someday", "'someday' is no weekday"),
    ],
)
def test_wrong_times_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_cron(text)


def test_a_time_that_never_comes_is_refused():
    with pytest.raises(InputError, match="there is no such time"):
        read_cron("0 0 31 2 *").after(datetime(2026, 1, 1))


FIELD = st.sampled_from(["*", "*/7", "3", "10-20", "1,5,9"])


@given(
    minute=FIELD,
    hour=FIELD,
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
)
def test_cron_finds_the_first_minute_that_fits(minute, hour, start):
    cron = read_cron(f"{minute} {hour} * * *")
    found = cron.after(start)
    assert found > start
    assert (found.minute in cron.minutes, found.hour in cron.hours) == (True, True)
    probe = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while probe < found:
        assert probe.minute not in cron.minutes or probe.hour not in cron.hours
        probe += timedelta(minutes=1)


class Clock:
    """A time that passes when it is waited for."""

    def __init__(self, until: float) -> None:
        self.now, self.until = 1000.0, until

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now >= self.until


def ran(triggers, until, took=0.0):
    clock, times = Clock(until), []

    def run():
        times.append(clock.now)
        clock.now += took

    repeat(triggers, run, threading.Event(), clock, clock.wait)
    return times


def test_every_so_often_counts_from_beginning_to_beginning():
    assert ran([Every(10)], 1035) == [1000, 1010, 1020, 1030]
    assert ran([Every(10)], 1065, took=12) == [1000, 1020, 1040, 1060]


def test_cron_runs_at_its_times():
    assert [round(each) % 60 for each in ran([At(read_cron("* * * * *"))], 1200)] == [0, 0, 0]


def test_a_run_comes_when_files_change_and_have_settled(tmp_path):
    folder = tmp_path / "data"
    trigger = Watch([str(folder)])
    assert trigger.wait_s(0) == 0
    trigger.ran(0)
    assert trigger.wait_s(1) > 0
    folder.mkdir()
    (folder / "a").write_text("1")
    assert trigger.wait_s(2) > 0, "not before it has settled"
    (folder / "a").write_text("12")
    assert trigger.wait_s(2.9) > 0, "it has changed again"
    assert trigger.wait_s(3.9) == 0
    trigger.ran(4)
    assert trigger.wait_s(5) > 0
    os.utime(folder / "a", (5, 5))
    trigger.wait_s(6)
    assert trigger.wait_s(7) == 0
