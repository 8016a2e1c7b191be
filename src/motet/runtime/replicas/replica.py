"""What a replica is: one loaded copy of a model, in this process, in one of its own, or behind an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from motet.batch import Array

__all__ = ["Replica"]


class Replica(Protocol):
    """One loaded copy of a model. Its methods may be called from any thread."""

    @property
    def kind(self) -> str:
        """`thread` (in this process), `process` or `remote`."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Resident memory, measured; 0 where it is not known."""
        ...

    @property
    def pid(self) -> int | None:
        """Of its process; None where it has none of its own."""
        ...

    def start(self) -> None:
        """Load the model; returns when it can be called.

        Raises:
            ModelLoadError: when the model cannot be loaded.
            ReplicaLostError: when the replica died while it loaded.
        """
        ...

    def call(self, columns: Mapping[str, Array], timeout_s: float | None = None) -> Mapping[str, Any]:
        """Answer a batch, as `LoadedModel.__call__`.

        Args:
            columns: arrays `[rows, ...]` by the names of the signature's inputs.
            timeout_s: how long it may take; None sets no bound.

        Raises:
            ReplicaLostError: when the replica died, got stuck or broke its protocol; no row is at fault.
            Exception: whatever the framework raises, as it is; rows may be at fault.
        """
        ...

    def alive(self) -> bool:
        """Whether it can be called, as far as can be told at once."""
        ...

    def how_ended(self) -> str:
        """Why it cannot be called any more, once `alive` says so; in words for the log."""
        ...

    def close(self) -> None:
        """End it now, under way or not, and give its memory back. May be called again."""
        ...
