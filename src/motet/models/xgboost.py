"""XGBoost models, from .ubj files, and .json files with the scheme `xgboost:`. Types: see `trees.py`.

Options:

    iterations   how many boosting rounds to use; all of them by default, also after early stopping

XGBoost keeps features as float32, whatever they are declared as. A model of `multi:softmax` gives probabilities, as
one of `multi:softprob` does.
"""

from __future__ import annotations

import json
import warnings
from typing import Any, ClassVar

from motet.batch import Array
from motet.models.common import check_cpu, check_options, framework, load_error
from motet.models.handler import ModelSource
from motet.models.keep import Kept
from motet.models.trees import TreeModel, TreeShape, iterations, tree_signature
from motet.types import Signature

__all__ = ["XGBoostHandler"]


class XGBoostHandler:
    """Loads `.ubj` files."""

    name: ClassVar[str] = "xgboost"
    suffixes: ClassVar[tuple[str, ...]] = (".ubj", ".xgb")
    has_file: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False
    batch_invariant: ClassVar[bool] = True

    def __init__(self) -> None:
        self._kept: Kept[Any] = Kept(_read)

    def signature(self, source: ModelSource) -> Signature:
        """What the booster takes and gives; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no XGBoost model.
        """
        check_options(source, ("iterations",))
        return tree_signature(_shape(self._kept.look(source)), source)

    def load(self, source: ModelSource) -> TreeModel:
        """Load it for use; see `Handler.load`."""
        check_options(source, ("iterations",))
        check_cpu(source, "XGBoost")
        booster = self._kept.take(source)
        signature = tree_signature(_shape(booster), source)
        booster.set_param({"nthread": source.threads})
        return TreeModel(_predictor(booster, iterations(source), source), signature, ("float32",))


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        learner: dict[str, Any] = json.loads(booster.save_config())["learner"]
    return learner


def _shape(booster: Any) -> TreeShape:
    config = _config(booster)
    objective, numbers = config["learner_train_param"]["objective"], config["learner_model_param"]
    several = int(numbers["num_class"])
    classes = several if objective.startswith("multi:") else 2 if objective == "binary:logistic" else 0
    return TreeShape(booster.num_features(), booster.feature_names or (), classes, int(numbers.get("num_target", 1)))


def _predictor(booster: Any, rounds: int | None, source: ModelSource) -> Any:
    used = (0, rounds or 0)
    if _config(booster)["gradient_booster"]["name"] != "gblinear":
        return lambda features: booster.inplace_predict(features, iteration_range=used, validate_features=False)
    matrix = framework("xgboost", "xgboost", "xgboost", source).DMatrix

    def predict(features: Array) -> Any:
        given = matrix(features, nthread=source.threads)
        return booster.predict(given, validate_features=False)

    return predict
