"""Logged models of MLflow, `mlflow:folder`: the folder with `MLmodel`, played by the handler of its flavour, without MLflow.

Read are onnx, sklearn (pickled, or skops), xgboost, lightgbm, catboost, pytorch (an exported program, or TorchScript), keras,
tensorflow and sentence_transformers. Inputs and outputs are what the handler finds in the model's own file; what that leaves open
(`any`) is as the signature in `MLmodel` says. A classifier gives its probabilities, as it does from its own file. Code that was
logged with a model has to be on PYTHONPATH. Options are those of the flavour's handler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from motet.errors import InputError
from motet.models.common import load_error
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.mlflow_folder import MLMODEL, MlflowFolder
from motet.models.registry import handler_by_name
from motet.types import ANY, ColumnType, Signature

__all__ = ["MlflowHandler"]


class MlflowHandler(Handler):
    """Loads folders that MLflow wrote, or the `MLmodel` in them."""

    name: ClassVar[str] = "mlflow"
    folder_heads: ClassVar[tuple[str, ...]] = (MLMODEL,)
    code_suffixes: ClassVar[tuple[str, ...]] = (
        ".pkl", ".pickle", ".joblib", ".pth", ".pt", ".pt2", ".keras", ".h5", ".pb", ".py", ".bin",
    )  # fmt: skip

    @staticmethod
    def folder_files(names: Sequence[str]) -> list[str]:
        """Which files of a folder are the model's: those of the environment and of examples are part of what was logged, too."""
        return list(names)

    def signature(self, source: ModelSource) -> Signature:
        """What the flavour's handler finds, and where it finds nothing, what `MLmodel` says; see `Handler.signature`.

        Raises:
            ModelLoadError: when the folder is none of MLflow's, or its flavour is not read.
        """
        handler, inner = _inner(source)
        return handler.signature(inner)

    def notes(self, source: ModelSource) -> list[str]:
        """What whoever checks a graph should know of this model."""
        return ["needs the code that was logged with it on PYTHONPATH"] if _folder(source).needs_code else []

    def load(self, source: ModelSource) -> LoadedModel:
        """Have the flavour's handler load it; see `Handler.load`."""
        handler, inner = _inner(source)
        return handler.load(inner)


def _folder(source: ModelSource) -> MlflowFolder:
    path = Path(source.location)
    folder = path.parent if path.name == MLMODEL else path
    if not (folder / MLMODEL).is_file():
        hint = "name the folder that mlflow.*.save_model wrote, or log_model, which has a file MLmodel"
        raise load_error(source, f"no model of MLflow: it has no file {MLMODEL}", hint)
    try:
        return MlflowFolder(folder)
    except InputError as error:
        raise load_error(source, error.what) from error


def _inner(source: ModelSource) -> tuple[Handler, ModelSource]:
    """The handler of the flavour, and the model's own file, with what it does not say itself declared."""
    folder = _folder(source)
    try:
        path, name = folder.own_file()
        said = folder.types("inputs"), folder.types("outputs")
    except InputError as error:
        raise load_error(source, error.what) from error
    handler = handler_by_name(name)
    inner = replace(source, location=str(path))
    own = handler.signature(inner)
    inputs, outputs = (
        declared or _completed(found, more)
        for declared, found, more in zip((source.inputs, source.outputs), (own.inputs, own.outputs), said, strict=True)
    )
    return handler, replace(inner, inputs=inputs, outputs=outputs)


def _completed(own: Mapping[str, ColumnType], said: Mapping[str, ColumnType]) -> Mapping[str, ColumnType]:
    """Types to declare, where a model leaves some open that MLflow knows: by name, else in order; none where it leaves none open."""
    if len(own) == len(said) and not {*own} & {*said}:
        said = dict(zip(own, said.values(), strict=True))
    found = {name: said.get(name, kind) if kind == ANY else kind for name, kind in own.items()}
    return found if found != dict(own) else {}
