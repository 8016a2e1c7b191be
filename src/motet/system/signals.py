"""Handlers of signals that libraries replace."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_signals"]


@contextmanager
def kept_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Keep what this program does on signals, which libraries replace: clients of clusters, agents of workers.

    Elsewhere than in the main thread nothing is put back: no handler can be set there.

    Args:
        numbers: which; SIGINT and SIGTERM where none is given.
    """
    before = {each: signal.getsignal(each) for each in numbers or (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for each, handler in before.items():
                if handler is not None:  # one that Python has not set, and cannot set again
                    signal.signal(each, handler)
