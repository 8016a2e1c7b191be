"""A replica behind an address: another server holds the model, and its handler makes the calls."""

from __future__ import annotations

from typing import ClassVar

from motet.runtime.replicas.local import LocalReplica

__all__ = ["RemoteReplica"]


class RemoteReplica(LocalReplica):
    """A model of another server. Its handler waits no longer than `timeout_s` of the model, and closes connections.

    `start` makes ready to call it; whether the server answers is seen by the first call, which is made alone.
    """

    kind: ClassVar[str] = "remote"
