"""What a scikit-learn estimator takes and gives: from its attributes, and by trying it. Imports no scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import TypeMismatchError, UnknownNameError
from motet.models.common import load_error, own_filters, place
from motet.models.handler import ModelSource
from motet.models.sklearn_quiet import quiet
from motet.models.structure import structure
from motet.types import ANY, ColumnType

__all__ = ["METHODS", "Outputs", "dense", "estimator_outputs", "kind_of"]

METHODS = {
    "probabilities": "predict_proba",
    "label_probabilities": "predict_proba",
    "label": "predict",
    "value": "predict",
    "features": "transform",
    "scores": "decision_function",
}
"""The method that gives each output."""

TRIED_ROWS = 2
_TRIED: dict[tuple[Hashable, str], Array | None] = {}
"""What estimators gave for two rows, by what they are made of and the method."""
_MOST_TRIED = 1024
_LABELLED = ("clusterer", "outlier_detector", "density_estimator")


@dataclass
class Outputs:
    """What an estimator gives: types by name, and the classes that the places of an output stand for, where it has them."""

    types: dict[str, ColumnType]
    labels: dict[str, tuple[Any, ...]] = field(default_factory=dict)


def estimator_outputs(estimator: Any, give: Callable[[int], Any], source: ModelSource) -> Outputs:
    """What the estimator gives; declared types win over its own.

    Args:
        estimator: the estimator.
        give: rows to try it with, as it takes them; what they hold is the number's choice (0 or 1).
        source: what was declared.

    Raises:
        ModelLoadError: when it gives nothing for rows of its own.
        UnknownNameError: when an output is declared that it does not have.
        TypeMismatchError: when one is declared of another shape than it gives.
    """
    trial = _Trial(estimator, give, source)
    types = _declared(trial, source) if source.outputs else _own(trial)
    return Outputs(types, _labels(trial, types))


class _Trial:
    """Calls an estimator's methods with rows made up, once each."""

    def __init__(self, estimator: Any, give: Callable[[int], Any], source: ModelSource) -> None:
        self.estimator, self.source, self._give = estimator, source, give
        self._answers: dict[str, Array | None] = {}
        classes = getattr(estimator, "classes_", None)
        self.classes = None if classes is None or isinstance(classes, list) else np.asarray(classes)
        self.questions = len(classes) if isinstance(classes, list) else 0

    def answer(self, method: str) -> Array | None:
        """What a method gives for two rows, None where it cannot be known before rows flow."""
        if method not in self._answers:
            self._answers[method] = self._try(method) if method == "transform" else self._known(method)
        return self._answers[method]

    def _known(self, method: str) -> Array | None:
        """What estimators made of the same parts, such as one a customer, gave: one of them is tried.

        How many features a transformer gives may depend on what it has learned; how many questions are answered does not.
        """
        key = (self._structure, method)
        if key not in _TRIED:
            if len(_TRIED) >= _MOST_TRIED:
                _TRIED.clear()
            _TRIED[key] = self._try(method)
        return _TRIED[key]

    @cached_property
    def _structure(self) -> Any:
        return structure((self.estimator, str(self.source.inputs), dict(self.source.options)))

    def _try(self, method: str) -> Array | None:
        for choice in (0, 1):
            with own_filters("ignore"), np.errstate(all="ignore"), quiet():
                try:
                    given = dense(getattr(self.estimator, method)(self._give(choice)))
                except Exception:  # noqa: BLE001 (made up rows may be none that it takes; then rows will tell)
                    continue
            if given.ndim == 0 or len(given) != TRIED_ROWS:
                got = "a single value" if given.ndim == 0 else f"{len(given)} rows"
                raise load_error(self.source, f"its {method} gives {got} for {TRIED_ROWS} rows", _ROWS)
            return given
        return None

    @property
    def several(self) -> bool:
        """Whether it answers several questions at once."""
        answer = self.answer("predict")
        return bool(self.questions) or (answer is not None and answer.ndim > 1 and answer.shape[1] > 1)


_ROWS = "it must answer each row; wrap it in a class whose methods do"


def dense(result: Any) -> Array:
    """What a method returned as one array; the answers to several questions side by side, where they are as many."""
    if isinstance(result, list) and all(getattr(part, "ndim", 0) == 2 for part in result):
        return np.stack(result, axis=1)
    return np.asarray(result.toarray() if hasattr(result, "toarray") else result)


def _own(trial: _Trial) -> dict[str, ColumnType]:
    estimator = trial.estimator
    sort = kind_of(estimator)
    if hasattr(estimator, "predict"):
        if sort == "classifier" or (sort in (None, "density_estimator") and hasattr(estimator, "predict_proba")):
            return _classifier(trial)
        labelled = sort in _LABELLED or (sort is None and hasattr(estimator, "labels_"))
        name = "label" if labelled else "value"
        return {name: _type(trial, name)}
    if hasattr(estimator, "transform"):
        return {"features": _type(trial, "features")}
    return _refuse(trial)


def _refuse(trial: _Trial) -> dict[str, ColumnType]:
    estimator = trial.estimator
    for method in ("fit_predict", "fit_transform"):
        if hasattr(estimator, method):
            what = f"a {type(estimator).__name__} answers only the rows that it is fitted on, by {method}"
            more = ", or make it with novelty=True" if hasattr(estimator, "novelty") else ""
            raise load_error(trial.source, what, f"use an estimator that has predict or transform{more}")
    hint = "use an estimator that has one of them, and dump it whole"
    raise load_error(trial.source, f"a {type(estimator).__name__} has neither predict nor transform", hint)


def _classifier(trial: _Trial) -> dict[str, ColumnType]:
    found: dict[str, ColumnType] = {}
    if hasattr(trial.estimator, "predict_proba"):
        name = "label_probabilities" if trial.several else "probabilities"
        kind = _type(trial, name)
        if trial.answer("predict_proba") is not None or not trial.questions:
            found[name] = kind
    return {**found, "label": _type(trial, "label")}


def _declared(trial: _Trial, source: ModelSource) -> dict[str, ColumnType]:
    known = [name for name, method in METHODS.items() if hasattr(trial.estimator, method)]
    for name, kind in source.outputs.items():
        if name not in known:
            raise UnknownNameError("output of the estimator", name, known, where=place(source))
        own = _type(trial, name)
        if not _may_be(own, kind):
            raise TypeMismatchError(
                f"output {name!r} is declared as {kind}, the estimator gives {own}",
                where=place(source),
                hint=f"declare {own}, or leave the declaration out",
            )
    return dict(source.outputs)


def _may_be(own: ColumnType, declared: ColumnType) -> bool:
    if "any" in (own.dtype, declared.dtype):
        return True
    squeezed = ColumnType(own.dtype) if own.shape == (1,) and declared.shape == () else own
    if squeezed.is_object or declared.is_object:
        return squeezed.accepts(declared)
    return squeezed.with_dtype(declared.dtype).accepts(declared)


def _type(trial: _Trial, name: str) -> ColumnType:
    """The type of an output: as it was for the rows tried, else what the attributes say."""
    answer = trial.answer(METHODS[name])
    if answer is None:
        return _said(trial, name)
    dtype = _label_dtype(trial, answer) if name == "label" else _dtype(answer)
    return ANY if dtype == "any" else ColumnType(dtype, tuple(answer.shape[1:]))


def _dtype(answer: Array) -> str:
    """Numbers are float64, which holds what any of them gives; texts are strings."""
    if answer.dtype.kind in "biuf":
        return "float64"
    return _object_dtype(answer.ravel())


def _label_dtype(trial: _Trial, answer: Array) -> str:
    values = answer.ravel() if trial.classes is None or trial.several else trial.classes.ravel()
    if values.dtype.kind in "iu":
        return "int64"
    return str(values.dtype) if values.dtype.kind in "bf" else _object_dtype(values)


def _object_dtype(values: Array) -> str:
    kinds = {type(value) for value in values.tolist()}
    return {frozenset({str}): "string", frozenset({int}): "int64", frozenset({bool}): "bool"}.get(
        frozenset(kinds), "any"
    )


def _said(trial: _Trial, name: str) -> ColumnType:
    if name == "label" and trial.classes is not None:
        return ColumnType(_label_dtype(trial, trial.classes))
    if name == "probabilities" and trial.classes is not None:
        return ColumnType("float64", (len(trial.classes),))
    return ANY


def _labels(trial: _Trial, types: Mapping[str, ColumnType]) -> dict[str, tuple[Any, ...]]:
    """The classes, in the order of the places of each output that has a place for each."""
    if trial.classes is None or trial.classes.ndim != 1 or trial.several:
        return {}
    classes = tuple(trial.classes.tolist())
    return {
        name: classes
        for name, kind in types.items()
        if name in ("probabilities", "scores") and kind.shape == (len(classes),)
    }


def kind_of(estimator: Any) -> str | None:
    """`classifier`, `regressor`, `clusterer`, ..., None for one that does not say."""
    tags = getattr(estimator, "__sklearn_tags__", None)
    try:
        said = getattr(tags(), "estimator_type", None) if tags is not None else None
    except (AttributeError, NotImplementedError):
        said = None
    found = said or getattr(estimator, "_estimator_type", None)
    if found is not None:
        return "density_estimator" if str(found).lower().startswith("density") else str(found)
    return "classifier" if getattr(estimator, "classes_", None) is not None else None
