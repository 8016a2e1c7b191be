"""What XGBoost, LightGBM and CatBoost models have in common: features in, probabilities or a value out.

Input: one column a feature, by name, of a model that was trained with names; `features: float64[n]` of one without. NaN
is a missing value. A feature with native categories takes their values, strings or numbers. Output, by the objective:

    two classes       probabilities: float64[2], of the negative and the positive class
    several classes   probabilities: float64[classes]
    several labels    label_probabilities: float64[labels], each by itself
    anything else     value: float64, or float64[targets]

Two classes have two probabilities (not one number) so that confidence, ensembles and cascades work as with any other
classifier. Both types may be declared in another numeric dtype. Declared inputs that have the names of the model's
features are those features, whatever their order; others are put side by side in the order in which they are declared.
Options:

    iterations   how many boosting rounds to use; by default as many as the framework's own estimator uses, which after
                 early stopping are the best
    categories   {feature: [category, ...]} in the order of training, where the file does not keep them; or codes, where
                 the columns hold the places of the categories already (0, 1, ...)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import TypeMismatchError, UnknownNameError
from motet.models.categories import category_type, encoder
from motet.models.common import check_features, features_of, load_error, place, raise_memory_error
from motet.models.handler import ModelSource
from motet.types import ColumnType, Signature

__all__ = ["TreeModel", "TreeShape", "tree_signature"]

_OUT_OF_MEMORY = ("bad_alloc", "out of memory", "Memory allocation", "cudaErrorMemoryAllocation")


@dataclass(frozen=True)
class TreeShape:
    """What a model file says of itself.

    Attributes:
        features: how many features it takes.
        names: their names, empty where it has none.
        output: the name of what it gives: `probabilities`, `label_probabilities` or `value`.
        answer: the shape of what it gives for a row, `(2,)` for two classes.
        categories: by the place of each feature with native categories these, in the order of training.
        strict: whether a value that is none of the categories is an error; else it is missing.
        kinds: by the place of each feature that is no number, and whose categories are not known, its type.
        labels: the classes, in the order of `probabilities`; empty where the file does not say them.
    """

    features: int
    names: Sequence[str]
    output: str
    answer: tuple[int, ...]
    categories: Mapping[int, Sequence[Any]]
    strict: bool = False
    kinds: Mapping[int, ColumnType] = field(default_factory=dict)
    labels: tuple[Any, ...] = ()


def tree_signature(shape: TreeShape, source: ModelSource) -> Signature:
    """The signature of such a model, with the declared types over it.

    Raises:
        TypeMismatchError: when declared types do not have the model's shape; prints both.
        UnknownNameError: when a declared output is not the model's.
    """
    outputs = _outputs(shape, source)
    return Signature(_inputs(shape, source), outputs, labels={shape.output: shape.labels} if shape.labels else {})


def _own_inputs(shape: TreeShape) -> dict[str, ColumnType]:
    kinds = [_of_feature(shape, place) for place in range(shape.features)]
    if shape.names:
        return dict(zip(shape.names, kinds, strict=True))
    return {"features": ColumnType("float64", (shape.features,))}


def _of_feature(shape: TreeShape, place: int) -> ColumnType:
    if place in shape.categories:
        return category_type(shape.categories[place])
    return shape.kinds.get(place, ColumnType("float64"))


def _inputs(shape: TreeShape, source: ModelSource) -> Mapping[str, ColumnType]:
    if not source.inputs:
        return _own_inputs(shape)
    check_features(source.inputs, shape.names, shape.features, source)
    kinds = list(source.inputs.values())
    if shape.kinds and any(kind.shape for kind in kinds):
        places = ", ".join(str(shape.names[place] if shape.names else place) for place in shape.kinds)
        hint = "declare one input a feature, or leave the inputs out"
        raise TypeMismatchError(
            f"features are no numbers ({places}), which one column cannot hold", where=place(source), hint=hint
        )
    if shape.categories and any(kind.shape for kind in kinds):
        named = ", ".join(f"{name}: {kind}" for name, kind in _own_inputs(shape).items())
        hint = f"declare one input a feature ({named}), or say `with: {{categories: codes}}` where they hold the places"
        places = ", ".join(str(shape.names[place] if shape.names else place) for place in shape.categories)
        raise TypeMismatchError(
            f"features have categories ({places}), which one column cannot hold", where=place(source), hint=hint
        )
    for name, at in _places(shape, source.inputs).items():
        own, kind = _of_feature(shape, at), source.inputs[name]
        if kind.varies or (kind.dtype in ("string", "bytes") and own.dtype not in (kind.dtype, "any")):
            hint = "" if kind.varies else "where it has categories, say `with: {categories: {feature: [...]}}`"
            raise TypeMismatchError(
                f"input {name!r} is declared as {kind}, the model takes {own}", where=place(source), hint=hint
            )
        if own.dtype == "string" and not kind.is_object:
            raise TypeMismatchError(f"input {name!r} is declared as {kind}, the model takes {own}", where=place(source))
    return dict(source.inputs)


def _places(shape: TreeShape, inputs: Mapping[str, ColumnType]) -> dict[str, int]:
    """The place of the first feature of each input."""
    if set(shape.names) == set(inputs):
        return {name: place for place, name in enumerate(shape.names)}
    places, at = {}, 0
    for name, kind in inputs.items():
        places[name] = at
        at += math.prod(kind.least_shape)
    return places


def _outputs(shape: TreeShape, source: ModelSource) -> Mapping[str, ColumnType]:
    own = {shape.output: ColumnType("float64", shape.answer)}
    for name, kind in source.outputs.items():
        if name not in own:
            raise UnknownNameError("output of the model", name, tuple(own), where=place(source))
        if kind.is_object or kind.shape != own[name].shape:
            raise TypeMismatchError(
                f"output {name!r} is declared as {kind}, the model gives {own[name]}", where=place(source)
            )
    return dict(source.outputs) or own


class TreeModel:
    """A booster; its predictions may be made from several threads at once.

    Args:
        predict: from features `[rows, n]` to `[rows]` or `[rows, k]`.
        shape: what the file says of itself.
        signature: what `tree_signature` found.
        dtypes: the dtypes of features that the framework takes as they are; others become the first of them.
    """

    def __init__(
        self, predict: Callable[[Array], Any], shape: TreeShape, signature: Signature, dtypes: Sequence[str]
    ) -> None:
        self._predict: Callable[[Array], Any] | None = predict
        places = _places(shape, signature.inputs)
        order = sorted(signature.inputs, key=places.__getitem__)
        names = {at: name for name, at in places.items()}
        self._encoders = {
            names[at]: encoder(names[at], categories, strict=shape.strict)
            for at, categories in shape.categories.items()
        }
        kinds = {name: ColumnType("float64") if name in self._encoders else signature.inputs[name] for name in order}
        declared = {kind.dtype for kind in kinds.values()}
        dtype = next((name for name in dtypes if declared == {name}), dtypes[0])
        self._features = features_of(kinds, dtype)
        ((self._output, self._kind),) = signature.outputs.items()
        self._binary = self._output == "probabilities" and self._kind.shape == (2,)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
        """
        assert self._predict is not None, "called after close"
        try:
            held = {name: self._encoders[name](c) if name in self._encoders else c for name, c in columns.items()}
            answer = np.asarray(self._predict(self._features(held)))
        except Exception as error:
            raise_memory_error(error, _OUT_OF_MEMORY)
            raise
        if self._binary and answer.ndim == 1:
            answer = np.stack([1 - answer, answer], axis=1)
        shaped = answer.reshape(len(answer), *self._kind.least_shape)
        return {self._output: shaped.astype(self._kind.numpy_dtype, copy=False)}

    def close(self) -> None:
        """Let go of the booster."""
        self._predict = None


def iterations(source: ModelSource) -> int | None:
    """The option `iterations`: how many boosting rounds to use, None for the framework's own choice.

    Raises:
        ModelLoadError: when it is no whole number above 0.
    """
    number = source.options.get("iterations")
    if number is None or (isinstance(number, int) and not isinstance(number, bool) and number > 0):
        return number
    raise load_error(source, f"the option iterations is {number!r}", "give a whole number above 0")
