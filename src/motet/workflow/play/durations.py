"""Numbers and times in words."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["apart", "told", "told_s"]

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def told_s(seconds: float, digits: int = 3) -> str:
    """A time in words: `12 s`, `3.5 min`, `2.1 h`, `14 d`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.{digits}g} {unit}"
    return f"{seconds:.{digits}g} s"


def told(number: float, digits: int = 6) -> str:
    """A number in as many digits as are wanted."""
    return f"{number:.{digits}g}"


def apart(one: float, other: float, say: Callable[[float, int], str] = told, digits: int = 3) -> tuple[str, str]:
    """Two numbers in as many digits, from some on, as tell them apart, if they differ."""
    texts = [(say(one, count), say(other, count)) for count in range(digits, 18)]
    return next((each for each in texts if one == other or each[0] != each[1]), texts[-1])
