"""Calls of a server that are made again where it could not be reached, within a bound."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from motet.errors import RunError
from motet.tracebacks import summary

__all__ = ["TRIES", "pauses", "tried"]

T = TypeVar("T")
TRIES, FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 0.2, 4.0


def pauses() -> Iterator[float]:
    """The seconds before each try behind the first one: they double, up to a longest one.

    Each is up to a half shorter, by chance, so that those that were refused together do not come together again.
    """
    for place in range(TRIES - 1):
        yield min(FIRST_PAUSE_S * 2**place, LONGEST_PAUSE_S) * random.uniform(0.5, 1)


def tried(
    call: Callable[[], T], passes: Callable[[Exception], bool], where: str, pause: Callable[[float], None] = time.sleep
) -> T:
    """What a call gives; made again after a pause, which doubles, at most `TRIES` times in all.

    Args:
        call: may be made again, whatever became of it before.
        passes: whether an error may be over by then.
        where: what is called, for messages.
        pause: waits so many seconds.

    Raises:
        RunError: when it fails each time.
        Exception: what the call raises that does not pass.
    """
    waits = pauses()
    while True:
        try:
            return call()
        except Exception as error:
            if not passes(error):
                raise
            wait_s = next(waits, None)
            if wait_s is None:
                what = f"cannot be reached, after {TRIES} tries: {summary(error)}"
                raise RunError(
                    what, where=where, hint="see that it runs; --resume goes on with what is finished"
                ) from error
        pause(wait_s)
