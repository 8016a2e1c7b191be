"""Chats and completions: a request a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import AnswerError, InputError, cut
from motet.models.handler import ModelSource, TokenUsage
from motet.models.openai.answer_schema import AnswerSchema
from motet.models.openai.calls import LanguageCalls
from motet.models.openai.options import EndpointOptions
from motet.models.openai.ranges import wrong_parameter
from motet.models.openai.tool_calls import calls_in
from motet.numbers import is_missing
from motet.system.pieces import saying
from motet.types import Signature

__all__ = ["TextModel", "rows_of"]

_CUT_OFF = {
    "length": ("the answer was cut off (finish_reason: length)", "allow more with `with: {max_tokens: ...}`, or take what "
               "there is with `truncated: true`"),
    "content_filter": ("the answer was held back by the endpoint's content filter (finish_reason: content_filter)", ""),
}  # fmt: skip


class TextModel:
    """A language model that answers in text, or by a schema.

    Args:
        source: the model.
        signature: what it takes and gives.
        options: how it is asked.
        model: its name where it is asked.
        calls: asks the model.
        where: the model, for messages.
    """

    fresh_outputs = True
    batch_invariant: bool | None = None

    def __init__(
        self,
        source: ModelSource,
        signature: Signature,
        options: EndpointOptions,
        model: str,
        calls: LanguageCalls,
        where: str,
    ) -> None:
        self._signature, self._options, self._calls, self._where = signature, options, calls, where
        self._schema = None if options.schema is None else AnswerSchema(options.schema, source)
        self._fixed: dict[str, Any] = {"model": model, **options.parameters}
        if self._schema is not None:
            self._fixed["response_format"] = self._schema.response_format
        if options.score:
            self._fixed["logprobs"] = True if options.mode == "chat" else 1

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. What goes wrong with a row stands in its place."""
        found: list[dict[str, Any] | Exception] = []
        asked: list[tuple[int, dict[str, Any]]] = []
        for place, row in enumerate(rows_of(columns)):
            try:
                asked.append((place, self._question(row)))
            except Exception as error:  # noqa: BLE001 (it stands for the answer)
                found.append(error)
            else:
                found.append({})
        ask = partial(self._answered, alone=len(found) == 1)
        for (place, _), answer in zip(asked, self._calls.each(ask, [each for _, each in asked]), strict=True):
            found[place] = answer
        return {
            name: [each if isinstance(each, Exception) else each[name] for each in found]
            for name in self._signature.outputs
        }

    def spend_to(self, spend: Callable[[TokenUsage], None]) -> None:
        """Say from now on what requests use."""
        self._calls.spend = spend

    def _question(self, row: Mapping[str, Any]) -> dict[str, Any]:
        said = parameters_of(self._options.columns, row)
        if wrong := wrong_parameter(said):
            raise InputError(wrong, where=self._where)
        if self._options.mode == "chat":
            return {**self._fixed, **said, "messages": self._options.messages.make(row)}
        return {**self._fixed, **said, "prompt": self._options.prompt.text(row)}

    def _answered(self, question: Mapping[str, Any], alone: bool = False) -> dict[str, Any]:
        say = saying("text") if alone and self._schema is None else None
        answer, used = self._calls(question, say)
        choice = _choice(answer, self._where)
        message, why = self._message(choice), choice.get("finish_reason")
        calls = calls_in(message, self._where) if self._options.tools else []
        if calls and why == "length":
            what, hint = "the answer was cut off in calls of tools (finish_reason: length)", _CUT_OFF[why][1]
            raise AnswerError(what, where=self._where, hint=hint.split(", or")[0])
        if not calls and _must_call(question):
            raise AnswerError("the answer calls no tool, which it must (tool_choice)", where=self._where)
        text = self._text(message, why, calls)
        found: dict[str, Any] = {"text": text} if self._schema is None else self._values(self._schema, text)
        if self._options.score:
            found["score"] = _score(choice, self._where)
        return {
            "prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens, "cost": used.cost,
            "tool_calls": calls, "finish_reason": why if isinstance(why, str) else "", **found,
        }  # fmt: skip

    def _message(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """What an answer says, where it says something."""
        why = choice.get("finish_reason")
        if why in _CUT_OFF and not (why == "length" and self._options.truncated):
            what, hint = _CUT_OFF[why]
            raise AnswerError(what, where=self._where, hint=hint)
        message = choice.get("message") if self._options.mode == "chat" else choice
        if not isinstance(message, Mapping):
            raise AnswerError("the answer has no message", where=self._where)
        if message.get("refusal"):
            raise AnswerError(f"the model refused: {cut(str(message['refusal']), 300)}", where=self._where)
        return message

    def _text(self, message: Mapping[str, Any], why: Any, calls: list[dict[str, Any]]) -> str:
        """Its text; an empty one where it calls tools and says nothing beside."""
        text = message.get("content" if self._options.mode == "chat" else "text")
        if text is None and calls:
            return ""
        if not isinstance(text, str):
            hint = (
                ""
                if self._options.tools or not message.get("tool_calls")
                else "say which tools it has: with: {tools: ...}"
            )
            raise AnswerError(f"the answer has no text (finish_reason: {why})", where=self._where, hint=hint)
        return text

    def _values(self, schema: AnswerSchema, text: str) -> dict[str, Any]:
        try:
            return schema.values(text)
        except AnswerError as error:
            raise error.located(self._where) from error.__cause__

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()


def _must_call(question: Mapping[str, Any]) -> bool:
    """Whether an answer without calls of tools is none."""
    choice = question.get("tool_choice")
    return bool(question.get("tools")) and (choice == "required" or _is_tool(choice))


def _is_tool(choice: Any) -> bool:
    return isinstance(choice, Mapping) and choice.get("type") in ("function", "custom")


def rows_of(columns: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Columns as rows by name."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def parameters_of(columns: Mapping[str, str], row: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a row says, as JSON has them; those that it lacks are left out."""
    found = {name: row[column] for name, column in columns.items() if not is_missing(row[column])}
    return {
        name: value.item()
        if isinstance(value, np.generic)
        else value.tolist()
        if isinstance(value, np.ndarray)
        else value
        for name, value in found.items()
    }


def _choice(answer: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise AnswerError(f"the answer has no choices; it has {', '.join(map(str, answer)) or 'nothing'}", where=where)
    return choices[0]


def _score(choice: Mapping[str, Any], where: str) -> float:
    """How sure the model was of its words: the geometric mean of their probabilities.

    Raises:
        AnswerError: when the endpoint does not say.
    """
    said = choice.get("logprobs")
    said = said if isinstance(said, Mapping) else {}
    tokens = said.get("content") or said.get("token_logprobs") or ()
    numbers = [each.get("logprob") if isinstance(each, Mapping) else each for each in tokens]
    known = [float(each) for each in numbers if isinstance(each, (int, float))]
    if not known:
        hint = "not every endpoint gives logprobs; leave `score` out"
        raise AnswerError("the answer does not say how probable its words are", where=where, hint=hint)
    return math.exp(min(0.0, float(np.mean(known))))
