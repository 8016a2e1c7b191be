"""Model handlers of Beam, as programs have them in their modules; the files of their models are beside `FOLDER`."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pandas as pd
import torch
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult
from apache_beam.ml.inference.onnx_inference import OnnxModelHandlerNumpy
from apache_beam.ml.inference.pytorch_inference import PytorchModelHandlerKeyedTensor, PytorchModelHandlerTensor
from apache_beam.ml.inference.sklearn_inference import SklearnModelHandlerNumpy, SklearnModelHandlerPandas

FOLDER = os.environ.get("BEAM_HANDLERS", "")


class Sums(ModelHandler[np.ndarray, PredictionResult, Any]):
    """The sum of each array; refuses one that holds 13. Remembers how many examples its calls had."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[int] = []

    def load_model(self) -> Any:
        return total

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        self.calls.append(len(batch))
        if any(13 in np.ravel(each) for each in batch):
            raise ValueError("thirteen")
        return (PredictionResult(each, model(each) * (inference_args or {}).get("times", 1)) for each in batch)


class Some(Sums):
    """Two outputs of each array, and an exception for one that holds 13."""

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        self.calls.append(len(batch))
        for each in batch:
            odd = 13 in np.ravel(each)
            yield PredictionResult(each, ValueError("thirteen") if odd else {"sum": model(each), "most": each.max()})


class Words(ModelHandler):
    """Says of each example what it is; it does not say what it takes."""

    def load_model(self) -> Any:
        return None

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        return [PredictionResult(each, f"{type(each).__name__}: {each!r}") for each in batch]


class Strict(Sums):
    """Takes no arguments, and has no variables to set."""

    def validate_inference_args(self, inference_args: Any) -> None:
        if inference_args:
            raise ValueError("takes none")

    def set_environment_vars(self) -> None:
        raise KeyError("variables")


class Single(Sums):
    """Gives arrays without a dimension."""

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        return [PredictionResult(each, np.array(each.sum())) for each in batch]


class Visit(NamedTuple):
    x: float
    note: str


class Visits(Words, ModelHandler[Visit, PredictionResult, Any]):
    """Of named tuples."""


class Rows(ModelHandler[beam.Row, PredictionResult, Any]):
    """Of Beam's rows."""

    def load_model(self) -> Any:
        return None

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        return [PredictionResult(each, f"{each.a:g} {each.b:g}") for each in batch]


class Sets(Words, ModelHandler[set[int], PredictionResult, Any]):
    """Of what rows are not."""


class Short(Words):
    """Gives a result too few."""

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        return list(super().run_inference(batch, model, inference_args))[1:]


class Two(ModelHandler[dict[str, np.ndarray], PredictionResult, Any]):
    """Two outputs by name."""

    def load_model(self) -> Any:
        return None

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: Any = None) -> Iterable[Any]:
        return [
            PredictionResult(each, {"low": min(each.values()), "all": np.stack([*each.values()])}) for each in batch
        ]


class Linear(torch.nn.Linear):
    """Weights of two features."""

    def __init__(self) -> None:
        super().__init__(2, 1)


class Pair(torch.nn.Module):
    """Of tensors by name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        return {"sum": a * self.weight[0] + b * self.weight[1], "pair": torch.stack([a, b], 1)}


def total(values: Any) -> Any:
    return np.sum(values)


def read(text: str) -> np.ndarray:
    """Numbers of a text."""
    return np.array([float(each) for each in text.split()])


def paired(row) -> np.ndarray:  # type: ignore[no-untyped-def]  # it says what it gives, and not what it takes
    return np.array([row["a"], row["b"]])


def halved(result: PredictionResult) -> PredictionResult:
    return PredictionResult(result.example, result.inference / 2)


def named(result: PredictionResult) -> str:
    return f"sum {result.inference:g}"


def sklearn_numpy() -> Any:
    return SklearnModelHandlerNumpy(f"{FOLDER}/numbers.pkl")


def sklearn_pandas() -> Any:
    return SklearnModelHandlerPandas(f"{FOLDER}/named.pkl", max_batch_size=7)


def onnx_numpy() -> Any:
    return OnnxModelHandlerNumpy(f"{FOLDER}/model.onnx", providers=["CPUExecutionProvider"])


def torch_tensor() -> Any:
    return PytorchModelHandlerTensor(state_dict_path=f"{FOLDER}/linear.pt", model_class=Linear, model_params={})


def torch_tensors() -> Any:
    return PytorchModelHandlerKeyedTensor(state_dict_path=f"{FOLDER}/pair.pt", model_class=Pair, model_params={})


def xgboost(kind: str, model: str = "XGBRegressor") -> Any:
    """Beam's module for XGBoost imports `datatable`, which few have."""
    import xgboost as package

    stub = types.ModuleType("datatable")
    stub.Frame = type("Frame", (), {})  # type: ignore[attr-defined]
    sys.modules.setdefault("datatable", stub)
    from apache_beam.ml.inference import xgboost_inference

    handler = getattr(xgboost_inference, f"XGBoostModelHandler{kind}")
    return handler(getattr(package, model), f"{FOLDER}/trees.json")


sums = Sums()
some = Some()
few = Sums(max_batch_size=3)
light = Sums(max_batch_weight=5, element_size_fn=len)
prepared = Sums(max_batch_size=4).with_preprocess_fn(read).with_postprocess_fn(halved).with_postprocess_fn(named)
of_rows = Sums().with_preprocess_fn(paired)
unmade = partial(halved)
batched = Sums().with_no_batching()
keyed = KeyedModelHandler(sums)
keyed_inside = KeyedModelHandler(sums).with_postprocess_fn(named)
frame = pd.DataFrame
