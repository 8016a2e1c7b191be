"""What a scikit-learn estimator is given: its columns by name and type, and how a batch becomes what it takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from motet.batch import Array, objects, read_only
from motet.errors import TypeMismatchError
from motet.models.categories import (
    as_category,
    category_type,
    chosen_categories,
    lightgbm_categories,
    xgboost_categories,
)
from motet.models.common import check_features, features_of, framework, load_error, place
from motet.models.handler import ModelSource
from motet.numbers import any_missing, is_missing
from motet.types import ANY, ColumnType

__all__ = ["Taken", "taken"]

_FLOAT, _STRING = ColumnType("float64"), ColumnType("string")
_INSIDE = (
    "best_estimator_", "regressor_", "_preprocessor", "estimators_", "calibrated_classifiers_", "estimator_", "estimator",
)  # fmt: skip
"""Where estimators keep those that get the features as they are, the fitted ones first."""


@dataclass(frozen=True)
class InputFeature:
    """What is known of one feature: its type, a value that it takes, its native categories, and what stands for missing."""

    type: ColumnType
    example: Any = 0.0
    categories: tuple[Any, ...] = ()
    missing: float | None = np.nan


@dataclass(frozen=True)
class Taken:
    """What an estimator takes.

    Attributes:
        inputs: the types of the columns by name.
        make: from the columns of a batch to what its methods take; made anew for each call of a method, which may
            change it.
        rows: columns made up to try it with: so many rows, of examples where they are known, else of a number.
    """

    inputs: Mapping[str, ColumnType]
    make: Callable[[Mapping[str, Array]], Any]
    rows: Callable[[int, float], dict[str, Array]]


def taken(estimator: Any, source: ModelSource) -> Taken:
    """What an estimator takes; declared types win over its own.

    Raises:
        ModelLoadError: when it does not say what it takes and nothing is declared.
        TypeMismatchError: when the declared inputs are not the features that it was fitted with.
    """
    names, width = _names(estimator), getattr(estimator, "n_features_in_", None)
    firsts = list(_first(estimator))
    features = [_feature(firsts, at) for at in range(width or 0)]
    native = _native(firsts, names, source)
    for at, categories in native.items():
        features[at] = InputFeature(category_type(categories), categories[0], tuple(categories))
    strict = any(_package(inner) == "xgboost" for inner in firsts)
    inputs = dict(source.inputs) or _own_inputs(firsts, names, features, source)
    by_name = set(inputs) == set(names) and bool(names)
    if source.inputs and width is not None:
        check_features(inputs, names, width, source)
    order = names if by_name else list(inputs)
    known = dict(zip(order, features, strict=True)) if by_name or len(inputs) == len(features) else {}
    _check_texts(inputs, known, source)
    return Taken(
        inputs,
        _maker(inputs, order, by_name, names, width, source, known, _categorical(known, strict=strict)),
        _made_up(inputs, known),
    )


def _names(estimator: Any) -> list[str]:
    """The names of the features that it was fitted with, empty where it has none."""
    found = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    return [] if found == [f"Column_{at}" for at in range(len(found))] else found  # LightGBM's, of features without


def _own_inputs(
    firsts: Sequence[Any], names: list[str], features: list[InputFeature], source: ModelSource
) -> dict[str, ColumnType]:
    if names:
        return dict(zip(names, (feature.type for feature in features), strict=True))
    if source.options.get("frame"):
        raise load_error(source, "it was fitted without names of features", "declare the model's inputs by name")
    if features and not any(feature.type == _STRING for feature in features):
        return {"features": ColumnType("float64", (len(features),))}
    if features:
        return {f"x{at}": feature.type for at, feature in enumerate(features)}
    if any(hasattr(inner, "build_analyzer") for inner in firsts):
        return {"text": _STRING}
    if any(hasattr(inner, "X_thresholds_") for inner in firsts):  # isotonic regression, which keeps no width
        return {"features": ColumnType("float64", (1,))}
    raise load_error(source, "the estimator does not say what it takes", "declare the model's inputs, name: type")


def _first(estimator: Any) -> Iterator[Any]:
    """The estimators inside that get the features as they are: first steps, the best of a search, members; else itself."""
    inner = _steps(estimator) or _members(estimator)
    if not inner:
        yield estimator
    for each in inner:
        yield from _first(each)


def _steps(estimator: Any) -> list[Any]:
    steps = [step for _, step in getattr(estimator, "steps", ()) if step is not None and step != "passthrough"]
    return steps[:1] or [step for _, step in getattr(estimator, "transformer_list", ()) if not isinstance(step, str)]


def _members(estimator: Any) -> list[Any]:
    """Those of an ensemble, one of each class."""
    for name in _INSIDE:
        found = getattr(estimator, name, None)
        members = found.ravel().tolist() if isinstance(found, np.ndarray) else found
        members = members if isinstance(members, list) else [members]
        kinds = {type(each): each for each in members if hasattr(each, "get_params") or hasattr(each, "estimator")}
        if kinds:
            return list(kinds.values())
    return []


def _feature(firsts: Sequence[Any], at: int) -> InputFeature:
    """What the estimators that get a feature as it is say of it; `any` where they differ or do not say."""
    found: list[InputFeature] = []
    for inner in firsts:
        parts = getattr(inner, "_transformer_to_input_indices", None)
        if parts is None:
            found.append(_said(inner, at))
            continue
        for name, step, _ in inner.transformers_:
            if step != "drop" and at in parts.get(name, ()):
                place = list(parts[name]).index(at)
                found.append(InputFeature(ANY) if isinstance(step, str) else _feature(list(_first(step)), place))
    known = [feature for feature in found if feature.type != ANY]
    missing = None if any(feature.missing is None for feature in found) else np.nan
    if not known or len({feature.type for feature in known}) > 1 or len(known) < len(found):
        return InputFeature(ANY, known[0].example if known else 0.0, missing=missing)
    return replace(known[0], missing=missing)


def _package(estimator: Any) -> str:
    return type(estimator).__module__.split(".")[0]


def _native(firsts: Sequence[Any], names: list[str], source: ModelSource) -> dict[int, Sequence[Any]]:
    """The native categories of features, by place: those that XGBoost and LightGBM keep, and those of the option."""
    option, known = source.options.get("categories"), dict[int, Sequence[Any] | None]()
    if option is not None and not isinstance(option, Mapping):
        hint = "write {feature: [category, ...]} in the order of training"
        raise load_error(source, f"the option categories is {option!r}", hint)
    for inner in firsts:
        if _package(inner) == "xgboost":
            known |= xgboost_categories(inner.get_booster())
        elif _package(inner) == "lightgbm":
            lines = inner.booster_.model_to_string().splitlines()
            known |= lightgbm_categories(lines, source)
    return chosen_categories(known, names, source)


def _categorical(known: Mapping[str, InputFeature], *, strict: bool) -> dict[str, Callable[[Array], Any]]:
    return {
        name: as_category(name, feature.categories, strict=strict)
        for name, feature in known.items()
        if feature.categories
    }


def _said(estimator: Any, at: int) -> InputFeature:
    categories = getattr(estimator, "categories_", None)
    if categories is not None and at < len(categories):
        return _of_values(np.asarray(categories[at]))
    statistics = getattr(estimator, "statistics_", None)
    if statistics is not None and at < len(statistics):
        missing = None if getattr(estimator, "missing_values", np.nan) is None else np.nan
        return replace(_of_values(np.asarray(statistics)[at : at + 1]), missing=missing)
    if hasattr(estimator, "build_analyzer"):
        return InputFeature(_STRING, "a")
    own = _package(estimator) in ("sklearn", "xgboost", "lightgbm") and not hasattr(estimator, "func")
    return InputFeature(_FLOAT if own else ANY)


def _of_values(values: Array) -> InputFeature:
    """The type of a feature that has these values, missing ones (None, NaN) left out; None is missing where it is among them."""
    if values.dtype.kind in "biuf":
        return InputFeature(_FLOAT, float(values[0]) if len(values) and values[0] == values[0] else 0.0)
    known = [value for value in values.tolist() if value is not None and value == value]
    missing = None if None in values.tolist() else np.nan
    if known and all(isinstance(value, str) for value in known):
        return InputFeature(_STRING, known[0], missing=missing)
    return InputFeature(ANY, known[0] if known else 0.0, missing=missing)


def _check_texts(inputs: Mapping[str, ColumnType], known: Mapping[str, InputFeature], source: ModelSource) -> None:
    for name, kind in inputs.items():
        if kind.dtype in ("string", "bytes") and name in known and known[name].type == _FLOAT:
            raise TypeMismatchError(
                f"input {name!r} is declared as {kind}, the estimator takes numbers there", where=place(source)
            )


def _made_up(
    inputs: Mapping[str, ColumnType], examples: Mapping[str, InputFeature]
) -> Callable[[int, float], dict[str, Array]]:
    def rows(count: int, number: float) -> dict[str, Array]:
        return {name: _column(kind, examples.get(name), count, number) for name, kind in inputs.items()}

    return rows


def _column(kind: ColumnType, known: InputFeature | None, count: int, number: float) -> Array:
    shape = tuple(1 if axis is None else axis for axis in kind.shape)
    example = number if known is None or known.example == 0.0 else known.example
    if kind.dtype in ("string", "bytes"):
        text = example if isinstance(example, str) else "a"
        return np.full((count, *shape), text if kind.dtype == "string" else text.encode(), object)
    if kind.dtype == "any":
        return objects([example] * count) if isinstance(example, str) else np.full(count, example)
    return np.full((count, *shape), 0 if isinstance(example, str) else example).astype(kind.numpy_dtype)


def _maker(
    inputs: Mapping[str, ColumnType],
    order: list[str],
    by_name: bool,
    names: list[str],
    width: int | None,
    source: ModelSource,
    known: Mapping[str, InputFeature],
    categorical: Mapping[str, Callable[[Array], Any]],
) -> Callable[[Mapping[str, Array]], Any]:
    """How a batch's columns become what the estimator takes."""
    framed = source.options.get("frame", by_name and importlib.util.find_spec("pandas") is not None)
    if categorical and not framed:
        what = f"features have categories ({', '.join(categorical)}), which only a frame holds"
        raise load_error(source, what, "declare one input a feature by its name, or leave the inputs and frame out")
    if framed:
        if shaped := [f"{name}: {kind}" for name, kind in inputs.items() if kind.shape]:
            raise load_error(
                source, f"a frame has one value a column: {', '.join(shaped)}", "declare one input for each"
            )
        pandas = framework("pandas", "pandas", "sklearn", source)
        makers = {name: categorical.get(name) or _series(pandas, inputs[name], _missing(known, name)) for name in order}
        return lambda columns: pandas.DataFrame({name: make(columns[name]) for name, make in makers.items()})
    kinds = {name: inputs[name] for name in order}
    words = [name for name, kind in kinds.items() if kind.dtype in ("string", "bytes")]
    if len(kinds) == 1 and words and not kinds[words[0]].shape and width is None:
        return lambda columns: columns[words[0]]
    if any(kind.is_object for kind in kinds.values()):
        if width is None and len(kinds) == 1:
            return lambda columns: columns[order[0]]
        joined = features_of(kinds, "object")
        return lambda columns: joined({name: _with_missing(columns[name], _missing(known, name)) for name in order})
    stack = features_of(kinds, str(np.result_type(*(kind.numpy_dtype for kind in kinds.values()))))
    if not names or importlib.util.find_spec("pandas") is None:
        return lambda columns: read_only(stack(columns))
    named = importlib.import_module("pandas").DataFrame
    return lambda columns: named(read_only(stack(columns)), columns=names)


def _missing(known: Mapping[str, InputFeature], name: str) -> float | None:
    """What an estimator was fitted with where a value of a feature is missing: None where it knows that, else NaN."""
    return known[name].missing if name in known else np.nan


def _series(pandas: Any, kind: ColumnType, missing: float | None) -> Callable[[Array], Any]:
    """How a column becomes one of a frame, whose type must not depend on the rows that share a call.

    Texts have the type that pandas gives them by itself, also where all are missing, or objects where None is missing.
    """
    if kind.dtype == "string":
        pandas_has_texts = int(pandas.__version__.split(".")[0]) >= 3
        dtype = "str" if pandas_has_texts and missing is not None else object
        return lambda column: pandas.Series(_with_missing(column, missing), dtype=dtype)
    if kind.dtype == "any" and missing is None:
        return lambda column: pandas.Series(_with_missing(column, None), dtype=object)
    if kind.dtype == "any":
        return lambda column: (
            pandas.Series(_with_missing(column, missing)).infer_objects() if column.dtype == object else column
        )
    return lambda column: column


def _with_missing(column: Array, missing: float | None) -> Array:
    """Objects with NaN, or None, for what is missing; other columns as they are."""
    if column.dtype != object or column.ndim > 1 or not any_missing(column.tolist()):
        return column
    return objects([missing if is_missing(value) else value for value in column.tolist()])
