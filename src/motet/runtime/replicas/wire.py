"""What a process replica and its parent say to each other, over a socket; the arrays themselves go beside it.

    parent                                child
    Load ───────────────────────────────►
         ◄─────────────────────────────── Loaded, or Failed
    Call ───────────────────────────────►
         ◄─────────────────────────────── Full, where the answer needs more room
    Room ───────────────────────────────►
         ◄─────────────────────────────── Answered, or Failed

A message is its length, 4 bytes, the lowest first, and that many bytes of MessagePack. File descriptors of new shared
memory come with the message that names it (SCM_RIGHTS). There is never more than one message on its way.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

__all__ = [
    "Answered",
    "Call",
    "Connection",
    "Failed",
    "Full",
    "Load",
    "Loaded",
    "Piece",
    "Place",
    "Raised",
    "Room",
]

T = TypeVar("T")
Place = tuple[str, tuple[int, ...], int]
"""An array in shared memory: its dtype, its shape, and at which byte it begins."""
MAX_MESSAGE_BYTES = 2**26
MAX_FDS = 8
_RECEIVE_BYTES = 2**16
_HEAD = 4


class Piece(msgspec.Struct, array_like=True):
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
    """An exception of the model; see `raised.py`.

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
    """

    handler: str
    source: bytes
    memory_limit_bytes: int


class Call(msgspec.Struct, array_like=True, tag=True):
    """Answer a batch.

    Attributes:
        fresh: number and bytes of blocks whose descriptors come with this message.
        gone: numbers of blocks that are not used any more.
        request: the block that the columns are in.
        answer: the block that the answer is to be written to.
        columns: the columns.
    """

    fresh: tuple[tuple[int, int], ...]
    gone: tuple[int, ...]
    request: int
    answer: int
    columns: tuple[Piece, ...]


class Room(msgspec.Struct, array_like=True, tag=True):
    """A larger block for an answer, or that there is none (`answer` is -1)."""

    fresh: tuple[tuple[int, int], ...]
    gone: tuple[int, ...]
    answer: int


class Loaded(msgspec.Struct, array_like=True, tag=True):
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

    columns: tuple[Piece, ...]
    num_bytes: int
    kept: bool


class Failed(msgspec.Struct, array_like=True, tag=True):
    """The model raised."""

    error: Raised
    kept: bool


class Connection(Generic[T]):
    """One end of the socket; one thread at a time.

    Args:
        end: a stream socket.
        kinds: what comes in: a union of the messages.
    """

    def __init__(self, end: socket.socket, kinds: Any) -> None:
        self._socket = end
        self._encode, self._decode = msgspec.msgpack.Encoder().encode_into, msgspec.msgpack.Decoder(kinds).decode
        self._out = bytearray(256)

    def send(self, message: msgspec.Struct, fds: Sequence[int] = (), deadline: float | None = None) -> None:
        """Send a message.

        Args:
            message: what to send.
            fds: file descriptors that go with it; they stay open here.
            deadline: as for `receive`.

        Raises:
            OSError: when the other side is gone.
            TimeoutError: when it does not take it in time.
        """
        self._wait_until(deadline)
        out = self._out
        self._encode(message, out, _HEAD)
        out[:_HEAD] = (len(out) - _HEAD).to_bytes(_HEAD, "little")
        sent = socket.send_fds(self._socket, [out], fds) if fds else 0
        self._socket.sendall(memoryview(out)[sent:])

    def receive(self, deadline: float | None = None) -> T:
        """The next message, by itself.

        Args:
            deadline: until when, in the time of `time.monotonic`; None waits for as long as it takes.

        Raises:
            EOFError: when the other side is gone.
            TimeoutError: when it is not there in time.
            ValueError: when it is none of the messages.
        """
        found = self._some(deadline)
        whole = _length(found)
        if len(found) != whole:
            found = self._rest(found, deadline)
        return self._decode(memoryview(found)[_HEAD:])  # type: ignore[no-any-return]

    def _rest(self, found: bytes, deadline: float | None) -> bytes:
        while len(found) < _HEAD or len(found) < _length(found):
            found += self._some(deadline)
        if len(found) > _length(found):
            raise ValueError(f"{len(found) - _length(found)} bytes came behind a message")
        return found

    def _some(self, deadline: float | None) -> bytes:
        self._wait_until(deadline)
        try:
            found = self._socket.recv(_RECEIVE_BYTES)
        except ConnectionError:
            found = b""
        if not found:
            raise EOFError("the other side is gone")
        return found

    def _wait_until(self, deadline: float | None) -> None:
        self._socket.settimeout(None if deadline is None else max(1e-4, deadline - time.monotonic()))

    def receive_fds(self) -> tuple[T, list[int]]:
        """The next message and the file descriptors that came with it; raises as `receive` does."""
        found, fds, _, _ = socket.recv_fds(self._socket, _RECEIVE_BYTES, MAX_FDS)
        if not found:
            raise EOFError("the other side is gone")
        if len(found) != _length(found):
            found = self._rest(found, None)
        return self._decode(memoryview(found)[_HEAD:]), fds


def _length(found: bytes) -> int:
    """How long the message is that begins with these bytes."""
    length = int.from_bytes(found[:_HEAD], "little")
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length} bytes; the most is {MAX_MESSAGE_BYTES}")
    return _HEAD + length
