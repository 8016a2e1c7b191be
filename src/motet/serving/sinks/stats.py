"""What became of records, counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

__all__ = ["SinkStats"]


@dataclass
class SinkStats:
    """What became of the records of one sink in this process; any thread may add.

    Attributes:
        written: are where they belong; those of another process that died are counted too.
        dropped: are lost: the buffer or the spool was full.
        spooled: went to the spool, since they could not be written in time.
        rejected: cannot be written, and are in the file of rejected records with the reason.
        retried: writes that were tried again.
    """

    written: int = 0
    dropped: int = 0
    spooled: int = 0
    rejected: int = 0
    retried: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, name: str, number: int) -> None:
        """Count up."""
        with self._lock:
            setattr(self, name, getattr(self, name) + number)
