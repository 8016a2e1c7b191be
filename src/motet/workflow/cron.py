"""Times as cron writes them: `MINUTE HOUR DAY MONTH WEEKDAY`, in local time.

A field is `*`, a number, a range `1-5`, a list `1,15`, each with a step `*/10`. Months and weekdays may be named by three
letters; Sunday is 0 or 7. Where both days are given, one of the two is enough, as in every cron. Where the clock is put
forward in spring, a time that it leaves out comes right after; where it is put back, a time that it has twice counts once.
Times whose minute or hour begins with `*` come whenever the clock shows them, as in Debian's cron.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from motet.errors import InputError

__all__ = ["Cron", "read_cron"]

_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = ("minute", "hour", "day", "month", "weekday")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


class _Local(tzinfo):
    """The zone of this machine, as its C library knows it."""

    def utcoffset(self, time: datetime | None) -> timedelta | None:
        if time is None:
            return None
        shown = time.replace(tzinfo=None)
        return shown.replace(fold=0) - datetime.fromtimestamp(shown.timestamp(), UTC).replace(tzinfo=None)

    def fromutc(self, time: datetime) -> datetime:
        return datetime.fromtimestamp(time.replace(tzinfo=UTC).timestamp()).replace(tzinfo=self)

    def tzname(self, time: datetime | None) -> None:
        return None

    def dst(self, time: datetime | None) -> None:
        return None


_LOCAL = _Local()


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is to happen.

    Attributes:
        text: five fields.
    """

    text: str

    @property
    def often(self) -> bool:
        """Whether it comes whenever the clock shows it: its minute or hour begins with `*`."""
        return any(field[0] == "*" for field in self.text.split()[:2])

    def after(self, time: float) -> float:
        """The first time after another one, both in seconds since 1970.

        Raises:
            InputError: when there is none in the next 50 years.
        """
        for found in CronSim(self.text, datetime.fromtimestamp(time, _LOCAL)):
            if found.timestamp() > time:
                return found.timestamp()
        raise _never(self.text)


def read_cron(text: str) -> Cron:
    """Read `MINUTE HOUR DAY MONTH WEEKDAY`, or `@hourly`, `@daily` and the like.

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
    for number, (part, name, (first, last)) in enumerate(zip(parts, _FIELDS, _RANGES, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[number] = part
        if not _is_read(alone):
            raise InputError(
                f"{part!r} is no {name}", where="cron", hint=f"from {first} to {last}: *, 3, 1-5, */10, 1,15"
            )
    if not _is_read(parts):
        raise _never(text)
    return Cron(" ".join(parts))


def _is_read(parts: list[str]) -> bool:
    try:
        CronSim(" ".join(parts), datetime.fromtimestamp(0, UTC))
    except CronSimError:
        return False
    return True


def _never(text: str) -> InputError:
    return InputError(f"{text!r}: there is no such time", where="cron", hint="is the day in that month?")
