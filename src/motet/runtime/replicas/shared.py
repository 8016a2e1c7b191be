"""What is loaded once in a process, however many graphs use it: models here, and models in processes of their own.

A replica that starts takes its part in what others of the same key have loaded, and one that closes gives it back; what nobody
has a part in is closed. Nothing is shared between replicas of one set, which are copies on purpose.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from motet.batch import Array
from motet.errors import ReplicaLostError
from motet.graph.identity import identity
from motet.graph.model import Model
from motet.locks import QuietLock
from motet.runtime.resolve import ResolvedModel

if TYPE_CHECKING:
    from motet.runtime.replicas.process.replica import ProcessReplica

__all__ = ["NOBODY", "SharedPart", "SharedProcess", "Sharing", "sharing"]


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


@dataclass(frozen=True)
class Sharing:
    """With whom replicas share what they load.

    Attributes:
        key: equal for what may be shared; None for nothing.
        owner: the set that they are of.
    """

    key: Hashable
    owner: object = field(default_factory=object)


NOBODY = Sharing(None)


def sharing(model: Model, located: ResolvedModel, *more: Hashable) -> Sharing:
    """With whom the replicas of a model share: with those of the same file, as it is now, and the same settings.

    Models without a file are shared where their handler tells them apart (`identity(source)`), and are the same objects then.

    Args:
        model: what its graph says of it.
        located: its handler and file.
        more: what else must be the same.
    """
    source, handler = located.source, located.handler
    if handler.has_file:
        known: Hashable = located.state
    else:
        tell = getattr(handler, "identity", None)
        known = None if tell is None else tell(source)
    if known is None or model.replicas != 1:
        return NOBODY
    said = identity((source.options, source.inputs, source.outputs))
    place = (source.location, known, located.version)
    return Sharing((type(handler), place, said, source.threads, source.device, model.concurrent, more))


class _Held(Generic[T]):
    """Something loaded, and those that have a part in it."""

    def __init__(self, key: Hashable) -> None:
        self.key, self.lock = key, threading.Lock()
        self.value: T | None = None
        self.parts: list[SharedPart[T]] = []


_lock = QuietLock()
_all: dict[Hashable, _Held[Any]] = {}


class SharedPart(Generic[T]):
    """One replica's part in something loaded.

    Args:
        sharing: with whom it is shared.
        load: loads it, where nobody has yet.
        usable: whether what another one has loaded can be used still.
        outputs: the outputs that are needed at first, of a model that may leave others out.

    Attributes:
        value: what is loaded.

    Raises:
        BaseException: what loading it raised.
    """

    def __init__(
        self,
        sharing: Sharing,
        load: Callable[[], T],
        usable: Callable[[T], bool] = lambda value: True,
        outputs: frozenset[str] = frozenset(),
    ) -> None:
        self.sharing, self._outputs = sharing, outputs
        with _lock:
            self._held = self._found(usable)
            self._held.parts.append(self)
        try:
            with self._held.lock:
                if self._held.value is None:
                    self._held.value = load()
                self.value: T = self._held.value
                if len(self._held.parts) > 1:
                    self._tell()
        except BaseException:
            self.close()
            raise

    def need(self, outputs: frozenset[str]) -> None:
        """Need only these outputs from now on; the others are left out once nobody needs them."""
        with self._held.lock:
            self._outputs = outputs
            self._tell()

    def close(self) -> None:
        """Give it back; any number of times. What nobody has a part in is closed."""
        with _lock:
            held = self._held
            if self not in held.parts:
                return
            held.parts.remove(self)
            if held.parts:
                return
            if _all.get(held.key) is held:
                del _all[held.key]
        with held.lock:
            value, held.value = held.value, None
        if value is not None:
            value.close()

    def _found(self, usable: Callable[[T], bool]) -> _Held[T]:
        """What there is already, or room for it; the lock is held."""
        key, owner = self.sharing.key, self.sharing.owner
        held = _all.get(key) if key is not None else None
        if held is None or (held.value is not None and not usable(held.value)):
            held = _Held(key)
            if key is not None:
                _all[key] = held
        return _Held(None) if any(part.sharing.owner is owner for part in held.parts) else held

    def _tell(self) -> None:
        """Tell the model which outputs somebody needs."""
        tell = getattr(self._held.value, "need", None)
        if tell is not None:
            with _lock:
                needed = frozenset[str]().union(*(part._outputs for part in self._held.parts))
            tell(needed)


os.register_at_fork(after_in_child=_all.clear)  # what is loaded stays with those that had it


class SharedProcess:
    """A replica in a process of its own, which those of other graphs may use too: it answers a call at a time, whoever asks.

    Args:
        sharing: with whom it is shared.
        make: makes the replica, not started.
    """

    kind: ClassVar[str] = "process"

    def __init__(self, sharing: Sharing, make: Callable[[], ProcessReplica]) -> None:
        self._sharing, self._make = sharing, make
        self._made: ProcessReplica | None = None
        self._part: SharedPart[ProcessReplica] | None = None
        self._closed = False

    @property
    def loaded(self) -> ProcessReplica | None:
        """The replica; None before it is started, and after it was closed."""
        return None if self._part is None or self._closed else self._part.value

    @property
    def pid(self) -> int | None:
        """The process's number; None where there is none."""
        return None if self.loaded is None else self.loaded.pid

    @property
    def memory_bytes(self) -> int:
        """The process's memory; 0 where that cannot be known."""
        return 0 if self.loaded is None else self.loaded.memory_bytes

    def alive(self) -> bool:
        """Whether the process runs, also while it loads, and was not found to be stuck."""
        replica = self.loaded or self._made
        return replica is not None and not self._closed and replica.alive()

    def how_ended(self) -> str:
        """See `Replica`."""
        return "it was closed" if self.loaded is None else self.loaded.how_ended()

    def start(self) -> None:
        """Start the process, or take part in one that runs; see `ProcessReplica.start`."""
        self._part = SharedPart(self._sharing, self._load, lambda replica: replica.alive())
        if self._closed:  # meanwhile, by another thread
            self._part.close()
            raise ReplicaLostError("the model was closed")

    def _load(self) -> ProcessReplica:
        self._made = made = self._make()
        if self._closed:
            raise ReplicaLostError("the model was closed")
        try:
            made.start()
        except BaseException:
            made.close()
            raise
        return made

    def call(self, columns: Mapping[str, Array], timeout_s: float | None = None) -> Mapping[str, Any]:
        """Answer a batch; see `ProcessReplica.call`."""
        loaded = self.loaded
        if loaded is None:
            raise ReplicaLostError("the model was closed")
        return loaded.call(columns, timeout_s)

    def close(self) -> None:
        """Give the process back; nobody's is ended, and so is one that is just being started."""
        self._closed = True
        if self._part is not None:
            self._part.close()
        elif self._made is not None:
            self._made.close()
