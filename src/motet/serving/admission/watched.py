"""A file that is read again when it changes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from motet.errors import GraphError, NotReadyError
from motet.system.incidents import Outage

__all__ = ["CHECK_S", "Watched"]

_LOG = logging.getLogger("motet.serving")
T = TypeVar("T")
CHECK_S = 0.5
"""Seconds between two looks at the file."""
_Stamp = tuple[int, int, int, int]
_UNSURE_NS = 1_000_000_000
"""A file that was changed less than this before it was read may change again without its stamp telling so."""


class Watched(Generic[T]):
    """What a file says, as it is now or was half a second ago.

    A look at an unchanged file costs one `stat`. A file that cannot be read any more, or is not there, lets nobody in: what
    it said before might have been revoked since. The log says so once, and when it can be read again.

    Args:
        path: the file.
        read: what its bytes mean; may raise GraphError.
        missing: what a missing file means; None where it is an error.
        clock: seconds that only go up.

    Raises:
        GraphError: when the file cannot be read at first.
    """

    def __init__(
        self, path: str, read: Callable[[bytes, str], T], *, missing: T | None, clock: Callable[[], float]
    ) -> None:
        self.path, self._read, self._missing, self._clock = path, read, missing, clock
        self._stamp: _Stamp | None = None
        self._value: T | None = None
        self._error: GraphError | None = None
        self._outage = Outage(_LOG, "credentials", path)
        self._next = clock() + CHECK_S
        self.num_reads = 0
        """How often it was read: tells whether what was derived from it still holds."""
        self._load()
        if self._error is not None:
            raise self._error

    def get(self) -> T:
        """What the file says.

        Raises:
            NotReadyError: when it cannot be read now.
        """
        now = self._clock()
        if now >= self._next:
            self._next = now + CHECK_S
            if self._error is not None or self._stamp is None or self._stamp != self._look():
                self._load()
        if self._error is not None or self._value is None:
            raise NotReadyError("credentials cannot be checked now", retry_after_s=1.0)
        return self._value

    @property
    def error(self) -> GraphError | None:
        """Why the file cannot be read now; None where it can."""
        return self._error

    def _look(self) -> _Stamp | None:
        try:
            return _stamp(os.stat(self.path))
        except OSError:
            return None

    def _load(self) -> None:
        self.num_reads += 1
        trouble, self._error, self._value, self._stamp = "", None, None, None
        try:
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
                self._value = self._read(file.read(), self.path)
            self._stamp = _stamp(found)
        except FileNotFoundError as error:
            trouble = f"{self.path!r} does not exist"
            self._value = self._missing
            if self._missing is None:
                self._error = GraphError(f"{self.path!r} does not exist: {error.strerror}")
        except OSError as error:
            self._error = GraphError(f"{self.path!r} cannot be read: {error.strerror}")
        except GraphError as error:
            self._error = error
        self._say(trouble if self._error is None else str(self._error))

    def _say(self, trouble: str) -> None:
        """Log what is the matter with the file, where that is new."""
        if trouble:
            self._outage.out("%s: no credential holds that it has to confirm", trouble)
        else:
            self._outage.back("%r can be read again", self.path)


def _stamp(found: os.stat_result) -> _Stamp | None:
    changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
    if abs(time.time_ns() - changed_ns) < _UNSURE_NS:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
