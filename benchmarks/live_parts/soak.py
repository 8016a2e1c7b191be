"""Many requests, and the memory of the server meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.live_parts.load import drive, driver
from benchmarks.live_parts.servers import rss_bytes

__all__ = ["Sample", "growth", "soak"]

PART_S: Final = 5.0
"""How long the server is driven between two looks at its memory."""
WARM_PART: Final = 0.05
"""The part of the requests after which memory counts."""


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        requests: answered so far.
        errors: requests without a good answer so far.
        seconds: since the beginning.
        rss_bytes: resident memory of all the server's processes.
    """

    requests: int
    errors: int
    seconds: float
    rss_bytes: int


def soak(
    port: int,
    pid: int,
    files: Sequence[str],
    connections: int,
    requests: int,
    max_seconds: float,
    folder: Path,
    look: Callable[[int], int] = rss_bytes,
) -> Iterator[Sample]:
    """Drive a server until it has answered so many requests, or the time is up; a sample after each part.

    Args:
        port: where it listens on loopback.
        pid: its first process.
        files: requests, sent in turn.
        connections: at once.
        requests: how many.
        max_seconds: the most that it may take, give or take a part.
        folder: for files.
        look: gives the memory of a process and its descendants, in bytes.
    """
    begun, answered, errors = time.monotonic(), 0, 0
    while answered < requests and time.monotonic() - begun < max_seconds:
        driven = drive(port, files, connections, PART_S, folder, driver())
        answered, errors = answered + driven.requests, errors + driven.errors
        yield Sample(answered, errors, time.monotonic() - begun, look(pid))
        if not driven.requests:
            return


def growth(samples: Sequence[Sample]) -> float | None:
    """How much memory grew, as a part of what it was when warm; None for fewer than two samples after that.

    Warm is the first sample after a twentieth of the requests; the end is the last.
    """
    warm = [sample for sample in samples if sample.requests >= samples[-1].requests * WARM_PART]
    if len(warm) < 2 or not warm[0].rss_bytes:
        return None
    return warm[-1].rss_bytes / warm[0].rss_bytes - 1
