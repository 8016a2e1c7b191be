"""Calls that wait for other processes or machines, made at the same time from one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["MOST", "side_by_side"]

S = TypeVar("S")
T = TypeVar("T")

MOST = 16
"""Calls of one batch that are under way at the same time."""


def side_by_side(call: Callable[[S], T], parts: Sequence[S], at_once: int) -> list[T]:
    """What a function gives for each part, in their order; as many are under way as there are replicas for them.

    Args:
        call: is called from several threads at the same time.
        parts: what it is called with.
        at_once: how many calls the replicas take together.

    Raises:
        Exception: what the first part raised that failed; calls that were not begun are left out.
    """
    threads = min(len(parts), at_once, MOST)
    if threads < 2:
        return [call(part) for part in parts]
    pool = ThreadPoolExecutor(threads, thread_name_prefix="motet-calls")
    try:
        return [made.result() for made in [pool.submit(call, part) for part in parts]]
    finally:
        pool.shutdown(cancel_futures=True)
