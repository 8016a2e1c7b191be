"""CatBoost models, from .cbm files, and .json files with the scheme `catboost:`. Types: see docs/models.md.

A numeric feature takes float64, of which CatBoost keeps a float32; a categorical one texts or whole numbers, as CatBoost itself
takes the number 3 for the text "3"; a text feature texts. A category that is missing fails its row, as it is an error for CatBoost:
say which value stands for it, `default: missing` of the graph's input. One that no row of training had is what CatBoost makes of
it. Classes are the labels of `probabilities`; regressors and rankers give a `value`, of Poisson and Tweedie the expected one.
Options:

    iterations   how many trees to use; by default all that the file has, which after early stopping are the best
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.models.common import check_cpu, check_options, framework, load_error
from motet.models.handler import Handler, ModelSource
from motet.models.keep import LoadCache
from motet.models.trees import TreeModel, TreeShape, iterations, tree_signature
from motet.types import ANY, ColumnType, Signature

__all__ = ["CatBoostHandler"]

_SEVERAL_LABELS = ("MultiLogloss", "MultiCrossEntropy")
_EXPONENT = ("Poisson", "Tweedie")
_UNCERTAIN = "RMSEWithUncertainty"
_HINT = "write it with save_model('x.cbm'); .json files have the scheme catboost:"


class CatBoostHandler(Handler):
    """Loads `.cbm` and `.json` files."""

    name: ClassVar[str] = "catboost"
    extra: ClassVar[str] = "catboost"
    suffixes: ClassVar[tuple[str, ...]] = (".cbm",)
    batch_invariant: ClassVar[bool] = True

    def __init__(self) -> None:
        self._kept: LoadCache[Any] = LoadCache(_read)

    def signature(self, source: ModelSource) -> Signature:
        """What the model takes and gives; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no CatBoost model, or has features that are vectors.
        """
        check_options(source, ("iterations",))
        return tree_signature(_shape(self._kept.look(source), source), source)

    def load(self, source: ModelSource) -> TreeModel:
        """Load it for use; see `Handler.load`."""
        check_options(source, ("iterations",))
        check_cpu(source, "CatBoost")
        model = self._kept.take(source)
        shape = _shape(model, source)
        dtypes = ("object",) if shape.kinds else ("float32", "float64")
        return TreeModel(_predictor(model, source), shape, tree_signature(shape, source), dtypes)


def _read(source: ModelSource) -> Any:
    catboost = framework("catboost", "catboost", "catboost", source)
    model = catboost.CatBoost()
    try:
        with open(source.location, "rb") as file:
            form = "json" if file.read(1) == b"{" else "cbm"
        model.load_model(source.location, format=form)
    except (catboost.CatBoostError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise load_error(source, f"CatBoost cannot load it: {reason}", _HINT) from error
    if not model.feature_names_:
        raise load_error(source, "CatBoost cannot load it: it has no features", _HINT)
    return model


def _shape(model: Any, source: ModelSource) -> TreeShape:
    """What the model says of itself; how much it gives is seen of two made up rows."""
    names = tuple(map(str, model.feature_names_))
    if vectors := [names[at] for at in model.get_embedding_feature_indices()]:
        hint = "train with the numbers of a vector as features of their own"
        raise load_error(source, f"these features are vectors, which are not read: {', '.join(vectors)}", hint)
    kinds = dict.fromkeys(model.get_cat_feature_indices(), ANY)
    kinds |= dict.fromkeys(model.get_text_feature_indices(), ColumnType("string"))
    made_up = np.zeros((2, len(names)), object if kinds else np.float32)
    made_up[:, list(kinds)] = "0"
    answer = np.shape(_predictor(model, source)(made_up))[1:]
    unnamed = names == tuple(map(str, range(len(names))))
    output, labels = _output(model)
    return TreeShape(len(names), () if unnamed else names, output, answer, {}, kinds=kinds, labels=labels)


def _output(model: Any) -> tuple[str, tuple[Any, ...]]:
    """The name of what it gives, and its classes."""
    classes = tuple(each.item() if isinstance(each, np.generic) else each for each in model.classes_)
    if not classes:
        return "value", ()
    return ("label_probabilities", ()) if _loss(model) in _SEVERAL_LABELS else ("probabilities", classes)


def _loss(model: Any) -> str:
    """The name of the loss that it was trained with; empty where the file does not say."""
    said: Mapping[str, Any] = json.loads(dict(model.get_metadata()).get("params") or "{}")
    return str(said.get("loss_function", {}).get("type", ""))


def _predictor(model: Any, source: ModelSource) -> Callable[[Array], Any]:
    """As the estimator predicts whose file it is, a classifier its probabilities."""
    loss, trees, threads = _loss(model), min(iterations(source) or model.tree_count_, model.tree_count_), source.threads
    kind = "Exponent" if loss in _EXPONENT else loss if loss == _UNCERTAIN else "RawFormulaVal"
    if len(model.classes_):
        kind = "Probability"

    def predict(features: Array) -> Any:
        return model.predict(features, prediction_type=kind, ntree_end=trees, thread_count=threads)

    return predict
