"""A model whose rows are texts: tokens, calls of little padding, and answers in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Array
from motet.models.huggingface.classes import ClassHead
from motet.models.huggingface.lengths import cut_by_length
from motet.models.huggingface.network import Network
from motet.models.huggingface.pooling import Pooling
from motet.models.huggingface.spans import SpanHead
from motet.models.huggingface.tokens import Padded, TextTokens

__all__ = ["ClassAnswer", "EmbeddingAnswer", "HuggingFaceModel", "SpanAnswer"]

Answer = Callable[[Network, Padded], Mapping[str, Iterable[Any]]]
"""From the rows of a call to outputs by name, a value a row."""


class HuggingFaceModel:
    """A loaded model; several threads may call it.

    Args:
        tokens: cuts texts into tokens.
        network: what is called with them.
        answer: from the rows of a call to outputs.
        outputs: the names of those that are given.
        call_tokens: the most tokens of a call, padding counted.
        rows: the most rows of a call, None for any number.
    """

    fresh_outputs = True

    def __init__(
        self,
        tokens: TextTokens,
        network: Network,
        answer: Answer,
        outputs: Sequence[str],
        call_tokens: int,
        rows: int | None = None,
    ) -> None:
        self._tokens, self._network, self._answer, self._outputs = tokens, network, answer, outputs
        self._call_tokens, self._rows = call_tokens, rows

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. A text that the model cannot take fails alone.

        Raises:
            MemoryError: when a call is too large for the memory.
        """
        pairs = columns.get("text_pair")
        encodings = self._tokens.encode(columns["text"].tolist(), None if pairs is None else pairs.tolist())
        good = [row for row, each in enumerate(encodings) if not isinstance(each, Exception)]
        found = {name: list(encodings) for name in self._outputs}  # an error stands where its row's value would
        for chosen in cut_by_length([len(encodings[row]) for row in good], self._call_tokens, self._rows):
            rows = [good[place] for place in chosen]
            with self._network.running():
                answers = self._answer(self._network, self._tokens.padded([encodings[row] for row in rows]))
            for name, held in found.items():
                for row, value in zip(rows, answers[name], strict=True):
                    held[row] = value
        return {name: _column(values) for name, values in found.items()}

    def close(self) -> None:
        """Give the network's memory back."""
        self._network.close()


def _column(values: list[Any]) -> Any:
    """Rows as an array where all are of one shape and none failed."""
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return np.fromiter(values, dtype=object, count=len(values))
    alike = kinds <= {np.ndarray, np.float32} and len({np.shape(value) for value in values}) == 1
    return np.array(values) if alike and values[0].dtype != object else values


class ClassAnswer:
    """Answers of classifiers and rankers."""

    def __init__(self, head: ClassHead) -> None:
        self._head = head

    def __call__(self, network: Network, rows: Padded) -> Mapping[str, Iterable[Any]]:
        """Probabilities, labels or ranks of the rows of a call."""
        found = network(rows)
        return self._head(network.array(found.get("logits", next(iter(found.values())))))


class SpanAnswer:
    """Answers of models that look at each token."""

    def __init__(self, head: SpanHead) -> None:
        self._head = head

    def __call__(self, network: Network, rows: Padded) -> Mapping[str, Iterable[Any]]:
        """The spans of the rows of a call."""
        found = network(rows)
        scores = network.array(found.get("logits", next(iter(found.values()))))
        spans = [self._head(scores[row, : len(each)], each) for row, each in enumerate(rows.encodings)]
        return {name: [each[name] for each in spans] for name in spans[0]}


class EmbeddingAnswer:
    """Answers of models that give a text a vector.

    Args:
        pooling: from the vectors of tokens to it, its weights where the network is.
        prompt: how many tokens of the prompt are left out.
    """

    def __init__(self, pooling: Pooling, prompt: int = 0) -> None:
        self._pooling, self._prompt = pooling, prompt

    def __call__(self, network: Network, rows: Padded) -> Mapping[str, Iterable[Any]]:
        """The vectors of the rows of a call."""
        found = network(rows)
        if "sentence_embedding" in found:  # an export of sentence-transformers' modules, all of them
            whole = Pooling((), (), dimensions=self._pooling.dimensions, normalize=self._pooling.normalize)
            return {"embedding": network.array(whole.finish(found["sentence_embedding"], network.xp))}
        vectors = next((found[name] for name in _TOKENS if name in found), None)
        vectors = next(iter(found.values())) if vectors is None else vectors
        mask = rows.mask.copy()
        mask[:, : self._prompt] = 0
        return {"embedding": network.array(self._pooling(vectors, network.tensor(mask), network.xp))}


_TOKENS = ("last_hidden_state", "token_embeddings")
