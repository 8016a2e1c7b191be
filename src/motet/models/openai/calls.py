"""Requests to an endpoint of a language model: many at once, and what goes wrong with one is nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from motet.errors import (
    AnswerError,
    DeadlineError,
    InputError,
    ModelLoadError,
    ModelUnavailableError,
    RequestError,
)
from motet.models.calling import RemoteCaller
from motet.models.handler import TokenUsage
from motet.models.openai.events import AnswerEvents
from motet.models.openai.usage import Price
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall, error_of
from motet.oip.rest import decode_json
from motet.system.patience import check_waited_for
from motet.system.pieces import Say
from motet.threads import side_by_side

__all__ = ["EndpointCalls", "LanguageCalls", "RowCalls"]

S = TypeVar("S")
T = TypeVar("T")
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
_OF_THE_ROW = (408, 502, 504)
"""What a server, or one before it, answers of a request that took too long or broke on its way."""


class LanguageCalls(Protocol):
    """Asks a language model in the form of OpenAI's protocol, wherever it is.

    Attributes:
        spend: told what each request used.
    """

    spend: Callable[[TokenUsage], None]

    def each(self, ask: Callable[[S], T], parts: Sequence[S], /) -> list[T | Exception]:
        """What becomes of each part: what a function makes of it by calling this, or what it raised."""
        ...

    def __call__(self, question: Mapping[str, Any], say: Say | None = None, /) -> tuple[dict[str, Any], TokenUsage]:
        """Ask; the answer, and what it used. `say` is given each piece of its text, where somebody listens."""
        ...

    def close(self) -> None:
        """Let go of what answers."""
        ...


class RowCalls:
    """Has parts asked side by side, each for itself.

    Args:
        at_once: how many there are at most, whoever asks.

    Attributes:
        spend: told what each request used.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once, self._room = at_once, threading.BoundedSemaphore(at_once)
        self.spend: Callable[[TokenUsage], None] = lambda used: None

    def each(self, ask: Callable[[S], T], parts: Sequence[S], /) -> list[T | Exception]:
        """What becomes of each part: what a function makes of it, or what it raised.

        Raises:
            DeadlineError: when nobody waits for them any more; those for which there was no room yet are not asked.
        """

        def one(part: S) -> T | Exception:
            try:
                with self._room:
                    check_waited_for()
                    return ask(part)
            except Exception as error:  # noqa: BLE001 (it stands for the answer)
                return error

        found = side_by_side(one, parts, self._at_once, self._at_once)
        check_waited_for()
        return found


class EndpointCalls(RowCalls):
    """Asks an endpoint.

    Args:
        caller: to the server.
        path: of the requests.
        at_once: how many there are at most, whoever asks.
        price: of tokens.
        where: the model, for messages.
        chat: whether chats are asked for; else completions, or embeddings.

    Attributes:
        spend: told what each request used, also one whose answer is of no use.
    """

    def __init__(self, caller: RemoteCaller, path: str, at_once: int, price: Price, where: str, *, chat: bool) -> None:
        super().__init__(at_once)
        self._caller, self._path, self._price, self._where, self._chat = caller, path, price, where, chat
        self._headers = {**caller.remote.headers, "Content-Type": "application/json", "Accept-Encoding": "identity"}

    def each(self, ask: Callable[[S], T], parts: Sequence[S], /) -> list[T | Exception]:
        """What becomes of each part: what a function makes of it by calling this, or what it raised.

        Once the endpoint has no such model, or refuses the credential, the parts that were not asked are left out.

        Raises:
            DeadlineError: when nobody waits for them any more.
            ModelLoadError: when no part is at fault, and none was answered: the server cannot be reached, refuses all of them,
                or has no such model.
        """
        refused: list[ModelLoadError] = []

        def one(part: S) -> T | Exception:
            if refused:
                return refused[0]
            try:
                return ask(part)
            except ModelLoadError as error:
                if not isinstance(error, ModelUnavailableError):
                    refused.append(error)
                return error

        found = super().each(one, parts)
        if found and all(isinstance(each, ModelLoadError) for each in found):
            raise found[0]  # type: ignore[misc]
        return found

    def __call__(self, question: Mapping[str, Any], say: Say | None = None, /) -> tuple[dict[str, Any], TokenUsage]:
        """Send a request.

        Args:
            question: what is asked.
            say: is given each piece of the text; where it is there, the endpoint is asked to answer by server-sent events.

        Returns:
            The answer, an object of JSON, and what it used.

        Raises:
            MotetError: when it is not answered, or by something else; see `RemoteCaller`.
        """
        events = None if say is None else AnswerEvents(say, self._where, self._caller.told, chat=self._chat)
        body = msgspec.json.encode(question if say is None else {**_STREAM, **question})
        listen = None if events is None else events.take
        got = self._got(lambda left_s: RemoteCall("POST", self._path, self._headers, body, left_s, listen=listen))
        try:
            answer = decode_json(got.body, "") if events is None else events.answer()
        except InputError as error:
            raise AnswerError(error.what, where=self._where) from error
        if not isinstance(answer, dict):
            told = self._caller.told(str(answer))[:80]
            raise AnswerError(f"the answer is no object of JSON; it is {told!r}", where=self._where)
        if answer.get("error"):
            raise RequestError(
                self._caller.told(f"its server answered an error: {error_of(answer)}"), where=self._where
            )
        used = self._price.usage(answer.get("usage"))
        self.spend(used)
        return answer, used

    def _got(self, make: Callable[[float], RemoteCall]) -> RemoteAnswer:
        got = self._caller.ask(make)
        if isinstance(got, LostCall) and got.kind != "connect":
            if got.begun and got.kind == "broken":
                raise RequestError("the answer was cut off before its end", where=self._where)
            if got.kind == "broken":
                raise RequestError("the connection broke before the answer came", where=self._where)
            hint = "allow more time with `with: {timeout_s: ...}`"
            raise DeadlineError(f"no answer within {self._caller.remote.timeout_s:g} s", where=self._where, hint=hint)
        if isinstance(got, RemoteAnswer) and got.status in _OF_THE_ROW:
            raise RequestError(self._caller.told(f"its server answered {got.status}: {got.error}"), where=self._where)
        return self._caller.checked(got)

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()
