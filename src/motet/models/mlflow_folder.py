"""The folder of a logged model of MLflow, read without MLflow: which file is the model's own, and what its signature says.

The form: https://mlflow.org/docs/latest/ml/model/#storage-format
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from motet.errors import GraphError, InputError
from motet.types import ANY, ColumnType

__all__ = ["MLMODEL", "MlflowFolder"]

MLMODEL = "MLmodel"
_PICKLES = (".pkl", ".pickle", ".joblib")
_HEADS = ("saved_model.pb", "config.json", "modules.json")
_TYPES = {
    "boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64", "string": "string", "binary": "bytes",
}  # fmt: skip
"""The names of MLflow's types of columns."""
_TEXTS = ("str", "object", "<U0")


class MlflowFolder:
    """A model's folder, with its `MLmodel`.

    Raises:
        InputError: when that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            found = yaml.safe_load((folder / MLMODEL).read_text(encoding="utf-8"))
            self._flavors = {str(name): dict(said or {}) for name, said in dict(found["flavors"]).items()}
            self._signature = dict(found.get("signature") or {})
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            raise InputError(f"its MLmodel cannot be read: {error}") from error

    @property
    def needs_code(self) -> bool:
        """Whether code was logged with it."""
        return any(each.get("code") for each in self._flavors.values())

    def own_file(self) -> tuple[Path, str]:
        """The model's own file, or its folder, and the handler that loads it.

        Raises:
            InputError: naming the flavour that Motet does not read.
        """
        finders = {
            "onnx": self._onnx, "sklearn": self._sklearn, "xgboost": self._xgboost, "lightgbm": self._lightgbm,
            "catboost": self._catboost, "pytorch": self._pytorch, "keras": self._keras, "tensorflow": self._tensorflow,
            "sentence_transformers": self._sentences,
        }  # fmt: skip
        for flavor, find in finders.items():
            if flavor in self._flavors:
                path, handler = find(self._flavors[flavor])
                if not path.exists() or not path.resolve().is_relative_to(self._folder.resolve()):
                    raise InputError(f"the {flavor} model has no file {path.name}")
                return path, handler
        *known, last = finders
        own = [name for name in self._flavors if name != "python_function"] or list(self._flavors)
        raise InputError(
            f"its flavour is {', '.join(own) or 'not said'}; those that are read are {', '.join(known)} and {last}; log the model that "
            "is in it as one of these, or serve it by MLflow and name its endpoint as a remote model"
        )

    def files(self) -> tuple[dict[str, Path], str]:
        """The files of the model, its own first, and the handler that loads it.

        Raises:
            InputError: naming the flavour that Motet does not read.
        """
        path, handler = self.own_file()
        if path.is_dir():
            inside = {str(each.relative_to(path)): each for each in sorted(path.rglob("*")) if each.is_file()}
            own = next((name for name in _HEADS if name in inside), None)
            if own is None:
                raise InputError(f"the folder {path.name} of the model has none of {', '.join(_HEADS)}")
            return {own: inside.pop(own), **inside}, handler
        beside = [other for other in path.parent.iterdir() if other.is_file()] if handler == "onnx" else []
        others = [other for other in beside if other.suffix in (".data", ".weight", ".bin") or "external" in other.name]
        return {each.name: each for each in (path, *others)}, handler

    def types(self, side: str) -> dict[str, ColumnType]:
        """What its signature says of `inputs` or `outputs`, by name; ANY of what is no column. Empty where it has none.

        Raises:
            InputError: when it cannot be read.
        """
        try:
            said = json.loads(self._signature.get(side) or "[]")
            return {str(each.get("name") or f"{at}"): _type(each) for at, each in enumerate(said)}
        except (ValueError, TypeError, AttributeError, KeyError, GraphError) as error:
            raise InputError(f"the signature in its MLmodel cannot be read: {error}") from error

    def _onnx(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        path = self._folder / str(flavor.get("data", "model.onnx"))
        return (path / "model.onnx" if path.is_dir() else path), "onnx"

    def _sklearn(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        return self._pickled("sklearn", flavor, str(flavor.get("pickled_model", "model.pkl")))

    def _xgboost(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        path = self._folder / str(flavor.get("data", "model.xgb"))
        return self._pickled("xgboost", flavor, path.name) if path.suffix in _PICKLES else (path, "xgboost")

    def _lightgbm(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        path = self._folder / str(flavor.get("data", "model.lgb"))
        return (path, "lightgbm") if path.suffix == ".lgb" else self._pickled("lightgbm", flavor, path.name)

    def _catboost(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        return self._folder / str(flavor.get("data", "model.cb")), "catboost"

    def _keras(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        path = self._folder / str(flavor.get("data", "data")) / "model"
        return (path if path.is_dir() else path.with_suffix(".keras")), "keras"

    def _tensorflow(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        if "saved_model_dir" in flavor:
            return self._folder / str(flavor["saved_model_dir"]), "keras"
        form = str(flavor.get("save_format", "keras"))
        path = self._folder / str(flavor.get("data", "data")) / "model"
        return (path if path.is_dir() else path.with_suffix(".h5" if form == "h5" else ".keras")), "keras"

    def _sentences(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        return self._folder / "model.sentence_transformer", "huggingface"

    def _pytorch(self, flavor: Mapping[str, Any]) -> tuple[Path, str]:
        folder = self._folder / str(flavor.get("model_data", "data"))
        exported = sorted(folder.glob("*.pt2"))
        path = exported[0] if exported else folder / "model.pth"
        if not exported and path.is_file() and not _is_torchscript(path):
            raise InputError(
                "the pytorch model is a pickled module; log it by torch.jit.script(model) or as an exported program (pt2), or "
                "load it with MLflow and publish a file of one of these"
            )
        return path, "torch"

    def _pickled(self, flavor: str, said: Mapping[str, Any], name: str) -> tuple[Path, str]:
        """An estimator that was dumped as it is, whose handler is that of scikit-learn whatever made it."""
        form = str(said.get("serialization_format", "pickle"))
        if name.endswith(".skops"):
            return self._folder / name, "skops"
        if not name.endswith(_PICKLES):
            raise InputError(
                f"the {flavor} model is written by {form} ({name}), which is not read; log it with "
                'serialization_format="cloudpickle", or load it with MLflow, write it by joblib.dump and publish that file'
            )
        return self._folder / name, "sklearn"


def _is_torchscript(path: Path) -> bool:
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as file:
        return any("/code/" in name for name in file.namelist())
    return False


def _type(said: Mapping[str, Any]) -> ColumnType:
    """The type of a column of a signature: a tensor, whose first axis is the row, or one value a row."""
    if said.get("type") != "tensor":
        return ColumnType(_TYPES[str(said["type"])]) if said.get("type") in _TYPES else ANY
    spec = said["tensor-spec"]
    axes, dtype = list(spec["shape"]), str(spec["dtype"])
    if not axes:
        return ANY
    found = ColumnType("string") if dtype in _TEXTS else ColumnType.parse(dtype)
    return ColumnType(found.dtype, tuple(None if axis < 0 else int(axis) for axis in axes[1:]))
