"""Waiting until something is so: the one place where tests ask again and again."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

EVERY_S = 0.01


def until(holds: Callable[[], Any], timeout_s: float = 60.0, otherwise: Callable[[], object] | str = "") -> Any:
    """What a function gives once that is true; an `OSError` of it, as of a server that is not there yet, is not yet.

    Args:
        otherwise: what is said, with an `AssertionError`, where it does not come about in time.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            if found := holds():
                return found
        except OSError:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, (
            f"it did not come about: {otherwise if isinstance(otherwise, str) else otherwise()}"
        )
        time.sleep(EVERY_S)


async def until_async(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Let the event loop go on until a function gives something true."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.001)
