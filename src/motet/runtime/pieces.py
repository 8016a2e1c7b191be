"""Pieces of texts on their way from the thread that writes them to whoever reads them, as fast as they are read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from motet.runtime.deadline import Halted
from motet.system.patience import check_waited_for

__all__ = ["PieceBuffer"]

MOST_HELD = 1 << 16
"""Letters that wait to be read; beyond it whoever writes waits, too."""
LOOK_S = 0.2
"""How often a writer that waits looks whether somebody still waits for it."""


class PieceBuffer:
    """Pieces that wait, those of one text put together. Any thread may give, one takes.

    Args:
        wake: told that there is something to take, in the thread that gives it; not again before it is taken.
        patience_s: how long nothing may be taken of a buffer that is full; None for any time.
    """

    def __init__(self, wake: Callable[[], object], patience_s: float | None = None) -> None:
        self._wake, self._patience_s = wake, patience_s
        self._waiting: dict[tuple[int, str], list[str]] = {}
        self._held = 0
        self._taken = threading.Condition()

    def give(self, row: int, output: str, piece: str) -> None:
        """Put a piece behind the others; waits while it is full.

        Raises:
            DeadlineError: when nobody reads any more.
        """
        with self._taken:
            self._wait_for_room()
            first = not self._held
            self._held += len(piece)
            self._waiting.setdefault((row, output), []).append(piece)
        if first:
            self._wake()

    def _wait_for_room(self) -> None:
        since = time.monotonic()
        while self._held >= MOST_HELD:
            check_waited_for()
            if self._patience_s is not None and time.monotonic() - since > self._patience_s:
                raise Halted(f"nothing was read for {self._patience_s:g} s")
            self._taken.wait(LOOK_S)

    def take(self) -> list[tuple[int, str, str]]:
        """All that waits: row, output, and the next piece of its text."""
        with self._taken:
            found, self._waiting, self._held = self._waiting, {}, 0
            self._taken.notify_all()
        return [(row, output, "".join(pieces)) for (row, output), pieces in found.items()]
