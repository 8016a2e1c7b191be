"""Incidents are said and counted, in a bounded number of lines."""

import logging
from typing import Any

import pytest

from motet.system.incidents import KINDS, MOST, MOST_KNOWN, PERIOD_S, Incidents, Outage

LOG = logging.getLogger("motet.serving")


class Ticks:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> Any:
        return self.now


@pytest.fixture
def ticks() -> Any:
    return Ticks()


def test_a_minute_has_ten_lines_of_a_kind_about_one_thing_and_says_how_many_more_there_were(
    ticks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    incidents, counts = Incidents(ticks), []
    incidents.counters.append(counts.append)
    for number in range(MOST + 7):
        incidents.say(LOG, "sink_lost", "sink %s: %d", "a", number, of="a", sink="a", records=number)
    incidents.say(LOG, "sink_lost", "sink b", of="b")
    assert caplog.messages == [*(f"sink a: {number}" for number in range(MOST)), "sink b"]
    assert {each.incident for each in caplog.records} == {"sink_lost"}  # type: ignore[attr-defined]
    assert caplog.records[3].fields == {"sink": "a", "records": 3}  # type: ignore[attr-defined]
    assert counts == ["sink_lost"] * (MOST + 8)
    caplog.clear()
    incidents.tell_rest()
    assert not caplog.messages
    ticks.now += PERIOD_S
    incidents.tell_rest()
    assert caplog.messages == ["7 more lines of sink_lost about a were left out in 60 s"]
    incidents.say(LOG, "sink_lost", "again", of="a")
    assert caplog.messages[1:] == ["again"]


def test_the_rest_of_a_minute_is_told_by_the_next_line_where_nobody_looks(
    ticks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    incidents = Incidents(ticks)
    for _ in range(MOST + 1):
        incidents.say(LOG, "sink_lost", "lost", of="a")
    ticks.now += 2 * PERIOD_S
    incidents.say(LOG, "sink_lost", "lost", of="a")
    assert caplog.messages[MOST:] == ["1 more lines of sink_lost about a were left out in 120 s", "lost"]


def test_a_counter_may_say_another_one(ticks: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As garbage does whose end is logged, which is collected in the middle of any line."""
    incidents = Incidents(ticks)
    incidents.counters.append(lambda kind: kind == "sink_lost" and incidents.say(LOG, "sink_rejected", "within"))
    incidents.say(LOG, "sink_lost", "lost")
    assert caplog.messages == ["within", "lost"]


def test_what_is_told_apart_is_bounded(ticks: Any) -> None:
    incidents = Incidents(ticks)
    told = sum(incidents.lets("request_failed", str(number)) for number in range(5 * MOST_KNOWN))
    assert told == MOST_KNOWN + MOST
    assert len(incidents._known) == MOST_KNOWN + 1


def test_lines_that_nobody_wants_are_counted_all_the_same(ticks: Any, caplog: pytest.LogCaptureFixture) -> None:
    incidents, counts = Incidents(ticks), []
    incidents.counters.append(counts.append)
    with caplog.at_level(logging.ERROR, "motet.serving"):
        incidents.say(LOG, "replica_lost", "lost")
    assert not caplog.messages
    assert counts == ["replica_lost"]


def test_an_outage_is_said_when_it_begins_and_when_it_ends(ticks: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "motet.serving")
    outage = Outage(LOG, "sink", "a", ticks=ticks, sink="a")
    outage.back("never gone")
    for _ in range(3):
        outage.out("gone: %s", "why")
        assert outage.is_out
        ticks.now += 2
    outage.back("there, %d", 3)
    outage.back("there")
    assert [(each.incident, each.getMessage()) for each in caplog.records] == [  # type: ignore[attr-defined]
        ("sink_out", "gone: why"),
        ("sink_back", "there, 3, after 6.0 s"),
    ]
    assert not outage.is_out


def test_every_outage_has_a_kind_for_its_end() -> None:
    assert all(f"{name.removesuffix('_out')}_back" in KINDS for name in KINDS if name.endswith("_out"))
