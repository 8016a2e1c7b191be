"""What may be configured of what is seen: the key `observability` of serve.yaml. Metrics need no configuration.

observability:
  access_log: access.jsonl              # or stderr, or {file: access.jsonl, file_bytes: 100MiB, files: 5, waiting: 20000}
  trace: {endpoint: "http://localhost:4318/v1/traces", sample: 0.1, service: motet}   # true: where the environment says
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from motet.errors import GraphError
from motet.graph.capacity import read_bytes
from motet.graph.fields import Fields, of_kind, show

__all__ = ["STDERR", "LogConfig", "ObservabilityConfig", "TraceConfig"]

STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class LogConfig:
    """A file of lines.

    Attributes:
        file: its path; `stderr` for the standard error stream.
        file_bytes: when it is this long it is renamed to FILE.1, that one to FILE.2, and so on.
        files: how many there are at most, the one that is written among them.
        waiting: lines that may wait to be written; beyond it they are dropped, and counted.
    """

    file: str
    file_bytes: int = 100 << 20
    files: int = 5
    waiting: int = 20_000

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> LogConfig:
        """A log as it was written: its file, or a mapping.

        Raises:
            GraphError: when a key is unknown, or a value is not what it must be.
        """
        if isinstance(value, str):
            return cls(_within(folder, value, where))
        fields = Fields(value, where, ("file", "file_bytes", "files", "waiting"))
        config = cls(_within(folder, fields.take("file", str), fields.place("file")))
        size = read_bytes(fields.raw("file_bytes", config.file_bytes), fields.place("file_bytes"))
        files, waiting = fields.take("files", int, config.files), fields.take("waiting", int, config.waiting)
        for name, number, low in (("file_bytes", size, 4096), ("files", files, 1), ("waiting", waiting, 1)):
            if number < low:
                raise GraphError(f"must be at least {low}; got {number}", where=fields.place(name))
        return cls(config.file, size, files, waiting)


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """Where spans go.

    Attributes:
        endpoint: takes OTLP over HTTP; empty is what `OTEL_EXPORTER_OTLP_ENDPOINT` says, or http://localhost:4318.
        sample: the part of the requests without a `traceparent` that are traced, 0 to 1; with one, it says itself.
        service: the name of this server in the traces.
    """

    endpoint: str = ""
    sample: float = 1.0
    service: str = "motet"

    @classmethod
    def read(cls, value: object, where: str) -> TraceConfig | None:
        """Tracing as it was written: a mapping, or true or false.

        Raises:
            GraphError: when a key is unknown, or a value is not what it must be.
        """
        if isinstance(value, bool):
            return cls() if value else None
        if not isinstance(value, Mapping):
            raise GraphError(f"expected a mapping, true or false; got {show(value)}", where=where)
        fields = Fields(value, where, ("endpoint", "sample", "service"))
        endpoint, service = fields.take("endpoint", str, ""), fields.take("service", str, cls().service)
        sample = float(fields.take("sample", float, 1.0))
        if not 0 <= sample <= 1:
            raise GraphError(f"must be from 0 to 1; got {sample:g}", where=fields.place("sample"))
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise GraphError(
                f"{endpoint!r} is no address of a receiver",
                where=fields.place("endpoint"),
                hint="write http://HOST:4318/v1/traces",
            )
        return cls(endpoint, sample, service)


@dataclass(frozen=True, slots=True)
class ObservabilityConfig:
    """What is seen of a server beside its metrics.

    Attributes:
        access_log: a line for each request; None for none.
        trace: spans; None for none.
    """

    access_log: LogConfig | None = None
    trace: TraceConfig | None = None

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> ObservabilityConfig:
        """The configuration as it was written; nothing is the default.

        Args:
            value: what was written.
            where: its place, for messages.
            folder: what relative paths are relative to.

        Raises:
            GraphError: when a key is unknown, or a value is not what it must be.
        """
        if value is None:
            return cls()
        fields = Fields(value, where, ("access_log", "trace"))
        log, trace = fields.raw("access_log"), fields.raw("trace")
        return cls(
            None if log is None or log is False else LogConfig.read(log, fields.place("access_log"), folder),
            None if trace is None else TraceConfig.read(trace, fields.place("trace")),
        )


def _within(folder: str, path: str, where: str) -> str:
    if not of_kind(path, str, where):
        raise GraphError("is empty", where=where, hint=f"name a file, or {STDERR}")
    return path if path == STDERR or not folder else str(Path(folder) / path)
