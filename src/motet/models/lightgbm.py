"""LightGBM models, from .lgb files, and other text files with the scheme `lightgbm:`. Types: see `trees.py`.

The signature is read from the head of the file, without LightGBM. Options:

    iterations   how many boosting rounds to use; by default the best after early stopping, else all
"""

from __future__ import annotations

from typing import Any, ClassVar

from motet.models.common import check_cpu, check_options, framework, load_error
from motet.models.handler import ModelSource
from motet.models.trees import TreeModel, TreeShape, iterations, tree_signature
from motet.types import Signature

__all__ = ["LightGBMHandler"]

_HEAD_BYTES = 64 << 20
_BINARY = ("binary",)
_SEVERAL = ("multiclass", "multiclassova")


class LightGBMHandler:
    """Loads text model files."""

    name: ClassVar[str] = "lightgbm"
    suffixes: ClassVar[tuple[str, ...]] = (".lgb",)
    has_file: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False
    batch_invariant: ClassVar[bool] = True

    def signature(self, source: ModelSource) -> Signature:
        """What the head of the file says.

        Raises:
            ModelLoadError: when the file is no LightGBM model.
        """
        check_options(source, ("iterations",))
        return tree_signature(_shape(source), source)

    def load(self, source: ModelSource) -> TreeModel:
        """Load it for use; see `Handler.load`."""
        signature = self.signature(source)
        check_cpu(source, "LightGBM")
        lightgbm = framework("lightgbm", "lightgbm", "lightgbm", source)
        try:
            booster = lightgbm.Booster(model_file=source.location)
        except lightgbm.basic.LightGBMError as error:
            raise load_error(source, f"LightGBM cannot load it: {error}", _HINT) from error
        rounds, threads = iterations(source), source.threads

        def predict(features: Any) -> Any:
            return booster.predict(features, num_iteration=rounds, num_threads=threads)

        return TreeModel(predict, signature, ("float32", "float64"))


_HINT = "write it with Booster.save_model('x.lgb'); a pickled estimator is loaded by sklearn:"


def _shape(source: ModelSource) -> TreeShape:
    head = _head(source)
    try:
        features, trees = int(head["max_feature_idx"]) + 1, int(head["num_tree_per_iteration"])
        objective = head.get("objective", "").split(" ")[0]
        classes = 2 if objective in _BINARY else int(head["num_class"]) if objective in _SEVERAL else 0
    except (KeyError, ValueError) as error:
        raise load_error(source, f"the head of the file is broken: {error}", _HINT) from error
    return TreeShape(features, head.get("feature_names", "").split(" "), classes, trees)


def _head(source: ModelSource) -> dict[str, str]:
    """The lines `key=value` before the first tree."""
    found: dict[str, str] = {}
    try:
        with open(source.location, encoding="utf-8") as file:
            if file.readline(16).strip() != "tree":
                raise load_error(source, "not a LightGBM text model: its first line is not `tree`", _HINT)
            while (line := file.readline(_HEAD_BYTES)) and not line.startswith("Tree="):
                key, _, value = line.strip().partition("=")
                found[key] = value
    except UnicodeDecodeError as error:
        raise load_error(source, "not a LightGBM text model: it is no text", _HINT) from error
    except OSError as error:
        raise load_error(source, f"the file cannot be read: {error}", "check the path and the rights") from error
    return found
