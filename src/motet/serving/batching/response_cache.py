"""A cache of answers, by the content of the inputs and the versions of the models.

A request whose rows are equal, bit for bit, to those of one that was answered gets the same answer. It is off unless it is
configured: only the one who serves a graph knows that its answers depend on nothing else.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from motet.batch import Column, Ragged
from motet.serving.batching.request import Reply

__all__ = ["ResponseCache"]

_ENTRY_BYTES = 400
"""What an entry takes beside its columns."""
_LARGEST = 4
"""One entry may have this part of the cache."""


class ResponseCache:
    """Answers, the least recently given of which goes first. For one thread.

    Args:
        max_bytes: what it may hold.
        ttl_s: how long an answer is given again; 0 is for ever.
        clock: seconds, from any start.

    Attributes:
        held_bytes: what it holds.
    """

    def __init__(self, max_bytes: int, ttl_s: float = 0.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes, self.ttl_s, self._clock = max_bytes, ttl_s, clock
        self._entries: OrderedDict[bytes, tuple[dict[str, Column], int, float]] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def key(self, graph_name: str, versions_digest: str, columns: Mapping[str, Column], rows: int) -> bytes:
        """What an answer is kept under.

        Args:
            graph_name: the graph.
            versions_digest: what its answers depend on beside their inputs: the versions of its models.
            columns: the inputs, of the request's rows alone.
            rows: how many.

        Returns:
            16 bytes, or none where an input holds a value that cannot be told from others: `get` and `put` take that for a
            request that is not kept.
        """
        digest = hashlib.blake2b(digest_size=16)
        _text(digest, graph_name)
        _text(digest, versions_digest)
        digest.update(struct.pack("<q", rows))
        try:
            for name in sorted(columns):
                _text(digest, name)
                _column(digest, columns[name])
        except _Untold:
            return b""
        return digest.digest()

    def get(self, key: bytes) -> Mapping[str, Column] | None:
        """The answer to a request, which must not be changed; None where there is none."""
        found = self._entries.get(key)
        if found is None:
            return None
        if self.ttl_s and self._clock() - found[2] >= self.ttl_s:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: bytes, columns: Mapping[str, Column]) -> None:
        """Keep an answer; what holds more than a quarter of the cache is not kept."""
        if not key:
            return
        size = _ENTRY_BYTES + sum(_bytes(column) for column in columns.values())
        if size > self.max_bytes // _LARGEST:
            return
        if key in self._entries:
            self._remove(key)
        kept = {name: _alone(column) for name, column in columns.items()}
        self._entries[key] = kept, size, self._clock()
        self.held_bytes += size
        while self.held_bytes > self.max_bytes:
            self._remove(next(iter(self._entries)))

    def keep(self, key: bytes, reply: Reply) -> None:
        """Keep a reply's rows, if all of them were answered."""
        if key and not reply.failures and reply.kept is None:
            self.put(key, {name: column[reply.first : reply.end] for name, column in reply.columns.items()})

    def clear(self) -> None:
        """Forget all answers."""
        self._entries.clear()
        self.held_bytes = 0

    def _remove(self, key: bytes) -> None:
        self.held_bytes -= self._entries.pop(key)[1]


class _Untold(Exception):
    """A value that has no canonical bytes."""


class _Digest(Protocol):
    def update(self, data: Any, /) -> None: ...


def _text(digest: _Digest, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    digest.update(struct.pack("<q", len(data)))
    digest.update(data)


def _column(digest: _Digest, column: Column) -> None:
    if isinstance(column, Ragged):
        digest.update(b"r")
        digest.update(np.ascontiguousarray(column.shapes).tobytes())
        _column(digest, column.values[column.offsets[0] : column.offsets[-1]])
    elif column.dtype == object:
        _text(digest, f"o{column.shape}")
        for value in column.flat:
            _value(digest, value)
    else:
        _text(digest, f"{column.dtype.str}{column.shape}")
        digest.update(np.ascontiguousarray(column).data if column.size else b"")


def _value(digest: _Digest, value: Any) -> None:
    """A value by its type and content, so that no two that differ have the same bytes."""
    if isinstance(value, str):
        digest.update(b"s")
        _text(digest, value)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        digest.update(b"b" + struct.pack("<q", memoryview(value).nbytes))
        digest.update(value)
    elif value is None or isinstance(value, (bool, int, float)):
        digest.update(type(value).__name__[:1].encode())
        _text(digest, repr(value))
    elif isinstance(value, np.ndarray):
        digest.update(b"a")
        _column(digest, value)
    elif isinstance(value, np.generic):
        digest.update(b"g")
        _column(digest, np.asarray(value))
    elif isinstance(value, (list, tuple)):
        digest.update(b"l" + struct.pack("<q", len(value)))
        for each in value:
            _value(digest, each)
    elif isinstance(value, Mapping):
        digest.update(b"m" + struct.pack("<q", len(value)))
        for name, each in value.items():
            _value(digest, name)
            _value(digest, each)
    else:
        raise _Untold


def _bytes(column: Column) -> int:
    if isinstance(column, np.ndarray) and column.dtype == object:
        return column.nbytes + sum(_object_bytes(value) for value in column.flat)
    return column.nbytes


def _object_bytes(value: Any) -> int:
    if isinstance(value, (list, tuple)):
        return 60 + sum(8 + _object_bytes(each) for each in value)
    if isinstance(value, Mapping):
        return 230 + sum(_object_bytes(name) + _object_bytes(each) + 24 for name, each in value.items())
    return 50 + (len(value) if isinstance(value, (str, bytes, bytearray)) else int(getattr(value, "nbytes", 0)))


def _alone(column: Column) -> Column:
    """A column that shares no memory with another, and cannot be changed."""
    if isinstance(column, Ragged):
        return column.take(np.arange(len(column)))
    alone = column.copy()
    alone.flags.writeable = False
    return alone
