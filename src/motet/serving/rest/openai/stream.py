"""Answers of language models in parts, as OpenAI has them: the role, the text piece by piece, the tools to be called, why it ended,
and what was used.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from motet.errors import MotetError
from motet.runtime.executor import Call
from motet.runtime.rows import JsonRows
from motet.serving.batching.parameters import failed_rows
from motet.serving.batching.request import Reply
from motet.serving.batching.request_future import RequestFuture
from motet.serving.middleware.context import RequestContext
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.rest.openai.endings import ending_of
from motet.serving.rest.openai.errors import openai_error, openai_error_body
from motet.serving.rest.openai.forms import LanguageForm
from motet.serving.rest.stream import AnswerStream

__all__ = ["ChunkStream"]


class ChunkStream(AnswerStream):
    """An answer in parts. What fails before the first of them is answered with the status of its error.

    Args:
        form: of the question.
        body: what was asked, as it came.
        served: the graph.
        rows, played, failed, context: see `AnswerStream`.
    """

    is_eager = False

    def __init__(
        self,
        form: LanguageForm,
        body: Mapping[str, Any],
        served: RepositoryEntry,
        rows: JsonRows,
        played: RequestFuture,
        failed: Callable[[BaseException], None],
        context: RequestContext,
    ) -> None:
        super().__init__(rows, played, failed, context)
        options = body.get("stream_options")
        self._usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        self._form, self._served, self._output = form, served, form.shape(served).output
        self._head = form.chunk_head(served) | ({"usage": None} if self._usage else {})
        self._said: dict[int, int] = {}
        self._error: MotetError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts."""
        await super().__call__(scope, receive, send)
        if self._error is not None:
            await openai_error(self._error)(scope, receive, send)

    def _of_call(self, call: Call) -> bytes:
        return b""

    def _of_piece(self, row: int, output: str, piece: str) -> bytes:
        if output != self._output:
            return b""
        first = row not in self._said
        self._said[row] = self._said.get(row, 0) + len(piece)
        return self._chunk([self._form.piece(row, piece, first=first)])

    def _of_reply(self, reply: Reply) -> bytes:
        if reply.failures:
            raise failed_rows(reply, self._rows.total)
        parts = []
        for row, text in enumerate(self._form.texts(reply, self._served)):
            ending = ending_of(reply, self._served, row)
            if self._said.get(row, 0) < len(text) or (row not in self._said and not ending.calls):
                parts.append(self._of_piece(row, self._output, text[self._said.get(row, 0) :]))
            if ending.calls:
                called = self._form.called(row, ending.calls, first=row not in self._said)
                parts.append(self._chunk([called]))
            found = reply.feedback_ids[row] if reply.feedback_ids else ""
            parts.append(
                self._chunk([self._form.last(row, ending.reason)], **({"feedback_id": found} if found else {}))
            )
        if self._usage:
            parts.append(self._chunk([], usage=self._form.usage(reply)))
        return b"".join([*parts, b"data: [DONE]\n\n"])

    def _of_error(self, error: MotetError) -> bytes:
        if not self._begun:
            self._error = error
            return b""
        return b"data: " + msgspec.json.encode(openai_error_body(error)) + b"\n\n"

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + msgspec.json.encode({**self._head, "choices": choices, **more}) + b"\n\n"
