"""The audit log: who asked what, when, and how much it cost. A line of JSON for each request, in a file that rotates."""

from __future__ import annotations

import msgspec

from motet.serving.config.admission import AuditConfig
from motet.system.line_writer import LineWriter

__all__ = ["AuditEntry", "audit_log"]


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request. It never holds a credential.

    Attributes:
        at: when it came, in seconds since 1970.
        name: who asked; empty where no credential held.
        kind: `anonymous`, `key`, `token`, `certificate` or `owner`; empty where no credential held.
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


def audit_log(config: AuditConfig) -> LineWriter:
    """The file that takes `AuditEntry`s.

    Raises:
        GraphError: when it cannot be written.
    """
    return LineWriter(config, where="admission.audit.file")
