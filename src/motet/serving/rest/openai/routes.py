"""`POST /v1/chat/completions`, `/v1/completions` and `/v1/embeddings`: graphs asked as language models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from motet.errors import InputError, MotetError
from motet.runtime.rows import JsonRows
from motet.serving.batching.parameters import failed_rows
from motet.serving.batching.request import Reply
from motet.serving.batching.request_future import RequestFuture
from motet.serving.middleware.context import RequestContext
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.rest.openai.errors import openai_error
from motet.serving.rest.openai.forms import CHAT, COMPLETION, EMBEDDING, LanguageForm
from motet.serving.rest.openai.stream import ChunkStream
from motet.serving.rest.predict import PredictRequest, PredictWhole, decoded
from motet.serving.rest.respond import json_response
from motet.serving.rest.stream import AnswerStream

__all__ = ["OpenAIRoutes"]


class _Named(msgspec.Struct):
    """As much of a body as is read before its caller is let in."""

    model: str


@dataclass
class _Question(PredictRequest):
    """Attributes: body, what was asked, as it came."""

    body: Mapping[str, Any] = field(default_factory=dict)


class OpenAIRoutes:
    """Answers what OpenAI's clients ask.

    Args:
        arguments: those of `Predict`.
    """

    def __init__(self, *arguments: Any) -> None:
        self._forms = [_Ask(form, *arguments) for form in (CHAT, COMPLETION, EMBEDDING)]

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route(each.form.path, _told(each), methods=["POST"]) for each in self._forms]


def _told(ask: PredictWhole) -> Callable[[Request], Awaitable[Response]]:
    """A route that says its errors as the protocol has them."""

    async def answer(request: Request) -> Response:
        try:
            return await ask(request)
        except MotetError as error:
            return openai_error(error)

    return answer


class _Ask(PredictWhole):
    """Answers one form of question.

    Args:
        form: of the question.
        arguments: those of `Predict`.
    """

    def __init__(self, form: LanguageForm, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.form = form

    async def __call__(self, request: Request) -> Response:
        """Let a request in, play it, answer it.

        Raises:
            MotetError: when it cannot be answered.
        """
        arrived, body = asyncio.get_running_loop().time(), await request.body()
        try:
            name = msgspec.json.decode(self._inflated(request, body), type=_Named).model
        except (msgspec.DecodeError, RecursionError) as error:
            raise InputError(f"the body must be a JSON object with a 'model': {error}") from error
        return await self._entered(request, body, self._repository.find(name, ""), arrived)

    async def _read(self, request: Request, body: bytes, served: RepositoryEntry) -> PredictRequest:
        value = await decoded(self._inflated(request, body))
        given = _Question(id=request.headers.get("x-request-id", ""), body=value, parameters=self._in_query(request))
        given.rows, given.stream = self.form.rows(value, served), self.form.is_streamed(value)
        return given

    async def _response(
        self, request: Request, given: PredictRequest, rows: JsonRows, reply: Reply | None, served: RepositoryEntry
    ) -> Response:
        assert isinstance(given, _Question)
        assert reply is not None  # no form has no rows
        if reply.failures:
            raise failed_rows(reply, rows.total)
        return json_response(self.form.answer(reply, served, given.body))

    def _stream(
        self,
        given: PredictRequest,
        rows: JsonRows,
        played: RequestFuture,
        served: RepositoryEntry,
        context: RequestContext,
    ) -> AnswerStream:
        assert isinstance(given, _Question)
        failed = partial(self._fail, played=played, context=context)
        return ChunkStream(self.form, given.body, served, rows, played, failed, context)
