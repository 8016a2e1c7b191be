"""What a scikit-learn estimator takes and gives, from its attributes. Imports no scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.errors import TypeMismatchError, UnknownNameError
from motet.models.common import load_error, place
from motet.models.handler import ModelSource
from motet.types import ANY, ColumnType, Signature

__all__ = ["METHODS", "estimator_signature"]

METHODS = {
    "probabilities": "predict_proba",
    "label": "predict",
    "value": "predict",
    "features": "transform",
    "scores": "decision_function",
}
"""The method that gives each output."""


def estimator_signature(estimator: Any, source: ModelSource) -> Signature:
    """What the estimator takes and gives; declared types win over its own.

    Raises:
        ModelLoadError: when it is no estimator, or does not say what it takes and nothing is declared.
        UnknownNameError: when an output is declared that it does not have.
        TypeMismatchError: when the declared inputs are not as many features as it was fitted with.
    """
    return Signature(_inputs(estimator, source), _outputs(estimator, source))


def _inputs(estimator: Any, source: ModelSource) -> Mapping[str, ColumnType]:
    width = getattr(estimator, "n_features_in_", None)
    if source.inputs:
        _check_width(width, source)
        return dict(source.inputs)
    names = getattr(estimator, "feature_names_in_", None)
    if source.options.get("frame"):
        if names is None:
            raise load_error(source, "it was fitted without names of features", "declare the model's inputs by name")
        return {str(name): ANY for name in names}
    if width is not None:
        return {"features": ColumnType("float64", (int(width),))}
    if hasattr(_first(estimator), "build_analyzer"):
        return {"text": ColumnType("string")}
    raise load_error(source, "the estimator does not say what it takes", "declare the model's inputs, name: type")


def _check_width(width: int | None, source: ModelSource) -> None:
    kinds = source.inputs.values()
    if width is None or source.options.get("frame") or any(kind.is_object or kind.varies for kind in kinds):
        return
    given = sum(int(np.prod([axis for axis in kind.shape if axis is not None], dtype=np.int64)) for kind in kinds)
    if given != width:
        declared = ", ".join(f"{name}: {kind}" for name, kind in source.inputs.items())
        raise TypeMismatchError(
            f"the declared inputs ({declared}) are {given} features, the estimator was fitted with {width}",
            where=place(source),
        )


def _outputs(estimator: Any, source: ModelSource) -> Mapping[str, ColumnType]:
    own = _own_outputs(estimator, source)
    if not source.outputs:
        return own
    known = [name for name, method in METHODS.items() if hasattr(estimator, method)]
    for name in source.outputs:
        if name not in known:
            raise UnknownNameError("output of the estimator", name, known, where=place(source))
    return dict(source.outputs)


def _own_outputs(estimator: Any, source: ModelSource) -> dict[str, ColumnType]:
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        if source.outputs:
            return {}
        hint = f"declare one output: {{label: int64[{len(classes)}]}}"
        raise load_error(source, f"it answers {len(classes)} questions at once, with classes of their own", hint)
    if classes is not None and hasattr(estimator, "predict"):
        return _classifier_outputs(estimator, np.asarray(classes))
    if hasattr(estimator, "predict"):
        return _predictor_outputs(estimator)
    if hasattr(estimator, "transform"):
        return {"features": _transformed(estimator)}
    hint = "the file must hold a fitted estimator, not a part of it or a dictionary around it"
    raise load_error(source, f"a {type(estimator).__name__} has neither predict nor transform", hint)


def _classifier_outputs(estimator: Any, classes: Any) -> dict[str, ColumnType]:
    label = ColumnType(_label_dtype(classes))
    if not hasattr(estimator, "predict_proba"):
        return {"label": label}
    return {"probabilities": ColumnType("float64", (len(classes),)), "label": label}


def _label_dtype(classes: Any) -> str:
    if classes.dtype.kind in "iu":
        return "int64"
    if classes.dtype.kind in "OSU":
        return "string" if all(isinstance(item, str) for item in classes) else "any"
    return str(classes.dtype)


def _predictor_outputs(estimator: Any) -> dict[str, ColumnType]:
    last = _last(estimator)
    if getattr(last, "_estimator_type", None) in ("clusterer", "outlier_detector") or hasattr(last, "labels_"):
        return {"label": ColumnType("int64")}
    if hasattr(last, "score_samples") and hasattr(last, "offset_"):
        return {"label": ColumnType("int64")}
    targets = _targets(last)
    return {"value": ColumnType("float64", () if targets is None else (targets,))}


def _targets(estimator: Any) -> int | None:
    """How many values a regressor gives a row, None for one that is no list."""
    coefficients = getattr(estimator, "coef_", None)
    if isinstance(coefficients, np.ndarray) and coefficients.ndim == 2 and not hasattr(estimator, "support_vectors_"):
        return int(coefficients.shape[0])
    number = getattr(estimator, "n_outputs_", 1)
    return int(number) if isinstance(number, int) and number > 1 else None


def _transformed(estimator: Any) -> ColumnType:
    try:
        return ColumnType("float64", (len(estimator.get_feature_names_out()),))
    except (AttributeError, ValueError, TypeError):
        return ANY


def _first(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return _first(steps[0][1]) if steps else estimator


def _last(estimator: Any) -> Any:
    """What predicts in the end: the last step of a pipeline, the best model of a search."""
    steps = getattr(estimator, "steps", None)
    inner = steps[-1][1] if steps else getattr(estimator, "best_estimator_", getattr(estimator, "regressor_", None))
    return estimator if inner is None else _last(inner)
