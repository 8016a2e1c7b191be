"""The access log: a line of JSON for each request."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from motet.serving.config.observability import LogConfig
from motet.system.line_writer import LineWriter

__all__ = ["Access", "access_log"]

LONGEST = 2048
"""Characters of an address that are kept."""


class Access(msgspec.Struct, omit_defaults=True):
    """One request. Fields that say nothing are left out of its line.

    Attributes:
        time: when it was answered, in seconds since 1970; the line has it as RFC 3339 in UTC.
        method: of HTTP, or of gRPC.
        path: what was asked for; of an address the path, without its query.
        status: of HTTP; for gRPC the one that stands for its code.
        seconds: from its last byte to its answer.
        protocol: `http` or `grpc`.
        received_bytes: of its body.
        sent_bytes: of the answer's body.
        name: who asked.
        address: of the client.
        rows: how many it had.
        failed_rows: how many of them were not answered.
        id: the caller's name for it.
        trace: the id of its trace.
        error: the class of the error.
    """

    time: float | str
    method: str
    path: str
    status: int
    seconds: float
    protocol: str = "http"
    received_bytes: int = 0
    sent_bytes: int = 0
    name: str = ""
    address: str = ""
    rows: int = 0
    failed_rows: int = 0
    id: str = ""
    trace: str = ""
    error: str = ""


def access_log(config: LogConfig) -> LineWriter:
    """The file that takes `Access` entries.

    Raises:
        GraphError: when it cannot be written.
    """
    return LineWriter(config, _line, where="observability.access_log")


def _line(entry: Access) -> bytes:
    assert isinstance(entry.time, float)
    entry.time = datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="milliseconds")
    entry.seconds = round(entry.seconds, 6)
    entry.path = entry.path[:LONGEST]
    return msgspec.json.encode(entry)
