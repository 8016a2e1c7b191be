"""What a process replica and its parent say to each other, over a socket; the arrays themselves go beside it.

    parent                                child
    Load ───────────────────────────────►
         ◄─────────────────────────────── Loaded, or Failed
    Call ───────────────────────────────►
         ◄─────────────────────────────── Full, where the answer needs more room
    Room ───────────────────────────────►
         ◄─────────────────────────────── Answered, or Failed

A message is its length, 4 bytes, the lowest first, and that many bytes of MessagePack. There is never more than one on
its way. File descriptors of new shared memory are sent over a second socket (SCM_RIGHTS), before the message that
names the memory: so the first one can be read without looking for any.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

__all__ = [
    "Answered",
    "CallMessage",
    "ColumnPiece",
    "Failed",
    "Full",
    "Load",
    "LoadedMessage",
    "MessageSocket",
    "Place",
    "Raised",
    "Room",
    "receive_descriptors",
    "send_descriptors",
]

T = TypeVar("T")
Place = tuple[str, tuple[int, ...], int]
"""An array in shared memory: its dtype, its shape, and at which byte it begins."""
MAX_MESSAGE_BYTES = 2**26
_RECEIVE_BYTES = 2**13
_HEAD = 4


class ColumnPiece(msgspec.Struct, array_like=True):
    """A column in shared memory.

    Attributes:
        name: the column's name.
        form: how it is held; one of the forms of `columns.py`.
        places: the arrays that it is made of.
    """

    name: str
    form: int
    places: tuple[Place, ...]


class Raised(msgspec.Struct, array_like=True):
    """An exception of the model; see `remote_errors.py`.

    Attributes:
        module, name: of its class.
        base: the nearest class above it that is built in.
        text: what it says.
        state: its arguments and attributes, pickled, where they are plain values; else empty.
        place: the line of the user's code that raised it, `file:line`, or empty.
        trace: the formatted traceback.
    """

    module: str
    name: str
    base: str
    text: str
    state: bytes
    place: str
    trace: str


class Load(msgspec.Struct, array_like=True, tag=True):
    """Load a model.

    Attributes:
        handler: its handler's class, `module:Class`.
        source: the pickled `ModelSource`.
        memory_limit_bytes: the most memory that the process may take; 0 sets no limit.
        serial: whether calls wait for one that is under way, though nobody may wait for its answer any more.
    """

    handler: str
    source: bytes
    memory_limit_bytes: int
    serial: bool


class CallMessage(msgspec.Struct, array_like=True, tag=True):
    """Answer a batch.

    Attributes:
        fresh: number and bytes of blocks whose descriptors were sent before this message.
        gone: numbers of blocks that are not used any more.
        request: the block that the columns are in.
        answer: the block that the answer is to be written to.
        columns: the columns.
    """

    fresh: tuple[tuple[int, int], ...]
    gone: tuple[int, ...]
    request: int
    answer: int
    columns: tuple[ColumnPiece, ...]


class Room(msgspec.Struct, array_like=True, tag=True):
    """A larger block for an answer, or that there is none (`answer` is -1)."""

    fresh: tuple[tuple[int, int], ...]
    gone: tuple[int, ...]
    answer: int


class LoadedMessage(msgspec.Struct, array_like=True, tag=True):
    """The model is loaded.

    Attributes:
        batch_invariant: what it says of itself; None where it says nothing.
    """

    batch_invariant: bool | None


class Full(msgspec.Struct, array_like=True, tag=True):
    """The answer needs this many bytes, more than its block has."""

    num_bytes: int


class Answered(msgspec.Struct, array_like=True, tag=True):
    """The answer is written.

    Attributes:
        columns: where.
        num_bytes: how much of the block they take.
        kept: whether the model still holds what it was asked: the request's block is not to be written to again.
    """

    columns: tuple[ColumnPiece, ...]
    num_bytes: int
    kept: bool


class Failed(msgspec.Struct, array_like=True, tag=True):
    """The model raised."""

    error: Raised
    kept: bool


class MessageSocket(Generic[T]):
    """One end of the socket; one thread at a time.

    Args:
        end: a stream socket.
        kinds: what comes in: a union of the messages.
    """

    def __init__(self, end: socket.socket, kinds: Any) -> None:
        self._socket, self._timeout_s = end, end.gettimeout()
        self._encode, self._decode = msgspec.msgpack.Encoder().encode_into, msgspec.msgpack.Decoder(kinds).decode
        self._out = bytearray(256)
        self._in = memoryview(bytearray(_RECEIVE_BYTES))

    def send(self, message: msgspec.Struct) -> None:
        """Send a message.

        Raises:
            OSError: when the other side is gone.
            TimeoutError: when it does not take it in time.
        """
        out = self._out
        self._encode(message, out, _HEAD)
        out[:_HEAD] = (len(out) - _HEAD).to_bytes(_HEAD, "little")
        self._socket.sendall(out)

    def wait_at_most(self, timeout_s: float | None) -> None:
        """Say how long to wait for the other side from now on, in seconds; None waits for as long as it takes."""
        if timeout_s != self._timeout_s:
            self._socket.settimeout(timeout_s)
            self._timeout_s = timeout_s

    def receive(self) -> T:
        """The next message, which comes by itself.

        A thread that waits here sleeps at once: asking again and again for a while first made calls no faster on two
        cores, and now and then ten times slower.

        Raises:
            EOFError: when the other side is gone.
            TimeoutError: when it is not there in time.
            ValueError: when it is none of the messages.
        """
        count = self._into(self._in)
        found = self._in[:count]
        length = _length(found)
        if count == length:
            return self._decode(found[_HEAD:])  # type: ignore[no-any-return]
        return self._decode(self._rest(bytes(found))[_HEAD:])  # type: ignore[no-any-return]

    def _rest(self, found: bytes) -> memoryview:
        while len(found) < _HEAD or len(found) < _length(found):
            found += self._in[: self._into(self._in)]
        if len(found) > _length(found):
            raise ValueError(f"{len(found) - _length(found)} bytes came behind a message")
        return memoryview(found)

    def _into(self, memory: memoryview) -> int:
        try:
            count = self._socket.recv_into(memory)
        except ConnectionError:
            count = 0
        if not count:
            raise EOFError("the other side is gone")
        return count


def _length(found: bytes | memoryview) -> int:
    """How long the message is that begins with these bytes."""
    length = int.from_bytes(found[:_HEAD], "little")
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length} bytes; the most is {MAX_MESSAGE_BYTES}")
    return _HEAD + length


def send_descriptors(end: socket.socket, descriptors: Sequence[int]) -> None:
    """Give file descriptors to the process at the other end; they are closed here."""
    try:
        if descriptors:
            socket.send_fds(end, [b"."], descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def receive_descriptors(end: socket.socket, count: int) -> list[int]:
    """The descriptors that were sent together.

    Raises:
        EOFError: when the other side is gone.
    """
    if not count:
        return []
    found, descriptors, _, _ = socket.recv_fds(end, 1, count)
    if not found:
        raise EOFError("the other side is gone")
    return descriptors
