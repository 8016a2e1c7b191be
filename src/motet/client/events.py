"""An answer that comes as server-sent events: from their bytes to the pieces of a text, and the answer at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from motet.client.refusals import error_of
from motet.errors import InputError, RequestError
from motet.oip.asking import RemoteAnswer
from motet.oip.rest import decode_json
from motet.system.server_events import EventReader, ServerEvent

__all__ = ["PieceEvents"]


class PieceEvents:
    """Takes the bytes of a stream as they come.

    Args:
        output: of which the pieces are wanted.
        where: who was asked for what.
        timeout_s: how long it might have taken.

    Attributes:
        answer: outputs by name, once the last event has come; None before.
    """

    def __init__(self, output: str, where: str, timeout_s: float) -> None:
        self._output, self._where, self._timeout_s = output, where, timeout_s
        self._events = EventReader(where)
        self._said: list[str] = []
        self.answer: dict[str, Any] | None = None

    def take(self, part: bytes) -> Iterator[str]:
        """The pieces that are whole with these bytes. With the last event the rest of the text comes.

        Raises:
            MotetError: when the server says that it failed, or what it says is not understood.
        """
        for event in self._events.take(part):
            if self.answer is None and (piece := self._of_event(event)):
                self._said.append(piece)
                yield piece

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            RequestError: when it was cut off before its end.
        """
        if self.answer is None:
            raise RequestError("the answer was cut off before its end", where=self._where)

    def _of_event(self, event: ServerEvent) -> str:
        """What there is to say once an event has come."""
        kind, data = event
        try:
            said = decode_json(data, self._where)
        except InputError as error:
            raise RequestError(f"an event of the answer is not understood: {error.what}", where=self._where) from error
        if not isinstance(said, dict):
            raise RequestError("an event of the answer is no object of JSON", where=self._where)
        if kind == "error":
            status = said.get("status")
            refused = RemoteAnswer(status if isinstance(status, int) and status >= 400 else 500, {}, data)
            raise error_of(refused, self._where, self._timeout_s) or RequestError(refused.error, where=self._where)
        if kind == "result":
            return self._rest(self._answered(said))
        piece = said.get("text") if kind == "piece" and said.get("output") == self._output else ""
        return piece if isinstance(piece, str) else ""

    def _answered(self, said: dict[str, Any]) -> dict[str, Any]:
        """The only row of the last event.

        Raises:
            InputError: when it failed.
        """
        rows = said.get("rows")
        if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
            raise RequestError("the answer has not one row", where=self._where)
        row: dict[str, Any] = rows[0]
        if set(row) == {"error"} and self._output != "error":
            raise InputError(str(row["error"]), where=self._where)
        return row

    def _rest(self, answer: dict[str, Any]) -> str:
        """What was not yet said of the text.

        Raises:
            InputError: when the graph has no such text.
            RequestError: when it is another one than was said.
        """
        if self._output not in answer:
            raise InputError(f"there is no output {self._output!r}; it gives {', '.join(answer)}", where=self._where)
        text, said = answer.get(self._output), "".join(self._said)
        if text is None and not said:
            text = ""
        if not isinstance(text, str):
            raise InputError(f"output {self._output!r} is no text", where=self._where)
        if not text.startswith(said):
            raise RequestError("the answer has another text than its pieces", where=self._where)
        self.answer = answer
        return text[len(said) :]
