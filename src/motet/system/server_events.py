"""Server-sent events, read from their bytes as these come.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from motet.errors import RequestError

__all__ = ["MAX_EVENT_BYTES", "EventReader", "ServerEvent"]

MAX_EVENT_BYTES = 2**28
"""The longest event; the last one may hold a whole answer."""


class ServerEvent(NamedTuple):
    """An event.

    Attributes:
        kind: what its field `event` says; empty where it has none.
        data: its lines of data, put together.
    """

    kind: str
    data: bytes


class EventReader:
    r"""Takes the bytes of a stream; lines end with \n or \r\n. Comments, and events without data, are passed over.

    Args:
        where: who sends them, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._line, self._data, self._kind, self._size = bytearray(), list[bytes](), "", 0

    def take(self, part: bytes) -> Iterator[ServerEvent]:
        r"""The events that are whole with these bytes; `\n\n` ends one whose end was left out.

        Raises:
            RequestError: when an event has more than `MAX_EVENT_BYTES`.
        """
        self._size += len(part)
        if self._size > MAX_EVENT_BYTES:
            raise RequestError(f"an event has more than {MAX_EVENT_BYTES} bytes", where=self._where)
        first, *rest = part.split(b"\n")
        self._line += first
        for begun in rest:
            line, self._line = bytes(self._line).removesuffix(b"\r"), bytearray(begun)
            if line:
                self._add(line)
                continue
            event = ServerEvent(self._kind, b"\n".join(self._data))
            self._kind, self._data, self._size = "", [], 0
            if event.data:
                yield event

    def _add(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._kind = value.decode(errors="replace")
        elif name == b"data":
            self._data.append(value)
