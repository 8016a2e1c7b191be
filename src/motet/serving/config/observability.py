"""What may be configured of what is seen: the key `observability` of serve.yaml. Metrics need no configuration.

observability:
  access_log: access.jsonl              # or stderr, or {file: access.jsonl, file_bytes: 100MiB, files: 5, waiting: 20000}
  trace: {endpoint: "http://localhost:4318/v1/traces", sample: 0.1, service: motet}   # true: where the environment says
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from motet.graph.section import Bytes, Section, between, flag, matching, path
from motet.system.line_writer import STDERR

__all__ = ["LogConfig", "ObservabilityConfig", "TraceConfig"]


@dataclass(frozen=True, slots=True)
class LogConfig(Section):
    """A file of lines.

    Attributes:
        file: its path; `stderr` for the standard error stream.
        file_bytes: when it is this long it is renamed to FILE.1, that one to FILE.2, and so on.
        files: how many there are at most, the one that is written among them.
        waiting: lines that may wait to be written; beyond it they are dropped, and counted.
    """

    ALONE: ClassVar[str] = "file"

    file: Annotated[str, path(STDERR)]
    file_bytes: Annotated[Bytes, between(4096)] = 100 << 20
    files: Annotated[int, between(1)] = 5
    waiting: Annotated[int, between(1)] = 20_000


@dataclass(frozen=True, slots=True)
class TraceConfig(Section):
    """Where spans go.

    Attributes:
        endpoint: takes OTLP over HTTP; empty is what `OTEL_EXPORTER_OTLP_ENDPOINT` says, or http://localhost:4318.
        sample: the part of the requests without a `traceparent` that are traced, 0 to 1; with one, it says itself.
        service: the name of this server in the traces.
    """

    endpoint: Annotated[
        str, matching("(https?://.*)?", "is no address of a receiver", "write http://HOST:4318/v1/traces")
    ] = ""
    sample: Annotated[float, between(0, 1)] = 1.0
    service: str = "motet"


@dataclass(frozen=True, slots=True)
class ObservabilityConfig(Section):
    """What is seen of a server beside its metrics.

    Attributes:
        access_log: a line for each request; None for none.
        trace: spans; None for none.
    """

    access_log: Annotated[LogConfig | None, flag] = None
    trace: Annotated[TraceConfig | None, flag] = None
