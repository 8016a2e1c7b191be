"""Native categories of XGBoost and LightGBM: from the values of a column to the numbers that the trees were made with."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Array
from motet.models.common import load_error
from motet.models.handler import ModelSource
from motet.numbers import is_missing
from motet.types import ANY, ColumnType

__all__ = [
    "CODES",
    "as_category",
    "categories_of_head",
    "category_type",
    "chosen_categories",
    "encoder",
    "lightgbm_categories",
    "said_of_categories",
    "xgboost_categories",
]

CODES = "codes"
"""The value of the option `categories` that says that columns hold the numbers already."""


def chosen_categories(
    known: Mapping[int, Sequence[Any] | None], names: Sequence[str], source: ModelSource
) -> dict[int, Sequence[Any]]:
    """The categories of each feature that has some, by place: those of the file, over which the option `categories` wins.

    Args:
        known: by the place of each feature with categories what the file says of them; None where it says nothing.
        names: the names of the features, empty where they have none.
        source: its option is `{feature: [category, ...]}` in the order of training, or `codes`: columns hold their places.

    Raises:
        ModelLoadError: when the categories of a feature are not known, or the option is wrong.
    """
    option = source.options.get("categories")
    if option == CODES:
        return {}
    found = dict(known)
    if option is not None:
        found |= _option(option, names, source)
    named = {place: names[place] if names else str(place) for place in found}
    if unknown := [named[place] for place, categories in found.items() if categories is None]:
        lists = ", ".join(f"{name}: [...]" for name in unknown)
        hint = f"say `with: {{categories: {{{lists}}}}}`, in the order of training, or `categories: codes` for columns of their places"
        raise load_error(
            source, f"the file does not say which categories these features have: {', '.join(unknown)}", hint
        )
    return {place: categories for place, categories in found.items() if categories is not None}


def _option(option: Any, names: Sequence[str], source: ModelSource) -> dict[int, Sequence[Any]]:
    places = {name: place for place, name in enumerate(names)}
    hint = "write {feature: [category, ...]} in the order of training, or codes"
    if not isinstance(option, Mapping):
        raise load_error(source, f"the option categories is {option!r}", hint)
    for name, categories in option.items():
        if name not in places:
            raise load_error(source, f"the option categories names {name!r}, which is no feature of the model", hint)
        if not isinstance(categories, (list, tuple)) or not categories:
            raise load_error(source, f"the option categories has {categories!r} for {name!r}", hint)
    return {places[name]: categories for name, categories in option.items()}


def category_type(categories: Sequence[Any]) -> ColumnType:
    """The type of a column of such values."""
    kinds = {type(each) for each in categories}
    if kinds == {str}:
        return ColumnType("string")
    if kinds == {bool}:
        return ColumnType("bool")
    if kinds == {int}:
        return ColumnType("int64")
    return ColumnType("float64") if kinds <= {int, float} else ANY


def as_category(name: str, categories: Sequence[Any], *, strict: bool) -> Callable[[Array], Any]:
    """From a column of values to pandas' categories, missing ones included; see `encoder`."""
    encode, pandas = encoder(name, categories, strict=strict), importlib.import_module("pandas")

    def made(column: Array) -> Any:
        codes = np.nan_to_num(encode(column), nan=-1).astype(np.int64)
        return pandas.Categorical.from_codes(codes, categories=list(categories))

    return made


def encoder(name: str, categories: Sequence[Any], *, strict: bool) -> Callable[[Array], Array]:
    """From a column of values to their places among the categories, float64; NaN for missing ones.

    Args:
        name: the feature's, for messages.
        categories: in the order of training.
        strict: whether a value that is no category is an error, as XGBoost has it; else it is missing, as LightGBM has it.
    """
    places = {category: float(place) for place, category in enumerate(categories)}

    def encode(column: Array) -> Array:
        values = column.tolist()
        codes = np.array([places.get(value, np.nan) for value in values], np.float64)
        if strict:
            for at in np.flatnonzero(np.isnan(codes)).tolist():
                if not is_missing(values[at]):
                    raise ValueError(f"{name}: {values[at]!r} is no category that the model was trained with")
        return codes

    return encode


def xgboost_categories(booster: Any) -> dict[int, Sequence[Any] | None]:
    """The categories that a file of XGBoost keeps, by the place of the feature; None for features whose it does not."""
    kinds = booster.feature_types or ()
    places = [place for place, kind in enumerate(kinds) if kind == "c"]
    if not places or not hasattr(booster, "get_categories"):
        return dict.fromkeys(places)
    kept = booster.get_categories(export_to_arrow=True).to_arrow()
    return {place: None if kept[place][1] is None else kept[place][1].to_pylist() for place in places}


def lightgbm_categories(lines: Iterable[str], source: ModelSource) -> dict[int, Sequence[Any] | None]:
    """The categories that a data frame had, which LightGBM keeps, by the place of the feature; features of whole numbers have none.

    Args:
        lines: of the model as text.
        source: the model, for messages; where its option `categories` says them they are not looked for.

    Raises:
        ModelLoadError: when the text does not say which feature has which.
    """
    return categories_of_head(said_of_categories(lines), source)


def said_of_categories(lines: Iterable[str]) -> dict[str, str]:
    """The lines of a file of LightGBM that tell of categories, by their names."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(("pandas_categorical:", "[categorical_feature:")):
            key, _, value = line.strip().partition(":")
            found[key.strip("[")] = value.strip(" ]") if line.startswith("[") else value
    return found


def categories_of_head(said: Mapping[str, str], source: ModelSource) -> dict[int, Sequence[Any] | None]:
    """The same, of what the head of a file of LightGBM says by its names."""
    kept = json.loads(said.get("pandas_categorical") or "null")
    if not kept or source.options.get("categories"):
        return {}
    places = [int(place) for place in said.get("categorical_feature", "").split(",") if place]
    if len(places) == len(kept):
        return dict(zip(sorted(places), kept, strict=True))
    hint = "say `with: {categories: {feature: [category, ...]}}` for each, in the order of training"
    what = f"it was trained with {len(kept)} categorical columns, of which {len(places)} are categorical features"
    raise load_error(source, f"{what}: the file does not say which", hint)
