"""An answer that comes as server-sent events: its text as it grows, and in the end the object that a whole answer is.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from motet.errors import AnswerError, RequestError, cut
from motet.models.openai.tool_calls import CallParts, with_pairs
from motet.oip.asking import error_of
from motet.oip.rest import decode_json
from motet.system.pieces import Say
from motet.system.server_events import EventReader

__all__ = ["AnswerEvents", "AnswerParts"]

_DONE = b"[DONE]"
_NO_TEXT = ("tool_calls", "function_call")
"""Why answers end that are no texts."""


class AnswerParts:
    """Puts an answer together from the objects of a stream.

    Args:
        say: is given each piece of the text; None for nobody.
        where: the model, for messages.
        chat: whether it is one of a chat; else of a completion.
    """

    def __init__(self, say: Say | None, where: str, *, chat: bool) -> None:
        self._say, self._where, self._chat = say, where, chat
        self._texts: list[str] = []
        self._half, self._has_text = "", False
        self._refusal: list[str] = []
        self._calls = CallParts(where)
        self._logprobs: list[Any] = []
        self._finish: Any = None
        self._usage: Any = None

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take the next object.

        Raises:
            AnswerError: when a call of a tool in it is none.
            DeadlineError: when nobody waits for more of the text.
        """
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and choice.get("index", 0) == 0:
                self._choice(choice)

    @property
    def is_finished(self) -> bool:
        """Whether it is said why the text ended."""
        return self._finish is not None

    def whole(self) -> dict[str, Any]:
        """The object that answers where no stream is asked for."""
        text = "".join([*self._texts, self._half]) if self._has_text else self._nothing()
        choice: dict[str, Any] = {"index": 0, "finish_reason": self._finish}
        if self._chat:
            called = {"tool_calls": self._calls.whole()} if self._calls else {}
            choice["message"] = {
                "role": "assistant",
                "content": text,
                "refusal": "".join(self._refusal) or None,
            } | called
            choice["logprobs"] = {"content": self._logprobs}
        else:
            choice |= {"text": text, "logprobs": {"token_logprobs": self._logprobs}}
        return {"choices": [choice], "usage": self._usage}

    def _nothing(self) -> str | None:
        """The text where none was said: a chat may end at once, and calls of tools have none; a completion always says one."""
        return "" if self._chat and not self._calls and self._finish not in _NO_TEXT else None

    def _choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta") if self._chat else choice
        delta = delta if isinstance(delta, Mapping) else {}
        said = choice.get("logprobs")
        if isinstance(said, Mapping):
            self._logprobs += said.get("content" if self._chat else "token_logprobs") or ()
        self._finish = choice.get("finish_reason") or self._finish
        if isinstance(refusal := delta.get("refusal"), str):
            self._refusal.append(refusal)
        self._calls.add(delta.get("tool_calls"))
        piece = delta.get("content" if self._chat else "text")
        self._has_text = self._has_text or (isinstance(piece, str) and (bool(piece) or not self._chat))
        if isinstance(piece, str) and piece:
            self._add(piece)

    def _add(self, piece: str) -> None:
        """Take a piece. Half of a character at its end, a surrogate, waits for the other half."""
        if self._half:
            piece, self._half = with_pairs(self._half + piece), ""
        if "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        if piece:
            self._texts.append(piece)
            if self._say is not None:
                self._say(piece)


class AnswerEvents(AnswerParts):
    """Puts an answer together from the bytes of server-sent events.

    Args:
        say, where, chat: see `AnswerParts`.
        told: takes what must not be told out of what the endpoint says.
    """

    def __init__(self, say: Say, where: str, told: Callable[[str], str], *, chat: bool) -> None:
        super().__init__(say, where, chat=chat)
        self._bytes, self._events, self._plain = bytearray(), EventReader(where), False
        self._told, self._over = told, False

    def take(self, headers: Mapping[str, str], part: bytes) -> bool:
        """Take some bytes of it; whether it is whole with them.

        Raises:
            AnswerError: when an event is not understood.
            RequestError: when the endpoint says that it failed, or an event is too long.
            DeadlineError: when nobody waits for more of it.
        """
        self._plain = not headers.get("content-type", "").startswith("text/event-stream")
        if self._plain:
            self._bytes += part
        else:
            self._take(part)
        return self._over

    def answer(self) -> Any:
        """The whole of it, as an endpoint answers that is not asked for events.

        Raises:
            RequestError: when it was cut off.
            InputError: when it came at one go, and is no JSON.
        """
        if self._plain:
            return decode_json(self._bytes, "")
        self._take(b"\n\n")  # which the last event may lack
        if not self._over and not self.is_finished:
            raise RequestError("the answer was cut off before its end", where=self._where)
        return self.whole()

    def _take(self, part: bytes) -> None:
        for event in self._events.take(part):
            self._event(event.data)

    def _event(self, event: bytes) -> None:
        if event == _DONE:
            self._over = True
        if self._over:
            return
        try:
            chunk = decode_json(event, "")
        except ValueError as error:
            told = cut(self._told(event.decode(errors="replace")))
            raise AnswerError(f"an event of the answer is no JSON; it is {told!r}", where=self._where) from error
        if not isinstance(chunk, dict):
            what = f"an event of the answer is no object of JSON; it is {cut(self._told(str(chunk)))!r}"
            raise AnswerError(what, where=self._where)
        if chunk.get("error"):
            raise RequestError(self._told(f"its server answered an error: {error_of(chunk)}"), where=self._where)
        self.add(chunk)
