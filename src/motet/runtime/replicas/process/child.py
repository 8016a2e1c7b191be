"""The process of a process replica: loads one model, and answers batches one after the other.

Standard output goes where standard error goes, so nothing that a model prints gets between the messages. The process
ends when its parent does, whatever it is doing then.
SIGINT, SIGTERM and SIGHUP do nothing here, because a signal to the whole group must not end the model under its last calls.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import pickle
import resource
import signal
import socket
import sys
import threading
import weakref
from types import FrameType

from motet.models.handler import LoadedModel
from motet.runtime.replicas.process.arena import SharedBlock, open_block
from motet.runtime.replicas.process.columns import Packed, pack, unpack
from motet.runtime.replicas.process.remote_errors import as_raised, sendable
from motet.runtime.replicas.process.wire import (
    Answered,
    CallMessage,
    Failed,
    Full,
    Load,
    LoadedMessage,
    MessageSocket,
    Room,
    receive_descriptors,
)
from motet.system.lifeline import hold
from motet.system.streams import open_streams

__all__ = ["ModelHolder", "alone", "main", "serve"]


def main(socket_fd: int, memory_fd: int) -> None:
    """Serve the parent until it hangs up.

    Args:
        socket_fd: a stream socket to the parent.
        memory_fd: another one, for the descriptors of shared memory.
    """
    hold()
    alone()
    for fd in (socket_fd, memory_fd):
        os.set_inheritable(fd, False)
    holder = ModelHolder()
    with socket.socket(fileno=socket_fd) as end, socket.socket(fileno=memory_fd) as memory:
        serve(end, memory, holder)
        holder.close()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(0)  # what frameworks do at their end takes longer than the parent waits


def alone() -> None:
    """Bear signals that are for the group, and keep what a model prints out of the way."""
    faulthandler.enable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _go_on)
    open_streams()
    sys.stdout = sys.stderr


def serve(end: socket.socket, memory: socket.socket, holder: ModelHolder) -> None:
    """Answer one that asks until it hangs up.

    Args:
        end: for messages.
        memory: for descriptors of shared memory.
        holder: has the model.
    """
    _ends.add(end)
    with contextlib.suppress(EOFError, ConnectionError):
        _Server(MessageSocket(end, Load | CallMessage | Room), memory, holder).run()


_ends: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _in_copy() -> None:
    """Close what leads to those that ask: else this process could seem alive to them after its end."""
    for end in _ends:
        end.close()


os.register_at_fork(after_in_child=_in_copy)


def _go_on(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which programs that the model starts would inherit."""


class ModelHolder:
    """The model of this process, loaded by the first that asks, and by the next where that failed.

    Attributes:
        turn: held by a call of those that are made one after another.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._lock = threading.Lock()
        self._model: LoadedModel | None = None

    @property
    def model(self) -> LoadedModel:
        """The model, once it is loaded."""
        assert self._model is not None
        return self._model

    def load(self, message: Load) -> LoadedMessage | Failed:
        """Load it, where that is not done."""
        with self._lock:
            try:
                if self._model is None:
                    self._model = _loaded(message)
            except BaseException as error:  # noqa: BLE001 (who asks raises it)
                return Failed(as_raised(error), False)
            return LoadedMessage(getattr(self._model, "batch_invariant", None))

    def close(self) -> None:
        """Close it."""
        if self._model is not None:
            with contextlib.suppress(BaseException):
                self._model.close()


def _loaded(message: Load) -> LoadedModel:
    if message.memory_limit_bytes:
        _limit_memory(message.memory_limit_bytes)
    module, _, name = message.handler.partition(":")
    model: LoadedModel = getattr(importlib.import_module(module), name)().load(pickle.loads(message.source))
    return model


class _Server:
    """What one that is connected asks of a model."""

    def __init__(
        self, connection: MessageSocket[Load | CallMessage | Room], memory: socket.socket, holder: ModelHolder
    ) -> None:
        self._connection, self._memory, self._holder = connection, memory, holder
        self._blocks: dict[int, SharedBlock] = {}
        self._turn: contextlib.AbstractContextManager[object] = contextlib.nullcontext()

    def run(self) -> None:
        """Answer the parent until it hangs up.

        Raises:
            EOFError: when it does.
        """
        while True:
            message = self._connection.receive()
            if isinstance(message, CallMessage):
                self._take_blocks(message)
                with self._turn:
                    answer = self._call(message)
                answer.kept = not self._blocks[message.request].free
                self._connection.send(answer)
            elif isinstance(message, Load):
                self._turn = self._holder.turn if message.serial else contextlib.nullcontext()
                self._connection.send(self._holder.load(message))

    def _call(self, message: CallMessage) -> Answered | Failed:
        """The answer; when it is given, the request's block is free, unless the model keeps what it was asked."""
        memory = self._blocks[message.request].lend()
        try:
            columns = unpack(message.columns, memory)
            rows = len(next(iter(columns.values()), ()))
            answers = self._holder.model(columns)
            packed = pack({name: sendable(value, rows) for name, value in answers.items()}, memory)
            self._write(packed, message.answer)
            return Answered(packed.pieces, packed.num_bytes, False)
        except BaseException as error:  # noqa: BLE001 (the parent raises it)
            failed = Failed(as_raised(error), False)
            error.__traceback__ = None
            return failed

    def _write(self, packed: Packed, answer: int) -> None:
        block = self._blocks[answer]
        if packed.num_bytes > block.num_bytes:
            self._connection.send(Full(packed.num_bytes))
            room = self._connection.receive()
            assert isinstance(room, Room)
            self._take_blocks(room)
            if room.answer < 0:
                raise MemoryError(f"no room in shared memory for an answer of {packed.num_bytes} bytes")
            block = self._blocks[room.answer]
        packed.write(block.mapped)

    def _take_blocks(self, message: CallMessage | Room) -> None:
        for number in message.gone:
            del self._blocks[number]
        fds = receive_descriptors(self._memory, len(message.fresh))
        for (number, num_bytes), fd in zip(message.fresh, fds, strict=True):
            self._blocks[number] = open_block(number, num_bytes, fd)


def _limit_memory(limit_bytes: int) -> None:
    """Have what is beyond it refused, so that the model raises `MemoryError`; address space alone does not count."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, most))
