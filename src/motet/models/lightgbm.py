"""LightGBM models, from .lgb files, and other text files with the scheme `lightgbm:`. Types: see docs/models.md.

The signature is read from the file, without LightGBM. Options:

    iterations   how many boosting rounds to use; by default all that the file has, which after early stopping are the best
    categories   codes, where the columns hold the places of the categories already (0, 1, ...), not their values; or
                 {feature: [category, ...]} in the order of training, where the file does not say which feature has which

A value that is none of the categories is missing, as for LightGBM.
"""

from __future__ import annotations

from typing import Any, ClassVar

from motet.models.categories import categories_of_head, chosen_categories, said_of_categories
from motet.models.common import check_cpu, check_options, framework, load_error
from motet.models.handler import Handler, ModelSource
from motet.models.trees import TreeModel, TreeShape, iterations, tree_signature
from motet.types import Signature

__all__ = ["LightGBMHandler"]

_OPTIONS = ("iterations", "categories")
_END = ("end of trees", "feature importances", "feature_importances")
"""What follows the last tree, the latter ones in files of early versions."""
_BINARY = ("binary",)
_SEVERAL = ("multiclass", "multiclassova")


class LightGBMHandler(Handler):
    """Loads text model files."""

    name: ClassVar[str] = "lightgbm"
    extra: ClassVar[str] = "lightgbm"
    suffixes: ClassVar[tuple[str, ...]] = (".lgb",)
    batch_invariant: ClassVar[bool] = True

    def signature(self, source: ModelSource) -> Signature:
        """What the head of the file says.

        Raises:
            ModelLoadError: when the file is no LightGBM model.
        """
        check_options(source, _OPTIONS)
        return tree_signature(_shape(source), source)

    def load(self, source: ModelSource) -> TreeModel:
        """Load it for use; see `Handler.load`."""
        check_options(source, _OPTIONS)
        shape = _shape(source)
        signature = tree_signature(shape, source)
        check_cpu(source, "LightGBM")
        lightgbm = framework("lightgbm", "lightgbm", "lightgbm", source)
        try:
            booster = lightgbm.Booster(model_file=source.location)
        except lightgbm.basic.LightGBMError as error:
            raise load_error(source, f"LightGBM cannot load it: {error}", _HINT) from error
        rounds, threads = iterations(source), source.threads

        def predict(features: Any) -> Any:
            return booster.predict(features, num_iteration=rounds, num_threads=threads)

        return TreeModel(predict, shape, signature, ("float64", "float32"))


_HINT = "write it with Booster.save_model('x.lgb'); a pickled estimator is loaded by sklearn:"


def _shape(source: ModelSource) -> TreeShape:
    said, is_whole = _read(source)
    try:
        features, trees = int(said["max_feature_idx"]) + 1, int(said["num_tree_per_iteration"])
        objective = said.get("objective", "").split(" ")[0]
        classes = 2 if objective in _BINARY else int(said["num_class"]) if objective in _SEVERAL else 0
        names = said.get("feature_names", "").split(" ")
        unnamed = names == [f"Column_{place}" for place in range(features)]
        categories = chosen_categories(categories_of_head(said, source), names, source)
    except (KeyError, ValueError) as error:
        raise load_error(source, f"the head of the file is broken: {error}", _HINT) from error
    if not is_whole:  # LightGBM reads on beyond its end, which may end the program
        raise load_error(source, "the file ends before its last tree does", "copy it again, or write it again")
    answer = (classes,) if classes else () if trees == 1 else (trees,)
    return TreeShape(features, () if unnamed else names, "probabilities" if classes else "value", answer, categories)


def _read(source: ModelSource) -> tuple[dict[str, str], bool]:
    """The lines `key=value` before the first tree, what is said of categories behind the last, and whether that is there."""
    found: dict[str, str] = {}
    is_tree = is_whole = False
    try:
        with open(source.location, encoding="utf-8") as file:
            if file.readline(16).strip() != "tree":
                raise load_error(source, "not a LightGBM text model: its first line is not `tree`", _HINT)
            for line in file:
                if "\0" in line:  # LightGBM would look for the end of it for ever
                    raise load_error(source, "not a LightGBM text model: it is no text", _HINT)
                is_tree, is_whole = is_tree or line.startswith("Tree="), line.startswith(_END)
                if is_whole:
                    break
                if not is_tree:
                    key, _, value = line.strip().partition("=")
                    found[key] = value
            found |= said_of_categories(file)
    except UnicodeDecodeError as error:
        raise load_error(source, "not a LightGBM text model: it is no text", _HINT) from error
    except OSError as error:
        raise load_error(source, f"the file cannot be read: {error}", "check the path and the rights") from error
    return found, is_whole
