"""From scores to what is answered: probabilities, labels and ranks, as pipelines of transformers and cross-encoders do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import UnknownNameError
from motet.models.common import place
from motet.models.handler import ModelSource
from motet.models.huggingface.folder import TextFolder
from motet.models.huggingface.task import is_several
from motet.ops.scores import sigmoid, softmax

__all__ = ["ClassHead"]

_NAMED = {
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.linear.Identity": "none",
    "torch.nn.modules.activation.Softmax": "softmax",
}
_KNOWN = ("softmax", "sigmoid", "none")


class ClassHead:
    """From the scores of classes, `[rows, classes]`, to outputs by name.

    Args:
        task: text-classification or text-ranking.
        folder: of the model.
        source: its options.

    Raises:
        UnknownNameError: when there is no such activation.
    """

    def __init__(self, task: str, folder: TextFolder, source: ModelSource) -> None:
        self._labels = np.array(folder.labels, object)
        self._several = is_several(folder, source)
        said = source.options.get("activation")
        if said is not None and said not in _KNOWN:
            raise UnknownNameError("activation", str(said), _KNOWN, where=place(source))
        self._activation = str(said) if said is not None else _told(task, folder)

    def __call__(self, scores: Array) -> Mapping[str, Any]:
        """Outputs by name, for scores of float32."""
        found = _ACTIVATIONS[self._activation](scores)
        if len(self._labels) == 1:
            return {"score": found[:, 0]}
        if self._several:
            return {"label_probabilities": found}
        return {"probabilities": found, "label": self._labels[found.argmax(axis=1)]}


def _told(task: str, folder: TextFolder) -> str:
    """What the model was saved with, else what its framework does."""
    config = folder.config
    own = config.get("sentence_transformers")
    named = (
        (own.get("activation_fn") if isinstance(own, Mapping) else None)
        or folder.sentence.get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
    )
    if task == "text-ranking" and named is not None:
        return _NAMED.get(str(named), "sigmoid")
    if config.get("problem_type") == "regression":
        return "none"
    several = config.get("problem_type") == "multi_label_classification"
    return "sigmoid" if several or len(folder.labels) == 1 else "softmax"


def _as_is(scores: Array) -> Array:
    return scores


_ACTIVATIONS: Mapping[str, Callable[[Array], Any]] = {"softmax": softmax, "sigmoid": sigmoid, "none": _as_is}
