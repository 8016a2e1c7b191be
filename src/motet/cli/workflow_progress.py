"""Progress of a workflow: a line for each step that did something, and on a terminal what is running."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from motet.system.progress_log import Ticker

__all__ = ["Progress"]

MOST_LINES = 200
"""Of a larger workflow only failures have lines of their own."""
MOST_WIDTH = 40
"""Longer names of steps push aside what is told of them."""
_ENDED = ("done", "hit", "resumed", "left out", "failed", "skipped", "cancelled")


class Progress:
    """Told each change of a step's state, from any thread.

    Args:
        steps: the names of the workflow's steps.
        quiet: whether nothing is shown.
        stream: where lines go.
    """

    def __init__(self, steps: Collection[str], quiet: bool, stream: TextIO) -> None:
        num_steps = len(steps)
        self._num_steps, self._lines, self._quiet = num_steps, num_steps <= MOST_LINES, quiet
        self._width = min(max(map(len, steps), default=0), MOST_WIDTH)
        self._began = time.monotonic()
        self._running: dict[str, None] = {}
        self._ended: set[str] = set()
        self._lock = threading.Lock()
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._ticker: Ticker | None = None
        if not quiet and self._console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[running]}"), TimeElapsedColumn())
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=num_steps, running="")
        elif not quiet:
            self._ticker = Ticker(self._now)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        if self._ticker is not None:
            self._ticker.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._ticker is not None:
            self._ticker.__exit__(*error)

    def __call__(self, state: Any) -> None:
        """A step has changed its state."""
        if self._quiet:
            return
        with self._lock:
            if state.state == "running":
                self._running[state.id] = None
            else:
                self._running.pop(state.id, None)
            if state.state in _ENDED:
                self._ended.add(state.id)
            if self._bar is not None:
                self._bar.update(self._task, completed=len(self._ended), running=self._names())
            if state.state != "running" and (state.state == "failed" or self._lines):
                self._line(state)

    def _names(self) -> str:
        return ", ".join(list(self._running)[:4]) + (", ..." if len(self._running) > 4 else "")

    def _now(self) -> str:
        with self._lock:
            return f"{len(self._ended):,} of {self._num_steps:,} steps; running: {self._names() or 'none'}"

    def _line(self, state: Any) -> None:
        took = f"{state.seconds:.2f} s" if state.state in ("done", "failed", "waiting") else ""
        told = {"waiting": f"has run {state.runs} times" if state.runs else "will be tried again"}.get(
            state.state, state.state
        )
        since = time.monotonic() - self._began
        self._console.print(f"{since:8.2f} s  {state.id:{self._width}}  {told:8}  {took}".rstrip(), markup=False)
