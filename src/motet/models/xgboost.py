"""XGBoost models, from .ubj files, and .json files with the scheme `xgboost:`. Types: see docs/models.md.

Options:

    iterations   how many boosting rounds to use; by default those that the estimator whose file it is uses: the best
                 after early stopping. `Booster.predict` of a file that a Booster saved uses all
    missing      the number that stands for a missing value, as NaN does by default; the file does not keep it
    categories   {feature: [category, ...]} in the order of training, for files of versions before 3.1, which do not
                 keep them; or codes, where the columns hold the places of the categories already (0, 1, ...)

XGBoost keeps features as float32, whatever they are declared as. A model of `multi:softmax` gives probabilities, as
one of `multi:softprob` does. A value that is none of the categories fails its row, as it is an error for XGBoost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.models.categories import chosen_categories, xgboost_categories
from motet.models.common import check_cpu, check_options, framework, load_error, own_filters
from motet.models.handler import Handler, ModelSource
from motet.models.keep import LoadCache
from motet.models.trees import TreeModel, TreeShape, iterations, tree_signature
from motet.types import Signature

__all__ = ["XGBoostHandler"]

_OPTIONS = ("iterations", "missing", "categories")


class XGBoostHandler(Handler):
    """Loads `.ubj` files."""

    name: ClassVar[str] = "xgboost"
    extra: ClassVar[str] = "xgboost"
    suffixes: ClassVar[tuple[str, ...]] = (".ubj", ".xgb")
    batch_invariant: ClassVar[bool] = True

    def __init__(self) -> None:
        self._kept: LoadCache[Any] = LoadCache(_read)

    def signature(self, source: ModelSource) -> Signature:
        """What the booster takes and gives; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no XGBoost model.
        """
        check_options(source, _OPTIONS)
        return tree_signature(_shape(self._kept.look(source), source), source)

    def load(self, source: ModelSource) -> TreeModel:
        """Load it for use; see `Handler.load`."""
        check_options(source, _OPTIONS)
        check_cpu(source, "XGBoost")
        booster = self._kept.take(source)
        shape = _shape(booster, source)
        signature = tree_signature(shape, source)
        booster.set_param({"nthread": source.threads})
        return TreeModel(_predictor(booster, source), shape, signature, ("float32",))


def _read(source: ModelSource) -> Any:
    xgboost = framework("xgboost", "xgboost", "xgboost", source)
    try:
        booster = xgboost.Booster(model_file=source.location)
    except (xgboost.core.XGBoostError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        hint = "write it with Booster.save_model('x.ubj'); a pickled estimator is loaded by sklearn:"
        raise load_error(source, f"XGBoost cannot load it: {reason}", hint) from error
    if _config(booster)["learner_train_param"]["objective"] == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})
    return booster


def _config(booster: Any) -> dict[str, Any]:
    with own_filters("ignore", UserWarning):
        learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return learner


def _shape(booster: Any, source: ModelSource) -> TreeShape:
    """What the booster takes, and what it gives for a row of zeros."""
    objective, width = _config(booster)["learner_train_param"]["objective"], booster.num_features()
    given = np.asarray(_predictor(booster, source)(np.zeros((2, width), np.float32)))
    answer = tuple(int(axis) for axis in given.shape[1:])
    output = "value"
    if objective == "binary:logistic":
        output, answer = ("label_probabilities", answer) if answer else ("probabilities", (2,))
    elif objective.startswith("multi:"):
        output = "probabilities"
    names = booster.feature_names or ()
    categories = chosen_categories(xgboost_categories(booster), names or tuple(map(str, range(width))), source)
    return TreeShape(width, names, output, answer, categories, strict=True)


def _rounds(booster: Any, source: ModelSource) -> int:
    """How many boosting rounds are used; 0 for all."""
    chosen = iterations(source)
    if chosen is not None:
        return chosen
    attributes = booster.attributes()
    best = attributes.get("best_iteration") if "scikit_learn" in attributes else None
    return 0 if best is None else int(best) + 1


def _predictor(booster: Any, source: ModelSource) -> Callable[[Array], Any]:
    """As `Booster.predict` does, or the estimator whose file it is: they differ in the last digit for dart."""
    used, missing, kind = (0, _rounds(booster, source)), _missing(source), _config(booster)["gradient_booster"]["name"]
    if kind == "gbtree" or (kind == "dart" and "scikit_learn" in booster.attributes()):
        return lambda features: booster.inplace_predict(
            features, iteration_range=used, missing=missing, validate_features=False
        )
    matrix = framework("xgboost", "xgboost", "xgboost", source).DMatrix

    def predict(features: Array) -> Any:
        given = matrix(features, missing=missing, nthread=source.threads)
        return booster.predict(given, iteration_range=(0, 0) if kind == "gblinear" else used, validate_features=False)

    return predict


def _missing(source: ModelSource) -> float:
    missing = source.options.get("missing", np.nan)
    if isinstance(missing, bool) or not isinstance(missing, (int, float)):
        raise load_error(
            source, f"the option missing is {missing!r}", "give the number that stands for a missing value"
        )
    return float(missing)
