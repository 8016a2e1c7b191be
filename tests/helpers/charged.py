"""Models that keep what they were asked, as whoever is paid by the row does."""

import threading
from typing import Any

import numpy as np

bills: list[list[float]] = []
"""The rows of each call."""
_lock = threading.Lock()


def asked() -> list[float]:
    """All rows that were asked for, in order of their numbers."""
    return sorted(row for call in bills for row in call)


def doubled(x: Any) -> Any:
    """Twice each number; refuses calls in which one is negative."""
    with _lock:
        bills.append(x.tolist())
    if (x < 0).any():
        raise ValueError("no negative numbers")
    return np.asarray(x) * 2


class Down:
    """Cannot be reached."""

    def __init__(self, error: str, status: int = 0) -> None:
        self.error, self.status = error, status

    def __call__(self, x: Any) -> Any:
        bills.append(x.tolist())
        made: Exception = {"connection": ConnectionError, "timeout": TimeoutError}.get(self.error, StatusError)("gone")
        made.__dict__.update(status_code=self.status) if self.status else None
        raise made


class StatusError(Exception):
    """As clients of HTTP raise it."""
