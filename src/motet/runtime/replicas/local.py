"""A replica in this process: the loaded model itself, called in the thread that asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from motet.batch import Array
from motet.errors import ReplicaLostError
from motet.models.handler import LoadedModel

__all__ = ["LocalReplica"]


class LocalReplica:
    """One loaded copy of a model in this process. It cannot be lost alone, nor stopped when it is stuck.

    Args:
        load: loads the model.
    """

    kind: ClassVar[str] = "thread"
    memory_bytes: ClassVar[int] = 0
    pid: ClassVar[int | None] = None

    def __init__(self, load: Callable[[], LoadedModel]) -> None:
        self._load = load
        self.loaded: LoadedModel | None = None

    def start(self) -> None:
        """Load the model."""
        self.loaded = self._load()

    def call(self, columns: Mapping[str, Array], timeout_s: float | None = None) -> Mapping[str, Any]:
        """Answer a batch; `timeout_s` has no meaning here."""
        loaded = self.loaded
        if loaded is None:
            raise ReplicaLostError("the model was closed")
        return loaded(columns)

    def alive(self) -> bool:
        """Whether it is loaded."""
        return self.loaded is not None

    def close(self) -> None:
        """Give its memory back."""
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.close()
