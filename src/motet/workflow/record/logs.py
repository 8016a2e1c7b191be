"""What steps print: each into a file of its own."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from motet.locks import new_lock
from motet.system.places import file_name
from motet.workflow.step import current_step

__all__ = ["Lenient", "captured", "log_file", "log_size", "log_tail"]

_MOST_BYTES = 64 << 20
"""What a step prints beyond this is not kept."""
_MOST_OPEN = 32
_TAIL_BYTES = 1 << 20


def log_file(folder: Path, step: str) -> Path:
    """The log of a step, in the folder of logs of a run."""
    return folder / f"{file_name(step)}.log"


def log_size(folder: Path, step: str) -> int:
    """How many bytes a step has printed."""
    with suppress(FileNotFoundError):
        return log_file(folder, step).stat().st_size
    return 0


def log_tail(folder: Path, step: str) -> str:
    """What a step has printed, of a long log its last MiB; empty where it has printed nothing."""
    try:
        with log_file(folder, step).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


class _Logs:
    """The logs of the steps of a run, of which the last 32 that were written to stay open. For all threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: OrderedDict[str, TextIO] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, step: str, text: str) -> None:
        """Add to a step's log; each line that is whole is in the file at once."""
        with self._lock, suppress(OSError):  # a full disk fails no step
            file = self._files.get(step) or self._open(step)
            self._files.move_to_end(step)
            if file.tell() < _MOST_BYTES:
                file.write(text)

    def _open(self, step: str) -> TextIO:
        path = log_file(self._folder, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        while len(self._files) >= _MOST_OPEN:
            self._files.popitem(last=False)[1].close()
        file = self._files[step] = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        return file

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            while self._files:
                with suppress(OSError):
                    self._files.popitem()[1].close()


class Lenient:
    """A stream to a log that drops what there is no room for, and what is not kept: a full disk fails no step that prints."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, as far as there is room."""
        with suppress(OSError):
            if os.fstat(self._stream.fileno()).st_size < _MOST_BYTES:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush it, as far as there is room."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_logs: dict[str, _Logs] = {}
"""The logs of the runs of this process that are captured, by run."""
_guard = new_lock()


class _Split:
    """A stream that sends what steps of captured runs print to their logs, and all else where it went before."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        context = current_step()
        logs = None if context is None else _logs.get(context.run)
        if context is None or logs is None:
            return self.stream.write(text)
        logs.write(context.step, text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def captured(folder: Path, run: str) -> Iterator[None]:
    """Meanwhile, what steps of a run print in this process goes to their logs. Any number of runs may be captured at once."""
    with _guard:
        if not _logs:
            sys.stdout, sys.stderr = _Split(sys.stdout), _Split(sys.stderr)
        logs = _logs[run] = _Logs(folder)
    try:
        yield
    finally:
        with _guard:
            del _logs[run]
            if not _logs:
                sys.stdout, sys.stderr = (
                    each.stream if isinstance(each, _Split) else each for each in (sys.stdout, sys.stderr)
                )
        logs.close()
