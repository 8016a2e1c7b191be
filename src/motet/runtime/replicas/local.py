"""A replica in this process: the loaded model itself, or what calls it at its address, called in the thread that asks."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array, read_only
from motet.errors import ReplicaLostError
from motet.models.handler import LoadedModel
from motet.nodes.gate import Gate
from motet.nodes.owned import own_result
from motet.runtime.replicas.shared import NOBODY, SharedPart, Sharing
from motet.tracebacks import said

__all__ = ["LocalModel", "LocalReplica", "RemoteReplica"]


class LocalReplica:
    """One loaded copy of a model in this process. It cannot be lost alone, nor stopped when it is stuck.

    Args:
        load: loads the model.
        sharing: with whom it is shared; with nobody when not given.
        outputs: what it gives.
    """

    kind: ClassVar[str] = "thread"
    memory_bytes: ClassVar[int] = 0
    pid: ClassVar[int | None] = None

    def __init__(
        self, load: Callable[[], LocalModel], sharing: Sharing = NOBODY, outputs: frozenset[str] = frozenset()
    ) -> None:
        self._load, self._sharing, self._outputs = load, sharing, outputs
        self.loaded: LoadedModel | None = None

    def start(self) -> None:
        """Load the model, where nobody has who shares it."""
        self.loaded = _Lent(SharedPart(self._sharing, self._load, outputs=self._outputs))

    def call(self, columns: Mapping[str, Array], timeout_s: float | None = None) -> Mapping[str, Any]:
        """Answer a batch; `timeout_s` has no meaning here."""
        loaded = self.loaded
        if loaded is None:
            raise ReplicaLostError("the model was closed")
        return loaded(columns)

    def alive(self) -> bool:
        """Whether it is loaded."""
        return self.loaded is not None

    def how_ended(self) -> str:
        """It ends when somebody closes it, and by nothing else."""
        return "it was closed"

    def close(self) -> None:
        """Give its memory back."""
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.close()


class RemoteReplica(LocalReplica):
    """A model of another server. Its handler waits no longer than `timeout_s` of the model, and closes connections.

    `start` makes ready to call it; whether the server answers is seen by the first call, which is made alone.
    """

    kind: ClassVar[str] = "remote"


class LocalModel:
    """A model, and what its calls go through.

    Args:
        model: the model.
        gate: lets its calls through, where they may disturb each other; None lets all.

    Attributes:
        need: has the model compute only some outputs from now on; None where it cannot.
    """

    def __init__(self, model: LoadedModel, gate: Gate | None = None) -> None:
        self.model, self.gate = model, gate
        self.need: Callable[[Container[str]], None] | None = getattr(model, "need", None)

    def close(self) -> None:
        """Close the model."""
        self.model.close()


class _Lent:
    """A model that is lent its columns: others read them too, so it cannot change them. What it gives is the caller's.

    One that writes to what it is given, which raises, is given copies of its own from then on.
    """

    def __init__(self, part: SharedPart[LocalModel]) -> None:
        self._part, self._model, self._gate, self._writes = part, part.value.model, part.value.gate, False
        self.batch_invariant = getattr(self._model, "batch_invariant", None)
        self._fresh = bool(getattr(self._model, "fresh_outputs", False))
        self._answers = self._model if self._gate is None and self._fresh else self._owned
        self.need = part.need

    def __call__(self, columns: Mapping[str, Array]) -> Mapping[str, Any]:
        """Answer a batch; see `LoadedModel`."""
        if not self._writes:
            lent = {name: read_only(each) if each.flags.writeable else each for name, each in columns.items()}
            try:
                return self._answers(lent)
            except ValueError as error:
                if not any(sign in said(error) for sign in ("read-only", "readonly")):
                    raise
            self._writes = True
        own = {name: np.array(each) for name, each in columns.items()}
        return self._answers(own)

    def _owned(self, columns: Mapping[str, Array]) -> Mapping[str, Any]:
        """What the model gives, which is nobody's but the caller's then."""
        if self._gate is not None:
            rows = len(next(iter(columns.values()), ()))
            return self._gate(self._model, (columns,), {}, rows=rows, fresh=self._fresh)
        held = [self._model(columns)]
        own_result(held)
        return held[0]

    def close(self) -> None:
        """Give the model back."""
        self._part.close()
