"""What XGBoost and LightGBM models have in common: features in, probabilities or a value out.

Input: `features: float32[n]`; NaN is a missing value. Output, by the objective:

    two classes       probabilities: float32[2], of the negative and the positive class
    several classes   probabilities: float32[classes]
    anything else     value: float32, or float32[targets]

Two classes have two probabilities (not one number) so that confidence, ensembles and cascades work as with any other
classifier. Both types may be declared in another numeric dtype: features of more than 7 digits as float64 where the
framework keeps them, outputs as float64. Several declared inputs are put side by side, in the order of the model's
feature names where the names are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import TypeMismatchError, UnknownNameError
from motet.models.common import as_memory_error, features_of, load_error, place
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
        classes: how many classes it has probabilities of; 0 for anything but classification.
        targets: how many values it gives a row.
    """

    features: int
    names: Sequence[str]
    classes: int
    targets: int


def tree_signature(shape: TreeShape, source: ModelSource) -> Signature:
    """The signature of such a model, with the declared types over it.

    Raises:
        TypeMismatchError: when declared types do not have the model's shape; prints both.
        UnknownNameError: when a declared output is not the model's.
    """
    return Signature(_inputs(shape, source), _outputs(shape, source))


def _inputs(shape: TreeShape, source: ModelSource) -> Mapping[str, ColumnType]:
    own = ColumnType("float32", (shape.features,))
    if not source.inputs:
        return {"features": own}
    for name, kind in source.inputs.items():
        if kind.dtype in ("string", "bytes") or kind.varies:
            raise TypeMismatchError(f"input {name!r} is declared as {kind}, the model takes {own}", where=place(source))
    if any(kind.dtype == "any" for kind in source.inputs.values()):
        return dict(source.inputs)
    given = sum(int(np.prod([axis or 0 for axis in kind.shape], dtype=np.int64)) for kind in source.inputs.values())
    if given != shape.features:
        declared = ", ".join(f"{name}: {kind}" for name, kind in source.inputs.items())
        raise TypeMismatchError(
            f"the declared inputs ({declared}) are {given} features, the model takes {shape.features}",
            where=place(source),
        )
    named = set(shape.names) == set(source.inputs)
    return {name: source.inputs[name] for name in (shape.names if named else source.inputs)}


def _outputs(shape: TreeShape, source: ModelSource) -> Mapping[str, ColumnType]:
    if shape.classes:
        own = {"probabilities": ColumnType("float32", (shape.classes,))}
    else:
        own = {"value": ColumnType("float32", () if shape.targets == 1 else (shape.targets,))}
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
        signature: what `tree_signature` found.
        dtypes: the dtypes of features that the framework takes as they are; others become the first of them.
    """

    def __init__(self, predict: Callable[[Array], Any], signature: Signature, dtypes: Sequence[str]) -> None:
        declared = {kind.dtype for kind in signature.inputs.values()}
        dtype = next((name for name in dtypes if declared == {name}), "float64" if "float64" in declared else dtypes[0])
        self._predict: Callable[[Array], Any] | None = predict
        self._features = features_of(signature.inputs, dtype if dtype in dtypes else dtypes[0])
        ((self._output, self._kind),) = signature.outputs.items()
        self._binary = self._output == "probabilities" and self._kind.shape == (2,)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
        """
        assert self._predict is not None, "called after close"
        try:
            answer = np.asarray(self._predict(self._features(columns)))
        except Exception as error:
            memory = as_memory_error(error, _OUT_OF_MEMORY)
            if memory is None:
                raise
            raise memory from error
        if self._binary and answer.ndim == 1:
            answer = np.stack([1 - answer, answer], axis=1)
        return {self._output: self._shaped(answer)}

    def _shaped(self, answer: Array) -> Array:
        return answer.reshape(len(answer), *(axis or 0 for axis in self._kind.shape)).astype(
            self._kind.numpy_dtype, copy=False
        )

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
