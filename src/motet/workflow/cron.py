"""Times as cron writes them: `MINUTE HOUR DAY MONTH WEEKDAY`, in local time.

A field is `*`, a number, a range `1-5`, a list `1,15`, each with a step `*/10`. Months and weekdays may be named by three
letters; Sunday is 0 or 7. Where both days are given, one of the two is enough, as in every cron. A time that the clock
leaves out in spring is passed over, one that it has twice in autumn counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from motet.errors import InputError

__all__ = ["Cron", "read_cron"]

_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MOST_YEARS = 9
"""A leap day comes after eight years at the latest."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is to happen.

    Attributes:
        minutes, hours, days, months, weekdays: what each may be; weekdays from Sunday, 0.
        any_day, any_weekday: whether that field says nothing.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def after(self, time: datetime) -> datetime:
        """The first time after another one; both without a time zone, as the clock on the wall shows them."""
        found = (time + timedelta(minutes=1)).replace(second=0, microsecond=0)
        end = time.year + _MOST_YEARS
        while found.year <= end:
            if found.month not in self.months:
                found = (found.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
            elif not self._is_day(found):
                found = found.replace(hour=0, minute=0) + timedelta(days=1)
            elif found.hour not in self.hours:
                found = found.replace(minute=0) + timedelta(hours=1)
            elif found.minute not in self.minutes:
                found += timedelta(minutes=1)
            elif _exists(found):
                return found
            else:
                found += timedelta(minutes=1)
        raise InputError("there is no such time in the next years", where="cron", hint="is the day in that month?")

    def _is_day(self, time: datetime) -> bool:
        day, weekday = time.day in self.days, time.isoweekday() % 7 in self.weekdays
        return (day or weekday) if not self.any_day and not self.any_weekday else (day and weekday)


def read_cron(text: str) -> Cron:
    """Read `MINUTE HOUR DAY MONTH WEEKDAY`, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.

    Raises:
        InputError: names the field that is wrong.
    """
    parts = _NAMES.get(text.strip().lower(), text).split()
    if len(parts) != len(_FIELDS):
        raise InputError(
            f"{text!r} has {len(parts)} fields",
            where="cron",
            hint=f"five: minute hour day month weekday; or one of {', '.join(_NAMES)}",
        )
    found = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    weekdays = frozenset(each % 7 for each in found[4])
    return Cron(found[0], found[1], found[2], found[3], weekdays, parts[2][0] == "*", parts[4][0] == "*")


def _field(text: str, name: str, first: int, last: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and (not step.isdecimal() or int(step) == 0):
            raise _wrong(text, name, first, last)
        low, dash, high = span.partition("-")
        if span == "*":
            begin, end = first, last
        else:
            begin = _number(low, text, name, first, last)
            end = _number(high, text, name, first, last) if dash else last if slash else begin
        if begin > end:
            raise _wrong(text, name, first, last)
        found.update(range(begin, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, whole: str, name: str, first: int, last: int) -> int:
    names = {"month": _MONTHS, "weekday": _DAYS}.get(name, ())
    if text.lower() in names:
        return names.index(text.lower()) + first
    if not text.isdecimal() or not first <= int(text) <= last:
        raise _wrong(whole, name, first, last)
    return int(text)


def _wrong(text: str, name: str, first: int, last: int) -> InputError:
    return InputError(f"{text!r} is no {name}", where="cron", hint=f"from {first} to {last}: *, 3, 1-5, */10, 1,15")


def _exists(time: datetime) -> bool:
    """Whether the clock on the wall shows a time: in spring it leaves some out."""
    try:
        return datetime.fromtimestamp(time.timestamp()) == time
    except (OverflowError, OSError, ValueError):
        return True
