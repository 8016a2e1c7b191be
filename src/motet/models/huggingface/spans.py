"""From the scores of tokens to spans of text, as the pipeline `token-classification` of transformers does it.

A span begins and ends at characters of the text: `text[start:end]`. `aggregation: simple`, the default, joins tokens of one
entity (B-PER, I-PER) to one span, whose score is the mean of theirs; `none` gives each token that is not `O`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from motet.batch import Array
from motet.errors import UnknownNameError
from motet.models.common import place
from motet.models.handler import ModelSource
from motet.ops.scores import softmax

__all__ = ["SpanHead"]

_KNOWN = ("simple", "none")
_OUTSIDE = "O"


class _Span(NamedTuple):
    start: int
    end: int
    label: str
    score: float


class SpanHead:
    """From the scores of a row's tokens to its spans.

    Args:
        labels: the classes of tokens.
        source: the options of the model.

    Raises:
        UnknownNameError: when there is no such aggregation.
    """

    def __init__(self, labels: tuple[str, ...], source: ModelSource) -> None:
        said = source.options.get("aggregation", "simple")
        if said not in _KNOWN:
            raise UnknownNameError("aggregation", str(said), _KNOWN, where=place(source))
        self._labels, self._joins = labels, said == "simple"

    def __call__(self, scores: Array, encoding: Any) -> Mapping[str, Array]:
        """The spans of one row as arrays `[spans]`, in their order.

        Args:
            scores: of its tokens, `[tokens, classes]`, float32.
            encoding: what `tokenizers` says of them.
        """
        probabilities = softmax(scores)
        best = probabilities.argmax(axis=1)
        offsets = encoding.offsets
        tokens = [
            _Span(offsets[at][0], offsets[at][1], self._labels[best[at]], float(probabilities[at, best[at]]))
            for at in np.flatnonzero(np.asarray(encoding.special_tokens_mask) == 0)
        ]
        spans = [each for each in (_joined(tokens) if self._joins else tokens) if each.label != _OUTSIDE]
        return {
            "start": np.array([each.start for each in spans], np.int64),
            "end": np.array([each.end for each in spans], np.int64),
            "label": np.array([each.label for each in spans], object),
            "score": np.array([each.score for each in spans], np.float32),
        }


def _joined(tokens: list[_Span]) -> Iterator[_Span]:
    """Neighbours of one entity as one span; a token `B-` begins one."""
    group: list[_Span] = []
    for token in tokens:
        if group and (token.label.startswith("B-") or _entity(token) != _entity(group[-1])):
            yield _whole(group)
            group = []
        group.append(token)
    if group:
        yield _whole(group)


def _entity(token: _Span) -> str:
    return token.label[2:] if token.label.startswith(("B-", "I-")) else token.label


def _whole(group: list[_Span]) -> _Span:
    label = group[0].label.split("-", 1)[-1]
    return _Span(group[0].start, group[-1].end, label, float(np.mean([each.score for each in group], dtype=np.float32)))
