"""Which of the graphs of a process are being asked: a batch may hold the loop for longer where nobody asks for another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motet.serving.batching.graph_batcher import GraphBatcher

__all__ = ["ActiveGraphs"]

MIXED_S = 1.0
"""How long batchers count as being asked at the same time after two of them were, one after the other."""


class ActiveGraphs:
    """Which of the batchers of a process are being asked.

    Attributes:
        last: the batcher that was asked last.
        mixed_until: until when several count as being asked, on the clock `time.monotonic`.
    """

    __slots__ = ("last", "mixed_until")

    def __init__(self) -> None:
        self.last: GraphBatcher | None = None
        self.mixed_until = 0.0

    def asked(self, batcher: GraphBatcher, now: float) -> None:
        """Another batcher than the last one is asked."""
        if self.last is not None:
            self.mixed_until = now + MIXED_S
        self.last = batcher
