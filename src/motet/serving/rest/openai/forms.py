"""What is asked in OpenAI's protocol and how it is answered: chats, completions, embeddings.

https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from motet.errors import InputError
from motet.models.openai.ranges import wrong_parameter
from motet.serving.batching.parameters import FailedRowsError
from motet.serving.batching.request import Reply
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.rest.openai.endings import ending_of
from motet.serving.rest.openai.heard import FORM, TOOLS, check_heard
from motet.serving.rest.openai.shapes import MESSAGES, Shape, embedding_shape, text_shape

__all__ = ["CHAT", "COMPLETION", "EMBEDDING", "LanguageForm"]

Body = Mapping[str, Any]


class LanguageForm(ABC):
    """A kind of question.

    Attributes:
        path: where it is asked.
        name: of the object that answers.
        chunk: of the objects of a stream; empty where there is none.
        prefix: what ids begin with.
        hears: what graphs are told that have inputs of these names, and changes the form of the answer.
    """

    path: ClassVar[str]
    name: ClassVar[str]
    chunk: ClassVar[str] = ""
    prefix: ClassVar[str] = ""
    hears: ClassVar[tuple[str, ...]] = FORM

    @abstractmethod
    def shape(self, served: RepositoryEntry) -> Shape:
        """How a graph is asked; raises `InputError` when it cannot be."""

    @abstractmethod
    def given(self, body: Body, *, whole: bool) -> list[Any]:
        """What each row's input is given.

        Args:
            body: of the request.
            whole: whether that is a conversation.

        Raises:
            InputError: when it is not what it must be.
        """

    @abstractmethod
    def answer(self, reply: Reply, served: RepositoryEntry, body: Body) -> dict[str, Any]:
        """The object that answers."""

    def piece(self, row: int, text: str, *, first: bool) -> dict[str, Any]:
        """The choice of a part of a stream that has the next piece of a row's text."""
        raise NotImplementedError(f"{self.path} does not stream")

    def last(self, row: int, reason: str) -> dict[str, Any]:
        """The choice that ends a row's text."""
        return {"index": row, "text": "", "logprobs": None, "finish_reason": reason}

    def called(self, row: int, calls: list[dict[str, Any]], *, first: bool) -> dict[str, Any]:
        """The choice of a part of a stream that has the calls of tools that a row's answer wants.

        Raises:
            FailedRowsError: when such an answer has none.
        """
        raise FailedRowsError(f"row {row}: the answer calls tools, which {self.path} cannot tell; ask {_Chat.path}")

    def chunk_head(self, served: RepositoryEntry) -> dict[str, Any]:
        """What every part of a stream begins with."""
        return self.head(self.chunk, self.prefix, served)

    def texts(self, reply: Reply, served: RepositoryEntry) -> list[str]:
        """The texts of the rows.

        Raises:
            FailedRowsError: when a row has none.
        """
        output = self.shape(served).output
        texts = [reply.columns[output][row] for row in range(reply.first, reply.end)]
        for place, text in enumerate(texts):
            if text is None:
                raise FailedRowsError(f"row {place}: the graph gave no {output!r}")
        return [str(text) for text in texts]

    @staticmethod
    def usage(reply: Reply) -> dict[str, int] | None:
        """The tokens of all rows, where the graph has outputs of these names; None where it does not say."""
        found = {}
        for name in ("prompt_tokens", "completion_tokens"):
            column = reply.columns.get(name)
            if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
                found[name] = int(column[reply.first : reply.end].sum())
        return {**found, "total_tokens": sum(found.values())} if "prompt_tokens" in found else None

    def _used(self, reply: Reply) -> dict[str, Any]:
        usage = self.usage(reply)
        return {} if usage is None else {"usage": usage}

    def rows(self, body: Body, served: RepositoryEntry) -> list[dict[str, Any]]:
        """The rows of a request. Parameters that the graph has inputs for are given to them; the other ones mean nothing here.

        Raises:
            InputError: when something is asked for that is not offered, or the graph is none of texts.
        """
        self.is_streamed(body)
        if self.prefix and (wrong := wrong_parameter(body)):
            raise InputError(wrong)
        taken, inputs = self.shape(served).input, served.inputs
        check_heard(body, served, self.hears)
        values = self.given(body, whole=taken == MESSAGES)
        if taken == MESSAGES and inputs[taken].type.dtype == "string":
            values = [json.dumps(value, ensure_ascii=False) for value in values]
        more = {name: body[name] for name in inputs if name != taken and body.get(name) is not None and name != "model"}
        return [{taken: value, **more} for value in values]

    def is_streamed(self, body: Body) -> bool:
        """Whether the answer is to come in parts.

        Raises:
            InputError: when it cannot, or what is said of it is wrong.
        """
        stream = body.get("stream")
        if stream not in (None, True, False):
            raise InputError(f"'stream' must be true or false; got {stream!r}")
        if stream and not self.chunk:
            raise InputError("'stream' is not offered here", hint="leave it out")
        return bool(stream)

    @staticmethod
    def head(name: str, prefix: str, served: RepositoryEntry) -> dict[str, Any]:
        """What every answer in words begins with."""
        return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": name, "created": int(time.time()), "model": served.name}


class _Chat(LanguageForm):
    path, name = "/v1/chat/completions", "chat.completion"
    chunk, prefix = "chat.completion.chunk", "chatcmpl"
    hears = (*FORM, *TOOLS)

    def shape(self, served: RepositoryEntry) -> Shape:
        return text_shape(served)

    def given(self, body: Body, *, whole: bool) -> list[Any]:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InputError("'messages' must be a list of messages", hint='send [{"role": "user", "content": "..."}]')
        for place, each in enumerate(messages):
            if not isinstance(each, dict) or not isinstance(each.get("role"), str) or not _has_content(each):
                raise InputError(f"message {place} is not an object with a role and content")
        if whole:
            return [messages]
        if messages[-1]["role"] in ("tool", "function"):
            hint = "ask a graph that has an input 'messages'"
            raise InputError("the last message is what a tool gave, which this graph is not told", hint=hint)
        asked = next((each for each in reversed(messages) if each["role"] == "user"), None)
        if asked is None:
            raise InputError("there is no message of the role 'user'")
        return [_text_of(asked["content"])]

    def answer(self, reply: Reply, served: RepositoryEntry, body: Body) -> dict[str, Any]:
        (text,), ending = self.texts(reply, served), ending_of(reply, served, 0)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if ending.calls:
            message |= {"content": text or None, "tool_calls": ending.calls}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": ending.reason}
        return {**self.head(self.name, self.prefix, served), "choices": [choice], **self._used(reply)}

    def piece(self, row: int, text: str, *, first: bool) -> dict[str, Any]:
        delta = {"role": "assistant", "content": text} if first else {"content": text}
        return {"index": row, "delta": delta, "logprobs": None, "finish_reason": None}

    def last(self, row: int, reason: str) -> dict[str, Any]:
        return {"index": row, "delta": {}, "logprobs": None, "finish_reason": reason}

    def called(self, row: int, calls: list[dict[str, Any]], *, first: bool) -> dict[str, Any]:
        delta: dict[str, Any] = {"role": "assistant", "content": None} if first else {}
        delta["tool_calls"] = [{"index": place, **each} for place, each in enumerate(calls)]
        return {"index": row, "delta": delta, "logprobs": None, "finish_reason": None}


class _Completion(LanguageForm):
    path, name = "/v1/completions", "text_completion"
    chunk, prefix = "text_completion", "cmpl"

    def shape(self, served: RepositoryEntry) -> Shape:
        return text_shape(served)

    def given(self, body: Body, *, whole: bool) -> list[Any]:
        texts = _strings(body, "prompt")
        return [[{"role": "user", "content": text}] for text in texts] if whole else texts

    def answer(self, reply: Reply, served: RepositoryEntry, body: Body) -> dict[str, Any]:
        choices = []
        for place, text in enumerate(self.texts(reply, served)):
            ending = ending_of(reply, served, place)
            if ending.calls:
                self.called(place, ending.calls, first=True)
            choices.append({"index": place, "text": text, "logprobs": None, "finish_reason": ending.reason})
        return {**self.head(self.name, self.prefix, served), "choices": choices, **self._used(reply)}

    def piece(self, row: int, text: str, *, first: bool) -> dict[str, Any]:
        return {"index": row, "text": text, "logprobs": None, "finish_reason": None}


class _Embedding(LanguageForm):
    path, name = "/v1/embeddings", "list"

    def shape(self, served: RepositoryEntry) -> Shape:
        return embedding_shape(served)

    def given(self, body: Body, *, whole: bool) -> list[Any]:
        if body.get("encoding_format", "float") not in ("float", "base64"):
            raise InputError(f"'encoding_format' must be float or base64; got {body['encoding_format']!r}")
        texts = _strings(body, "input")
        return [[{"role": "user", "content": text}] for text in texts] if whole else texts

    def answer(self, reply: Reply, served: RepositoryEntry, body: Body) -> dict[str, Any]:
        coded, column = body.get("encoding_format") == "base64", reply.columns[self.shape(served).output]
        size, data = body.get("dimensions"), []
        for place, row in enumerate(range(reply.first, reply.end)):
            vector = np.asarray(column[row], "<f4")
            if size is not None and size != len(vector):
                raise InputError(f"'dimensions' must be {len(vector)} or left out; got {size!r}")
            value = base64.b64encode(vector.tobytes()).decode() if coded else vector.tolist()
            data.append({"object": "embedding", "index": place, "embedding": value})
        usage = self.usage(reply) or {"prompt_tokens": 0, "total_tokens": 0}
        return {"object": self.name, "model": served.name, "data": data, "usage": usage}


CHAT, COMPLETION, EMBEDDING = _Chat(), _Completion(), _Embedding()


def _has_content(message: Mapping[str, Any]) -> bool:
    """Whether it says something, or calls tools."""
    return "content" in message or bool(message.get("tool_calls") or message.get("function_call"))


def _strings(body: Body, name: str) -> list[str]:
    """One text, or a list of them."""
    value = body.get(name)
    values: Sequence[Any] = [value] if isinstance(value, str) else value if isinstance(value, list) else ()
    if not values or not all(isinstance(each, str) for each in values):
        what = "a list of something else" if isinstance(value, list) else type(value).__name__
        raise InputError(f"{name!r} must be a text or a list of texts; got {what}", hint="tokens are not taken")
    return list(values)


def _text_of(content: Any) -> str:
    """The text of a message, whose content may be parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    if not all(isinstance(each, dict) and isinstance(each.get("text"), str) for each in parts):
        raise InputError("the content of the last message of the user must be text")
    return "".join(each["text"] for each in parts if each is not None)
