"""What a graph says of a language model behind an endpoint, read from `with:`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motet.errors import GraphError, known_names
from motet.models.common import load_error
from motet.models.handler import ModelSource
from motet.models.openai.answer_schema import schema_outputs
from motet.models.openai.prompts import Messages, Prompt, read_messages
from motet.models.openai.ranges import wrong_parameter
from motet.models.openai.usage import Price
from motet.types import ANY, ColumnType, Signature

__all__ = ["AT_ONCE", "MODES", "OPTIONS", "EndpointOptions"]

AT_ONCE = 16
"""Requests at the same time, where nothing else is said."""
MOST_AT_ONCE = 256
TEXTS = 64
"""Texts of a request for embeddings, where nothing else is said."""
MOST_TEXTS = 2048
MODES = {"chat": "chat/completions", "completions": "completions", "embeddings": "embeddings"}
"""What is asked for, and where."""
_PARAMETERS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "presence_penalty", "frequency_penalty",
    "logit_bias", "reasoning_effort", "user",
)  # fmt: skip
"""Handed on as they are."""
_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
"""Handed on as they are in chats."""
_COLUMN = re.compile(r"\{([^\W\d]\w*)\}")
_OF_TEXTS = (
    "system", "messages", "schema", "usage", "score", "finish_reason", "truncated", *_PARAMETERS, *_OF_TOOLS,
)  # fmt: skip
_OF_EMBEDDINGS = ("dimensions", "texts", "user")
OPTIONS = ("mode", "prompt", "key_env", "price", "concurrency", "body", *dict.fromkeys((*_OF_TEXTS, *_OF_EMBEDDINGS)))


@dataclass(frozen=True)
class EndpointOptions:
    """How a language model is asked.

    Attributes:
        mode: one of `MODES`.
        messages: of a chat.
        prompt: of a completion, or the text of an embedding.
        parameters: sent with each request.
        columns: parameters that a row says, by name, each with its column; a row in which that is missing does not send it.
        signature: what it takes and gives, before anything is declared over it.
        schema: the JSON schema of answers; None for text.
        usage, score: whether tokens, and how sure it was, are outputs.
        tools: whether it may call tools, so that its calls are an output.
        truncated: whether an answer that was cut off is one.
        price: of tokens.
        at_once: requests at the same time.
        texts: texts of a request for embeddings.
        dimensions: of embeddings.
    """

    mode: str
    messages: Messages
    prompt: Prompt
    parameters: Mapping[str, Any]
    columns: Mapping[str, str]
    signature: Signature
    schema: Mapping[str, Any] | None
    usage: bool
    score: bool
    tools: bool
    truncated: bool
    price: Price
    priced: bool
    at_once: int
    texts: int
    dimensions: int

    @classmethod
    def read(cls, source: ModelSource) -> EndpointOptions:
        """The options of a model.

        Raises:
            ModelLoadError: when one is not what it must be.
        """
        try:
            return cls._read(source, source.options)
        except GraphError as error:
            raise load_error(
                source, f"{error.where}: {error.what}" if error.where else error.what, error.hint
            ) from error

    @classmethod
    def _read(cls, source: ModelSource, options: Mapping[str, Any]) -> EndpointOptions:
        mode = options.get("mode", "chat")
        if not isinstance(mode, str) or mode not in MODES:
            raise GraphError(f"unknown mode {mode!r}; {known_names(str(mode), tuple(MODES))}")
        _check_mode(mode, options)
        body = options.get("body", {})
        if not isinstance(body, Mapping):
            raise GraphError(f"expected a mapping of what is sent beside; got {type(body).__name__}", where="body")
        if taken := [name for name in body if name in ("model", "messages", "prompt", "input", "stream", "n")]:
            raise GraphError(f"{taken[0]} is not handed on", where="body", hint="leave it out")
        price = options.get("price")
        messages = read_messages(options, "with")
        prompt = Prompt.read(options.get("prompt", "{text}"), "prompt")
        usage, score, truncated, finish = (
            _truth(options, name) for name in ("usage", "score", "truncated", "finish_reason")
        )
        schema, dimensions = options.get("schema"), _dimensions(source) if mode == "embeddings" else 0
        parameters, columns = _parted(
            {**{name: options[name] for name in (*_PARAMETERS, *_OF_TOOLS) if name in options}, **body}
        )
        if wrong := wrong_parameter(parameters):
            raise GraphError(wrong)
        tools = mode == "chat" and ("tools" in parameters or "tools" in columns)
        if tools and schema is not None:
            hint = "leave one of them out, or ask for the form alone: body: {response_format: ...}"
            raise GraphError("schema means nothing with tools: calls of them have no properties of it", hint=hint)
        inputs = messages.names if mode == "chat" else prompt.names
        if not inputs:
            raise GraphError("no column is in the prompt", hint="write the name of a column in braces: {text}")
        outputs = (
            {"embedding": ColumnType("float32", (dimensions,))}
            if mode == "embeddings"
            else _outputs(schema, score=score, usage=usage, priced=price is not None, tools=tools, finish=finish)
        )
        return cls(
            mode=mode,
            messages=messages,
            prompt=prompt,
            parameters=parameters,
            columns=columns,
            signature=Signature(dict.fromkeys((*inputs, *columns.values()), ANY), outputs),
            schema=schema,
            usage=usage,
            score=score,
            tools=tools,
            truncated=truncated,
            price=Price() if price is None else Price.read(price, "price"),
            priced=price is not None,
            at_once=_whole(options, "concurrency", AT_ONCE, MOST_AT_ONCE),
            texts=_whole(options, "texts", TEXTS, MOST_TEXTS),
            dimensions=dimensions,
        )


def _check_mode(mode: str, options: Mapping[str, Any]) -> None:
    """See that what is said means something in this mode."""
    wrong = {
        "chat": ("dimensions", "texts"),
        "completions": ("dimensions", "texts", "system", "messages", "schema", *_OF_TOOLS),
        "embeddings": tuple(name for name in _OF_TEXTS if name not in _OF_EMBEDDINGS),
    }[mode]
    for name in options:
        if name in wrong:
            raise GraphError(f"{name} means nothing with mode: {mode}", hint="leave it out, or change the mode")


def _parted(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters that are the same for all rows, and the columns of those that a row says: `"{column}"`."""
    found = {
        name: match[1]
        for name, value in given.items()
        if isinstance(value, str) and (match := _COLUMN.fullmatch(value))
    }
    return {name: value for name, value in given.items() if name not in found}, found


def _outputs(
    schema: object, *, score: bool, usage: bool, priced: bool, tools: bool, finish: bool
) -> dict[str, ColumnType]:
    found = {"text": ColumnType("string")} if schema is None else schema_outputs(schema, "schema")
    more = {"score": ColumnType("float64")} if score else {}
    more |= {"tool_calls": ANY} if tools else {}
    more |= {"finish_reason": ColumnType("string")} if tools or finish else {}
    if usage:
        more |= {"prompt_tokens": ColumnType("int64"), "completion_tokens": ColumnType("int64")}
        more |= {"cost": ColumnType("float64")} if priced else {}
    for name in more:
        if name in found:
            raise GraphError(f"the schema has a property {name!r}, which is an output already", hint="rename it")
    return {**found, **more}


def _dimensions(source: ModelSource) -> int:
    """How long embeddings are: as asked for, or declared."""
    said = source.options.get("dimensions")
    if said is not None:
        return _whole(source.options, "dimensions", 0, 1 << 20)
    declared = source.outputs.get("embedding")
    size = declared.shape[0] if declared is not None and len(declared.shape) == 1 else None
    if size is None:
        hint = 'declare it, outputs: {embedding: "float32[1536]"}, or ask for a length, with: {dimensions: 256}'
        raise GraphError("how long its embeddings are is not said", hint=hint)
    return size


def _whole(options: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise GraphError(f"{name} must be a whole number from 1 to {most}; got {value!r}")
    return value


def _truth(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise GraphError(f"{name} must be true or false; got {value!r}")
    return value
