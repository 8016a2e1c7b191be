"""The audit log: who asked what, when, and how much it cost. A line of JSON for each request, in a file that rotates."""

from __future__ import annotations

import logging
import threading
from collections import deque

import msgspec

from motet.errors import GraphError
from motet.serving.config.admission import AuditConfig
from motet.system.incidents import Outage
from motet.system.rotating_file import RotatingFile

__all__ = ["AuditEntry", "AuditLog"]

_LOG = logging.getLogger("motet.serving")
_AT_ONCE = 1000


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request. It never holds a credential.

    Attributes:
        at: when it came, in seconds since 1970.
        name: who asked; empty where no credential held.
        kind: `anonymous`, `key` or `token`; empty where no credential held.
        klass: the caller's class, `class` in the file.
        address: of the client.
        credential: the id of the API key.
        protocol: `http` or `grpc`.
        asked: what was asked, for example `POST /predict/fashion`.
        target: the graph or model.
        version: of it.
        request: the caller's id of the request.
        status: of HTTP; for gRPC the one that stands for its code.
        error: why it was not answered, the class of the error.
        rows: how many it had.
        failed_rows: how many of them were not answered.
        received_bytes: of its body.
        sent_bytes: of the answer's body.
        waited_s: seconds until it was let in.
        queue_s: seconds that its rows waited to be played.
        compute_s: seconds of models and functions that it paid for: its rows' part of its batch.
    """

    at: float
    name: str = ""
    kind: str = ""
    klass: str = msgspec.field(name="class", default="")
    address: str = ""
    credential: str = ""
    protocol: str = "http"
    asked: str = ""
    target: str = ""
    version: str = ""
    request: str = ""
    status: int = 0
    error: str = ""
    rows: int = 0
    failed_rows: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    waited_s: float = 0.0
    queue_s: float = 0.0
    compute_s: float = 0.0


class AuditLog:
    """Writes entries in a thread of its own. Processes may share the file, which rotates.

    Args:
        config: the file, and its bounds.

    Raises:
        GraphError: when the file cannot be written.
    """

    def __init__(self, config: AuditConfig) -> None:
        self._config = config
        self._entries: deque[AuditEntry] = deque()
        self._woken = threading.Condition()
        self._closed = False
        self._outage = Outage(_LOG, "lines", config.file, file=config.file)
        self.num_written = 0
        """Entries of this process in the file."""
        self.num_dropped = 0
        """Entries that were lost because too many waited, or because the file could not be written."""
        self.error: str = ""
        """Why the file could not be written the last time; empty where it could."""
        try:
            self._file = RotatingFile(config.file, config.file_bytes, config.files)
        except OSError as error:
            raise GraphError(
                f"{config.file!r} cannot be written: {error.strerror}", where="admission.audit.file"
            ) from None
        self._thread = threading.Thread(target=self._run, name="motet-audit", daemon=True)
        self._thread.start()

    def write(self, entry: AuditEntry) -> bool:
        """Have an entry written; never waits for the file. Gives False where it had to be dropped."""
        with self._woken:
            if self._closed or len(self._entries) >= self._config.waiting:
                self.num_dropped += 1
                return False
            self._entries.append(entry)
            if len(self._entries) == 1:
                self._woken.notify()
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, and close the file; what has not been written after `timeout_s` is lost."""
        with self._woken:
            self._closed = True
            self._woken.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        encoder, buffer, dropped = msgspec.json.Encoder(), bytearray(), 0
        while entries := self._next():
            buffer.clear()
            lines = 0
            for entry in entries:
                try:
                    buffer += encoder.encode(entry) + b"\n"
                except (ValueError, TypeError):  # a text that is none, such as half of a surrogate pair
                    continue
                lines += 1
            self._lost(len(entries) - lines)
            try:
                self._file.append(bytes(buffer))
            except OSError as error:
                self.error = f"{self._config.file}: {error.strerror}"
                self._outage.out("%s; its lines are dropped", self.error)
                self._lost(lines)
                dropped += lines
            else:
                self.error = ""
                self._outage.back("%s can be written again; %d lines were dropped", self._config.file, dropped)
                dropped = 0
                self.num_written += lines
        self._file.close()

    def _next(self) -> list[AuditEntry]:
        """Entries to write; none when the log is closed and everything has been written."""
        with self._woken:
            while not self._entries and not self._closed:
                self._woken.wait()
            return [self._entries.popleft() for _ in range(min(len(self._entries), _AT_ONCE))]

    def _lost(self, entries: int) -> None:
        with self._woken:
            self.num_dropped += entries
