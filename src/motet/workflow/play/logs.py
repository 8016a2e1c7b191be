"""What steps print: each into a file of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from motet.workflow.step import current_step

__all__ = ["captured", "log_file"]

_MOST_BYTES = 64 << 20
"""What a step prints beyond this is not kept."""


def log_file(folder: Path, step: str) -> Path:
    """The log of a step, in the folder of logs of a run."""
    return folder / f"{step.replace('/', '.')}.log"


class _Split:
    """A stream that sends what a step prints to the step's log, and all else where it went before."""

    def __init__(self, stream: TextIO, folder: Path) -> None:
        self._stream, self._folder = stream, folder
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        context = current_step()
        if context is None:
            return self._stream.write(text)
        path = log_file(self._folder, context.step)
        with self._lock:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                if file.tell() < _MOST_BYTES:
                    file.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def captured(folder: Path) -> Iterator[None]:
    """Meanwhile, what steps print in this process goes to their logs."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Split(before[0], folder), _Split(before[1], folder)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
