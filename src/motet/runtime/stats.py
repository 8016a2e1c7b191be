"""What nodes and models have done."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

__all__ = ["ModelStats", "NodeStats"]


@dataclass
class NodeStats:
    """What a node has done: rows it was given, batches, seconds in it, and rows that failed in it."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0.0
    failed: int = 0


@dataclass
class ModelStats:
    """What a model has done: rows answered, calls made, seconds in them, rows that failed, and how often it was loaded."""

    rows: int = 0
    calls: int = 0
    seconds: float = 0.0
    failed: int = 0
    loads: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, rows: int, calls: int, seconds: float, failed: int) -> None:
        """Count what one batch did."""
        with self.lock:
            self.rows += rows
            self.calls += calls
            self.seconds += seconds
            self.failed += failed
