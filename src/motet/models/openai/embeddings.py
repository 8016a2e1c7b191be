"""Embeddings: many texts a request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import AnswerError, InputError
from motet.models.handler import TokenUsage
from motet.models.openai.calls import LanguageCalls
from motet.models.openai.options import EndpointOptions
from motet.models.openai.texts import rows_of

__all__ = ["EmbeddingModel"]

Text = tuple[int, str]
"""The place of a text in its batch, and itself."""


class EmbeddingModel:
    """A model that gives a vector for each text.

    Args:
        options: how it is asked.
        model: its name where it is asked.
        calls: asks the model.
        where: the model, for messages.
        asked: whether their length is asked for.
    """

    fresh_outputs = True
    batch_invariant: bool | None = None

    def __init__(self, options: EndpointOptions, model: str, calls: LanguageCalls, where: str, *, asked: bool) -> None:
        self._options, self._calls, self._where = options, calls, where
        self._fixed: dict[str, Any] = {"model": model, "encoding_format": "float", **options.parameters}
        if asked:
            self._fixed["dimensions"] = options.dimensions

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. What goes wrong with a row stands in its place."""
        rows = rows_of(columns)
        found: list[Any] = [None] * len(rows)
        texts: list[Text] = []
        for place, row in enumerate(rows):
            try:
                texts.append((place, self._options.prompt.text(row)))
            except Exception as error:  # noqa: BLE001 (it stands for the answer)
                found[place] = error
        size = self._options.texts
        parts = [texts[first : first + size] for first in range(0, len(texts), size)]
        for part, got in zip(parts, self._calls.each(self._embedded, parts), strict=True):
            for each, (place, _) in enumerate(part):
                found[place] = got if isinstance(got, Exception) else got[each]
        return {"embedding": found}

    def spend_to(self, spend: Callable[[TokenUsage], None]) -> None:
        """Say from now on what requests use."""
        self._calls.spend = spend

    def _embedded(self, part: Sequence[Text]) -> list[Any]:
        """The vectors of a request's texts; what the endpoint refuses is halved until the texts at fault are alone."""
        try:
            answer, _ = self._calls({**self._fixed, "input": [text for _, text in part]})
        except (InputError, MemoryError) as error:
            if len(part) == 1:
                return [error]
            middle = len(part) // 2
            return [*self._embedded(part[:middle]), *self._embedded(part[middle:])]
        return [self._vector(each) for each in self._listed(answer, len(part))]

    def _listed(self, answer: Mapping[str, Any], texts: int) -> list[Any]:
        """What an answer has for each text, in their order."""
        data = answer.get("data")
        if not isinstance(data, list) or not all(isinstance(each, Mapping) for each in data):
            raise AnswerError("the answer has no list of data", where=self._where)
        if len(data) != texts:
            raise AnswerError(f"{texts} texts were sent, and {len(data)} embeddings came back", where=self._where)
        places = [each.get("index", place) for place, each in enumerate(data)]
        if any(type(place) is not int for place in places) or sorted(places) != list(range(texts)):
            raise AnswerError(f"the embeddings say other places than those of {texts} texts", where=self._where)
        found: list[Any] = [None] * texts
        for place, each in zip(places, data, strict=True):
            found[place] = each.get("embedding")
        return found

    def _vector(self, said: Any) -> Any:
        """A vector; an error where it is none of the length that was declared."""
        try:
            raw = np.frombuffer(base64.b64decode(said, validate=True), "<f4") if isinstance(said, str) else said
            vector = np.asarray(raw, np.float32)
        except (ValueError, TypeError, binascii.Error) as error:
            return AnswerError(f"an embedding is not understood: {error}", where=self._where)
        if vector.shape != (self._options.dimensions,):
            got = "x".join(map(str, vector.shape)) or "no list"
            wanted = self._options.dimensions
            return AnswerError(f"an embedding has {got} numbers; {wanted} are declared", where=self._where)
        if not np.isfinite(vector).all():
            return AnswerError("an embedding has a number that is not finite", where=self._where)
        return vector

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()
