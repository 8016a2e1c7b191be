"""Calls of a server that are made again where it could not be reached, within a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from motet.errors import RunError
from motet.tracebacks import summary

__all__ = ["TRIES", "tried"]

T = TypeVar("T")
TRIES, FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 0.2, 4.0


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
    pause_s = FIRST_PAUSE_S
    for left in range(TRIES - 1, -1, -1):
        try:
            return call()
        except Exception as error:
            if not passes(error):
                raise
            if not left:
                what = f"cannot be reached, after {TRIES} tries: {summary(error)}"
                raise RunError(
                    what, where=where, hint="see that it runs; --resume goes on with what is finished"
                ) from error
        pause(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    raise AssertionError("not reached")
