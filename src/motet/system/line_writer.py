"""Files of lines, written by one thread: the event loop never waits for a disk. Processes may share a file, which rotates."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from motet.errors import GraphError
from motet.system.incidents import Outage
from motet.system.rotating_file import RotatingFile, write_all

__all__ = ["STDERR", "LineFile", "LineWriter", "Lines"]

_LOG = logging.getLogger("motet.serving")
LINGER_S = 0.05
"""How long the thread lets lines come together after the first one."""
AT_ONCE = 1000
"""Lines of one write."""
STDERR = "stderr"
"""Stands for the standard error stream where a path would."""


class LineFile(Protocol):
    """A file of lines as it is configured: its path, and how long, how many and how far behind they may be."""

    @property
    def file(self) -> str: ...  # noqa: D102
    @property
    def file_bytes(self) -> int: ...  # noqa: D102
    @property
    def files(self) -> int: ...  # noqa: D102
    @property
    def waiting(self) -> int: ...  # noqa: D102


class Lines:
    """One file of lines. Any thread may put.

    Args:
        config: the file and its bounds.
        encode: makes the bytes of a line of what was put, in the writer's thread.
        woken: is set when there is something to write.
        where: what is configured, for messages.
        notes: whether a line says how many were dropped before it.

    Attributes:
        num_written: lines of this process in the file.
        num_dropped: lines that were lost, because too many waited or the file could not be written.
        error: why it could not be written the last time; empty where it could.
        closed: whether nothing more is taken.

    Raises:
        GraphError: when the file cannot be written.
    """

    def __init__(
        self,
        config: LineFile,
        encode: Callable[[Any], bytes],
        woken: threading.Event,
        where: str = "observability.access_log",
        *,
        notes: bool = True,
    ) -> None:
        self._config, self._encode, self._woken, self._notes = config, encode, woken, notes
        self.error, self.closed = "", False
        self._waiting: deque[Any] = deque()
        self._outage = Outage(_LOG, "lines", config.file, file=config.file)
        self._lost = 0
        self.num_written = self.num_dropped = self._told = 0
        self._file: RotatingFile | None = None
        if config.file == STDERR:
            return
        try:
            self._file = RotatingFile(config.file, config.file_bytes, config.files)
        except OSError as error:
            raise GraphError(f"{config.file!r} cannot be written: {error.strerror}", where=where) from error

    def put(self, record: Any) -> bool:
        """Have a line written; False where it was dropped."""
        if self.closed or len(self._waiting) >= self._config.waiting:
            self.num_dropped += 1
            return False
        self._waiting.append(record)
        if not self._woken.is_set():
            self._woken.set()
        return True

    def flush(self) -> bool:
        """Write some of what waits, in the writer's thread; whether there may be more."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
        dropped = self.num_dropped - self._told if self._notes else 0
        if not taken and not dropped:
            return False
        lines = [line for record in taken if (line := self._line(record))]
        data, written = b"".join(lines), len(lines)
        if dropped:
            self._told += dropped
            data += msgspec.json.encode({"time": time.time(), "dropped": dropped}) + b"\n"
        try:
            self._append(data)
        except OSError as error:
            self.num_dropped += written
            self._lost += written
            self.error = f"{self._config.file} cannot be written: {error.strerror}"
            self._outage.out("%s; its lines are dropped", self.error)
        else:
            self._outage.back("%s can be written again; %d lines were dropped", self._config.file, self._lost)
            self.error, self._lost = "", 0
            self.num_written += written
        return bool(self._waiting) and not self._outage.is_out

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    def _line(self, record: Any) -> bytes:
        try:
            return self._encode(record) + b"\n"
        except (ValueError, TypeError):  # a text that is none, such as half of a surrogate pair
            self.num_dropped += 1
            return b""

    def _append(self, data: bytes) -> None:
        if self._file is None:
            write_all(2, data)
        else:
            self._file.append(data)


class LineWriter:
    """The thread that writes the logs of a process. It is started with the first file.

    Args:
        linger_s: how long it lets lines come together after the first one.
    """

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self._linger_s = linger_s
        self._woken, self._closing = threading.Event(), threading.Event()
        self._lines: list[Lines] = []
        self._thread = threading.Thread(target=self._run, name="motet-logs", daemon=True)

    def open(self, config: LineFile, encode: Callable[[Any], bytes] = msgspec.json.encode, **more: Any) -> Lines:
        """A file of lines; `config.waiting` bounds its memory. `more` is `where` and `notes` of `Lines`.

        Raises:
            GraphError: when it cannot be written.
        """
        lines = Lines(config, encode, self._woken, **more)
        self._lines.append(lines)
        if not self._thread.is_alive():
            self._thread.start()
        return lines

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for at most this time; nothing is taken later."""
        for lines in self._lines:
            lines.closed = True
        self._closing.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._woken.wait()
            self._closing.wait(self._linger_s)
            self._woken.clear()
            self._flush()
        self._flush()  # what came meanwhile
        for lines in self._lines:
            lines.close()

    def _flush(self) -> None:
        while any(lines.flush() for lines in self._lines):
            continue
