"""A replica in a process of its own: for models whose Python code holds the interpreter's lock, or that may die.

The process is started anew, not forked; it imports what its handler needs and nothing else, and not the program's
`__main__`. Arrays go through shared memory (`arena.py`, `columns.py`), a few small messages through a socket
(`wire.py`). `child.py` is the other side, `spawned.py` starts and ends it.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

from motet.batch import Array
from motet.errors import MotetError, ReplicaLostError
from motet.models.common import load_error, place
from motet.models.handler import Handler, ModelSource
from motet.runtime.replicas.process.arena import CALL_BYTES, Arena, SharedBlock
from motet.runtime.replicas.process.columns import ASKED, pack, unpack
from motet.runtime.replicas.process.machine import MachineProcess
from motet.runtime.replicas.process.remote_errors import beyond_memory, raised_again
from motet.runtime.replicas.process.spawned import Spawned, memory_of
from motet.runtime.replicas.process.wire import (
    Answered,
    CallMessage,
    Failed,
    Full,
    Load,
    LoadedMessage,
    MessageSocket,
    Room,
    send_descriptors,
)
from motet.system.limits import num_cores
from motet.system.places import current_folder
from motet.system.processes import is_stopped
from motet.tracebacks import summary

__all__ = ["LOAD_TIMEOUT_S", "ProcessReplica", "threads_each"]

LOAD_TIMEOUT_S = 600.0
CLOSE_S = 0.5
"""How long a model may take to close before its process is killed."""
STUCK_S = 5.0
"""How long a thread may take to notice that its process was killed."""
STOPPED_S = 5.0
"""How long a process may be stopped by a signal before it is killed: a call of it would not end."""
LENT_BYTES = 2**16
"""Answers larger than this are given as they lie in shared memory; others are copied."""

_Replies = LoadedMessage | Full | Answered | Failed


class ProcessReplica:
    """One loaded copy of a model in a process of its own. It answers one call at a time, and is started once.

    Args:
        handler: what loads the model; the process makes its own of the same class.
        source: the model, as the handler takes it.
        threads: how many threads its calls may use; the source's when not given. The common libraries of numbers get
            the same limit.
        memory_limit_bytes: the most memory that the process may take for itself; beyond it the model gets
            `MemoryError`. 0 sets no limit. Linux counts what can be written to, about 50 MB of a bare process included.
        call_bytes: the most that the columns of one call, or its answer, may take; not more than `memory_limit_bytes`.
        load_timeout_s: how long loading may take.
        machine: the process is one that all processes of this machine share, and this tells its model from others; empty for
            a process of this one alone.
        serial: whether its calls are made one after another, whichever process makes them; frameworks bear them side by side.

    Attributes:
        kind: `process`.
        batch_invariant: what the loaded model says of itself; None where it says nothing.

    Raises:
        ModelLoadError: when the model is of `__main__`, or its options cannot be sent to another process.
    """

    def __init__(
        self,
        handler: Handler,
        source: ModelSource,
        *,
        threads: int | None = None,
        memory_limit_bytes: int = 0,
        call_bytes: int = CALL_BYTES,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        machine: str = "",
        serial: bool = True,
    ) -> None:
        self.kind = "process"
        self._source = replace(source, threads=threads or source.threads)
        kind = type(handler)
        loaded_by = f"{kind.__module__}:{kind.__qualname__}"
        self._load = Load(loaded_by, _pickled(self._source), memory_limit_bytes, serial)
        self._folder = current_folder() or "/"
        self._load_timeout_s = load_timeout_s
        self._arena = Arena(min(call_bytes, memory_limit_bytes or call_bytes))
        self._calling = threading.Lock()
        self._machine, self._serial = machine, serial
        self._spawned: Spawned | MachineProcess | None = None
        self._connection: MessageSocket[_Replies] | None = None
        self._answer_bytes = 0
        self._lost = ""
        self._stopped_at: float | None = None
        self._closed = False
        self.batch_invariant: bool | None = None

    @property
    def pid(self) -> int | None:
        """The process's number; None before it is started."""
        return None if self._spawned is None else self._spawned.pid

    @property
    def memory_bytes(self) -> int:
        """The process's memory, pages that it shares counted in part; 0 where that cannot be known."""
        return memory_of(self._spawned.pid) if self._spawned is not None and self.alive() else 0

    def alive(self) -> bool:
        """Whether the process runs and was not found to be stuck; one that somebody stopped for long is killed here."""
        if self._spawned is None or self._closed or self._lost or not self._spawned.running():
            return False
        if not is_stopped(self._spawned.pid):
            self._stopped_at = None
            return True
        now = time.monotonic()
        self._stopped_at = now if self._stopped_at is None else self._stopped_at
        if now - self._stopped_at < STOPPED_S:
            return True
        self._lost = f"was stopped for {STOPPED_S:g} s, and was killed"
        self._spawned.kill(stuck=True)
        return False

    def how_ended(self) -> str:
        """Why it cannot be called any more."""
        if self._spawned is None:
            return "its process was not started"
        return f"the model's process (pid {self.pid}) {self._lost or self._spawned.how_it_ended()}"

    def start(self) -> None:
        """Start the process and load the model; returns when it can be called.

        Raises:
            ModelLoadError: when it cannot be loaded.
            MissingExtraError: when its framework is not installed.
            ReplicaLostError: when the process cannot be started, ends before it is loaded, or takes too long.
        """
        with self._calling:
            self._spawn()
            reply = self._ask(self._load, self._load_timeout_s)
            if isinstance(reply, LoadedMessage):
                self.batch_invariant = reply.batch_invariant
                return
            if not isinstance(reply, Failed):
                self._broken(f"answered {type(reply).__name__} when it was to load")
            self._end("could not load it")
            error = raised_again(reply.error)
        if isinstance(error, MotetError):
            raise error
        raise load_error(self._source, f"loading it failed: {summary(error)}") from error

    def call(self, columns: Mapping[str, Array], timeout_s: float | None = None) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel.__call__`. Another thread's call is waited for.

        Large arrays of the answer lie in shared memory, which is not used again before they are gone.

        Args:
            columns: arrays by name.
            timeout_s: how long the process may take, in seconds; then it is killed. None waits for as long as it runs.

        Raises:
            ReplicaLostError: when the process is gone, stuck, or answers what makes no sense; no row is at fault.
            MemoryError: when the columns or the answer take more than `call_bytes`.
            Exception: what the model raises.
        """
        packed = pack(columns)
        with self._calling, self._turn():
            request = self._arena.room(packed.num_bytes)
            packed.write(request.mapped)
            room = self._arena.room(self._answer_bytes, request)
            call = CallMessage(*self._news(), request.number, room.number, packed.pieces)
            reply = self._ask(call, timeout_s)
            if isinstance(reply, Full):
                larger = self._larger(reply.num_bytes, request)
                reply = self._ask(Room(*self._news(), -1 if larger is None else larger.number), timeout_s)
                room = larger or room
            if isinstance(reply, Answered):
                found = self._found(reply, request, room)
            elif not isinstance(reply, Failed):
                self._broken(f"answered {type(reply).__name__} to a call")
            if reply.kept:
                self._arena.forget(request)
        if isinstance(reply, Failed):
            error = raised_again(reply.error)
            limit_bytes = self._load.memory_limit_bytes
            if limit_bytes and isinstance(error, MemoryError):
                raise beyond_memory(error, columns, limit_bytes)
            raise error
        return found

    def close(self) -> None:
        """End the process and give its memory back; any thread, any number of times.

        A process that is in the middle of a call, or of loading, is killed; that call raises `ReplicaLostError`.
        """
        self._closed = True
        if self._calling.acquire(blocking=False):
            try:
                if self._spawned is not None and not self._lost:
                    self._spawned.hang_up(CLOSE_S)
                self._end("was closed")
            finally:
                self._calling.release()
            return
        if self._spawned is not None:
            self._spawned.kill()
        if self._calling.acquire(timeout=STUCK_S):
            self._end("was closed")
            self._calling.release()

    def _spawn(self) -> None:
        if self._spawned is not None or self._closed:
            raise ReplicaLostError("a process replica is started once", where=place(self._source))
        try:
            self._spawned = self._begun()
        except OSError as error:
            self._lost = f"could not be started: {error}"
            self._raise_lost()
        self._connection = MessageSocket(self._spawned.socket, _Replies)
        if self._was_closed():  # meanwhile, by another thread, which saw no process to kill
            self._end("was closed")
            self._raise_lost()

    def _begun(self) -> Spawned | MachineProcess:
        source = self._source
        if not self._machine:
            return Spawned(source.name, source.threads, self._folder)
        return MachineProcess(self._machine, source.name, source.threads, self._folder, serial=self._serial)

    def _was_closed(self) -> bool:
        return self._closed

    def _turn(self) -> contextlib.AbstractContextManager[None]:
        """While a call may be made.

        Raises:
            ReplicaLostError: when none can be.
        """
        self._check()
        assert self._spawned is not None
        return self._spawned.turn()

    def _check(self) -> None:
        if self._spawned is None:
            raise ReplicaLostError("its process was not started", where=place(self._source))
        if self._lost or self._closed:
            self._raise_lost()

    def _news(self) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
        """What the process does not know yet of the blocks; gives it their descriptors."""
        fresh, gone, fds = self._arena.news()
        if fds:
            assert self._spawned is not None
            with contextlib.suppress(OSError):  # its end is found out when it is asked
                send_descriptors(self._spawned.memory, fds)
        return fresh, gone

    def _ask(self, message: Any, timeout_s: float | None) -> _Replies:
        """Send a message and wait for what the process says to it."""
        assert self._connection is not None
        try:
            self._connection.wait_at_most(timeout_s)
            self._connection.send(message)
            return self._connection.receive()
        except TimeoutError:
            self._broken(f"did not answer within {timeout_s:g} s")
        except (EOFError, OSError):
            assert self._spawned is not None
            self._end("was closed" if self._closed else self._spawned.how_it_ended())
            self._raise_lost()
        except ValueError as error:
            self._broken(f"said what is no message: {error}")
        except BaseException:  # as Ctrl-C: what it says later would be taken for the answer to the next call
            self._end("was left in the middle of a call, and was killed")
            raise

    def _larger(self, num_bytes: int, request: SharedBlock) -> SharedBlock | None:
        try:
            return self._arena.room(num_bytes, request)
        except MemoryError:
            return None

    def _found(self, reply: Answered, request: SharedBlock, room: SharedBlock) -> dict[str, Any]:
        """The answer that was written."""
        self._answer_bytes = reply.num_bytes
        try:
            asked = (
                self._held(request, request.num_bytes) if any(piece.form == ASKED for piece in reply.columns) else None
            )
            return unpack(reply.columns, self._held(room, reply.num_bytes), asked)
        except Exception as error:  # noqa: BLE001 (it may be damaged in any way)
            self._broken(f"wrote an answer that cannot be read: {summary(error)}")

    def _held(self, block: SharedBlock, num_bytes: int) -> Array:
        """What is in a block, for the caller to keep."""
        if num_bytes > LENT_BYTES and self._arena.may_lend:
            return block.lend()
        return np.frombuffer(block.mapped, np.uint8, num_bytes).copy()

    def _broken(self, what: str) -> NoReturn:
        if self._spawned is not None:
            self._spawned.kill(stuck=True)
        self._end(f"{what}; it was killed")
        self._raise_lost()

    def _raise_lost(self) -> NoReturn:
        pid = f" (pid {self.pid})" if self.pid is not None else ""
        raise ReplicaLostError(f"the model's process{pid} {self._lost}", where=place(self._source))

    def _end(self, reason: str) -> None:
        """Kill the process and give everything back; by the thread that holds the lock of calls."""
        self._lost = self._lost or reason
        if self._spawned is not None:
            self._spawned.kill()
            self._spawned.release()
        self._arena.close()


def threads_each(wanted: int, replicas: int) -> int:
    """How many threads each of several replicas may use, so that together they are no more than the cores.

    Args:
        wanted: how many a call of the model may use.
        replicas: how many replicas there are.
    """
    return max(1, min(wanted, num_cores() // max(1, replicas)))


class _Pickler(pickle.Pickler):
    """Refuses what belongs to the program's own file: the process does not run it."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (type, FunctionType)) and value.__module__ == "__main__":
            raise pickle.PicklingError(
                f"{value.__qualname__} is defined in __main__, which other processes do not have"
            )
        return NotImplemented


def _pickled(source: ModelSource) -> bytes:
    """A source for another process.

    Raises:
        ModelLoadError: when it names what only this process has.
    """
    hint = "put it into a module of its own, or place the model in a thread"
    for text in (source.location, *source.options.values()):
        if isinstance(text, str) and text.startswith(("__main__:", "__main__.")):
            raise load_error(source, f"{text} is in the program's own file, which its process does not run", hint)
    held = io.BytesIO()
    try:
        _Pickler(held, pickle.HIGHEST_PROTOCOL).dump(source)
    except Exception as error:  # (whatever an option's own code raises)
        what = f"its options cannot be sent to another process: {summary(error)}"
        raise load_error(source, what, hint) from error
    return held.getvalue()
