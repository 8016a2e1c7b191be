"""What may be configured of what is seen: the key `observability` of serve.yaml. Metrics need no configuration.

observability:
  access_log: access.jsonl              # or stderr, or {file: access.jsonl, file_bytes: 100MiB, files: 5, waiting: 20000}
  trace: {endpoint: "http://localhost:4318/v1/traces", sample: 0.1, service: motet}   # true: where the environment says
  drift: reference.json                 # or {reference: [reference.json], sample: 0.1, window_s: 3600, at_most: 0.2}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from motet.graph.section import Bytes, FilePath, Seconds, Section, between, flag, matching, one_or_list, path
from motet.system.line_writer import STDERR

__all__ = ["DriftConfig", "LogConfig", "ObservabilityConfig", "TraceConfig"]


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
class DriftConfig(Section):
    """Which graphs are watched for drift, and how.

    Attributes:
        reference: the files of `motet drift reference`, `motet evaluate --reference` or `motet tune --reference`, one a graph,
            which each names.
        sample: the share of rows that is looked at: more than 0, at most 1.
        window_s: how long back what is shown goes, in seconds.
        at_most: the population stability index above which a column is said to have drifted, where that is more than chance.
    """

    ALONE: ClassVar[str] = "reference"

    reference: Annotated[tuple[FilePath, ...], one_or_list]
    sample: Annotated[float, between(0, 1, above=True)] = 0.1
    window_s: Seconds = 3600.0
    at_most: Annotated[float, between(0)] = 0.2


@dataclass(frozen=True, slots=True)
class ObservabilityConfig(Section):
    """What is seen of a server beside its metrics.

    Attributes:
        access_log: a line for each request; None for none.
        trace: spans; None for none.
        drift: of inputs, answers and members; None for none.
    """

    access_log: Annotated[LogConfig | None, flag] = None
    trace: Annotated[TraceConfig | None, flag] = None
    drift: Annotated[DriftConfig | None, flag] = None
