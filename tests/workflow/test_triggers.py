"""When workflows run again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import InputError
from motet.workflow.cron import read_cron
from motet.workflow.triggers import At, Every, FileWatch, fingerprint, repeat


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets the zone of this machine."""

    def put(name: Any) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


def following(text: Any, after: Any, count: Any = 1) -> Any:
    """The next times, as the clock on the wall shows them."""
    cron, stamp, found = read_cron(text), datetime.fromisoformat(after).timestamp(), []
    for _ in range(count):
        stamp = cron.after(stamp)
        found.append(f"{datetime.fromtimestamp(stamp):%Y-%m-%d %H:%M}")
    return found


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
def test_cron_says_the_next_time(text: str, after: str, expected: str) -> None:
    assert following(text, after) == [expected]


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
def test_wrong_times_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_cron(text)


def test_a_time_that_never_comes_is_refused() -> None:
    with pytest.raises(InputError, match="there is no such time"):
        read_cron("0 0 31 2 *")


@pytest.mark.parametrize(
    ("name", "text", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28 00:00", ["03-28 02:30", "03-29 03:00", "03-30 02:30"]),
        ("Europe/Berlin", "0 2 * * *", "2026-03-28 12:00", ["03-29 03:00", "03-30 02:00"]),
        ("Europe/Berlin", "15,45 2 * * sun", "2026-03-28 12:00", ["03-29 03:00", "04-05 02:15", "04-05 02:45"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24 12:00", ["10-25 02:30", "10-26 02:30"]),
        ("Europe/Berlin", "*/30 * * * *", "2026-03-29 01:10", ["03-29 01:30", "03-29 03:00", "03-29 03:30"]),
        (
            "Europe/Berlin",
            "*/30 * * * *",
            "2026-10-25 01:40",
            ["10-25 02:00", "10-25 02:30", "10-25 02:00", "10-25 02:30", "10-25 03:00"],
        ),
        ("America/New_York", "@daily", "2026-03-08 12:00", ["03-09 00:00", "03-10 00:00"]),
        ("America/Santiago", "0 0 * * *", "2026-09-05 12:00", ["09-06 01:00", "09-07 00:00"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00", ["10-04 02:30", "10-05 02:15"]),
        ("Asia/Kolkata", "0 9 * * *", "2026-10-25 12:00", ["10-26 09:00"]),
    ],
)
def test_nothing_is_left_out_or_done_twice_where_the_clock_is_put_on_or_back(
    zone: Any, name: str, text: str, after: str, expected: Any
) -> None:
    """Times by hand from the rules of Debian's cron and the days of the tz database."""
    zone(name)
    assert following(text, after, len(expected)) == [f"2026-{each}" for each in expected]


def test_half_hours_are_half_an_hour_apart_all_year(zone: Any) -> None:
    zone("Europe/Berlin")
    cron, stamp = read_cron("*/30 * * * *"), datetime(2026, 10, 24).timestamp()
    for _ in range(100):
        assert cron.after(stamp) - stamp == 1800
        stamp += 1800


def test_in_the_hour_that_comes_twice_a_time_of_the_first_is_past(zone: Any) -> None:
    zone("Europe/Berlin")
    second = datetime(2026, 10, 25, 2, 15, fold=1).timestamp()
    assert datetime.fromtimestamp(read_cron("30 2 * * *").after(second)) == datetime(2026, 10, 26, 2, 30)


VALUES = {"*": range(60), "*/7": range(0, 60, 7), "3": [3], "10-20": range(10, 21), "1,5,9": [1, 5, 9]}
FIELD = st.sampled_from(list(VALUES))


@given(
    minute=FIELD,
    hour=FIELD,
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
)
def test_cron_finds_the_first_minute_that_fits(minute: Any, hour: Any, start: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        found = datetime.fromtimestamp(read_cron(f"{minute} {hour} * * *").after(start.timestamp()))
    time.tzset()
    assert found > start
    assert (found.minute in VALUES[minute], found.hour in VALUES[hour]) == (True, True)
    probe = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while probe < found:
        assert probe.minute not in VALUES[minute] or probe.hour not in VALUES[hour]
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


def ran(triggers: Any, until: Any, took: float = 0.0) -> Any:
    clock, times = Clock(until), []

    def run() -> None:
        times.append(clock.now)
        clock.now += took

    repeat(triggers, run, threading.Event(), clock, clock.wait)
    return times


def test_every_so_often_counts_from_beginning_to_beginning() -> None:
    assert ran([Every(10)], 1035) == [1000, 1010, 1020, 1030]
    assert ran([Every(10)], 1065, took=12) == [1000, 1020, 1040, 1060]


class Wall(Clock):
    """The clock on the wall, which is set at some times of the one that is never set."""

    def __init__(self, set_by: dict[float, float], steady: Clock) -> None:
        self.set_by, self.steady = set_by, steady

    def __call__(self) -> float:
        return self.steady.now + sum(by for at, by in self.set_by.items() if self.steady.now >= at)


def ran_at(text: Any, until: Any, set_by: Any) -> Any:
    """The times of the clock that is never set at which runs begin, in minutes from the first."""
    steady, times = Clock(until), []
    steady.now = 0.0
    trigger = At(read_cron(text), Wall(set_by, steady))
    repeat([trigger], lambda: times.append(steady.now / 60), threading.Event(), steady, steady.wait)
    return times


@pytest.mark.parametrize(
    ("text", "set_by", "expected"),
    [
        ("*/10 * * * *", {}, [10, 20, 30, 40, 50]),
        ("*/10 * * * *", {1500: -7200}, [10, 20, 30, 40, 50]),
        ("*/10 * * * *", {1500: -86400}, [10, 20, 30, 40, 50]),
        ("*/10 * * * *", {1201: -2}, [10, 20, 30 + 2 / 60, 40 + 2 / 60, 50 + 2 / 60]),
        ("*/10 * * * *", {1500: 7200}, [10, 20, 25, 30, 40, 50]),
        ("20 0-3 * * *", {1500: -600}, [20]),
        ("20 0-3 * * *", {1500: 7200}, [20, 25]),
        ("20 0-23 * * *", {1500: -4 * 3600}, [20]),
        ("40 0-23 * * *", {2700: -4 * 3600 - 600}, [40, 50]),
    ],
)
def test_cron_runs_at_its_times_and_keeps_its_head_where_the_clock_is_set(
    zone: Any, text: str, set_by: Any, expected: Any
) -> None:
    zone("UTC")
    assert ran_at(text, 3500, set_by) == pytest.approx(expected)


def test_every_so_often_and_changes_of_files_do_not_look_at_the_clock_on_the_wall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: pytest.fail("it looks at the clock"))
    assert ran([Every(10), FileWatch([str(tmp_path)])], 1035) == [1000, 1010, 1020, 1030]


def test_a_run_comes_when_files_change_and_have_settled(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    trigger = FileWatch([str(folder)])
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


def test_what_links_in_a_folder_lead_to_is_watched_too(tmp_path: Path) -> None:
    for each in ("data", "far/below"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "data" / "link").symlink_to("../far")
    found = [fingerprint([str(tmp_path / "data")])]
    for change in (
        lambda: (tmp_path / "far" / "below" / "a").write_text("1"),
        lambda: (tmp_path / "far" / "below" / "a").write_text("12"),
        lambda: (tmp_path / "far" / "empty").mkdir(),
        lambda: (tmp_path / "data" / "link").unlink(),
    ):
        change()
        found.append(fingerprint([str(tmp_path / "data")]))
    assert len({*found}) == len(found)
    (tmp_path / "data" / "round").symlink_to("../data")
    for one in range(30):  # as packages that need each other
        (tmp_path / "data" / f"{one}").mkdir()
        for other in range(30):
            (tmp_path / "data" / f"{one}" / f"{other}").symlink_to(f"../{other}")
    (tmp_path / "data" / "itself").symlink_to("itself")
    (tmp_path / "data" / "a").write_text("1")
    found = [fingerprint([str(tmp_path / "data")])]
    (tmp_path / "data" / "a").write_text("12")
    assert fingerprint([str(tmp_path / "data")]) not in found
