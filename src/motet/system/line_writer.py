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
STDERR = "stderr"
"""The name of the standard error stream."""
AT_ONCE = 1000
"""Lines of one write."""


class LineFile(Protocol):
    """A file of lines, and its bounds."""

    @property
    def file(self) -> str:
        """Its path; `stderr` for the standard error stream."""
        ...

    @property
    def file_bytes(self) -> int:
        """When it is this long it is put aside."""
        ...

    @property
    def files(self) -> int:
        """How many there are at most, the one that is written among them."""
        ...

    @property
    def waiting(self) -> int:
        """Lines that may wait to be written; beyond it they are dropped, and counted."""
        ...


class Lines:
    """What waits to be written to one file of lines. Any thread may put.

    Args:
        config: the file and its bounds.
        encode: makes the bytes of a line of what was put, in the thread that writes.
        where: the key that names the file, for messages.

    Attributes:
        num_written: lines of this process in the file.
        num_dropped: lines that were lost, because too many waited or the file could not be written.

    Raises:
        GraphError: when the file cannot be written.
    """

    def __init__(self, config: LineFile, encode: Callable[[Any], bytes], *, where: str) -> None:
        self._config, self._encode, self._woken = config, encode, threading.Event()
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
        if len(self._waiting) >= self._config.waiting:
            self.num_dropped += 1
            return False
        self._waiting.append(record)
        if not self._woken.is_set():
            self._woken.set()
        return True

    def flush(self) -> bool:
        """Write some of what waits; whether there may be more."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
        dropped = self.num_dropped - self._told
        if not taken and not dropped:
            return False
        lines = [line for line in map(self._line, taken) if line]
        data = b"".join(lines)
        if dropped:
            self._told += dropped
            data += msgspec.json.encode({"time": time.time(), "dropped": dropped}) + b"\n"
        try:
            self._append(data)
        except OSError as error:
            self.num_dropped += len(lines)
            self._lost += len(lines)
            self._outage.out("%s cannot be written: %s; its lines are dropped", self._config.file, error.strerror)
        else:
            self._outage.back("%s can be written again; %d lines were dropped", self._config.file, self._lost)
            self._lost = 0
            self.num_written += len(lines)
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


class LineWriter(Lines):
    """A file of lines, and the thread that writes it."""

    def __init__(self, config: LineFile, encode: Callable[[Any], bytes] = msgspec.json.encode, *, where: str) -> None:
        super().__init__(config, encode, where=where)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="motet-log", daemon=True)
        self._thread.start()

    def put(self, record: Any) -> bool:
        """Have a line written, before it is closed; never waits for the file. False where it was dropped."""
        if self._closing.is_set():
            self.num_dropped += 1
            return False
        return super().put(record)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for at most this time, and give the file back."""
        self._closing.set()
        self._woken.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._woken.wait()
            self._closing.wait(LINGER_S)
            self._woken.clear()
            closing = self._closing.is_set()  # not before: what wakes for the end is cleared no more
            while self.flush():
                continue
        super().close()
