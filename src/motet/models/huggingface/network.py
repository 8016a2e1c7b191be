"""What is called with tokens: a network of transformers on torch, or an ONNX export of one.

Both give arrays of their own framework by name, on which `pooling.py` works as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from motet.batch import Array
from motet.errors import UnknownNameError
from motet.locks import new_lock
from motet.models.common import framework, load_error, place, raise_memory_error
from motet.models.handler import ModelSource
from motet.models.huggingface.folder import TextFolder
from motet.models.huggingface.tokens import Padded
from motet.models.onnx import OUT_OF_MEMORY as ONNX_OUT_OF_MEMORY
from motet.models.onnx import open_session
from motet.models.onnx_proto import read_onnx
from motet.models.onnx_rows import quantizes_together
from motet.models.torch import OUT_OF_MEMORY, torch_device, torch_threads
from motet.tracebacks import summary

__all__ = ["Network", "OnnxNetwork", "TorchNetwork", "is_row_by_row", "load_torch_network", "load_transformer"]

_CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "text-ranking": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "embedding": "AutoModel",
}
_ENCODES_APART = ("t5", "mt5", "umt5")
_DTYPES = ("float32", "bfloat16", "float16")
_loading = new_lock()


class Network(Protocol):
    """A network; several threads may call it."""

    xp: Any
    """numpy, or torch."""
    rows: int | None
    """The most rows of a call, None for any number."""

    def running(self) -> Any:
        """A context in which it is called, and its arrays are worked on."""

    def __call__(self, rows: Padded) -> Mapping[str, Any]:
        """What it gives for the rows of a call, by name: `[rows, ...]`."""

    def tensor(self, values: Any) -> Any:
        """An array of float32 where the network is; None stays None."""

    def array(self, values: Any) -> Array:
        """What it gave as an array of numpy, float32."""

    def close(self) -> None:
        """Let go of it."""


class TorchNetwork:
    """A network of transformers.

    Args:
        torch: the module.
        model: the network, on its device.
        source: for device and threads.
        types: whether it takes which of two texts a token is of.
    """

    def __init__(self, torch: Any, model: Any, source: ModelSource, types: bool) -> None:
        self.xp, self._model, self._types, self._threads = torch, model, types, source.threads
        self._device = next(model.parameters()).device
        self.rows: int | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """See `Network`.

        Raises:
            MemoryError: when memory runs out meanwhile.
        """
        try:
            with self.xp.inference_mode(), torch_threads.of(self.xp, self._threads):
                yield
        except Exception as error:
            raise_memory_error(error, OUT_OF_MEMORY)
            raise

    def __call__(self, rows: Padded) -> Mapping[str, Any]:
        """See `Network`."""
        given = {
            "input_ids": rows.ids,
            "attention_mask": rows.mask,
            **({"token_type_ids": rows.types} if self._types else {}),
        }
        tensors = {name: self.xp.from_numpy(values).to(self._device) for name, values in given.items()}
        found: Mapping[str, Any] = self._model(**tensors, return_dict=True)
        return {name: value.float() for name, value in found.items() if isinstance(value, self.xp.Tensor)}

    def tensor(self, values: Any) -> Any:
        """See `Network`."""
        return None if values is None else self.xp.tensor(values, dtype=self.xp.float32, device=self._device)

    def array(self, values: Any) -> Array:
        """See `Network`."""
        found: Array = np.array(values.cpu().numpy())
        return found

    def close(self) -> None:
        """See `Network`."""
        self._model = None
        if self._device.type != "cpu":
            self.xp.cuda.empty_cache()


class OnnxNetwork:
    """An ONNX export.

    Args:
        folder: of the model.
        weights: its file below the folder of the network.
        types: whether its tokenizer says which of two texts a token is of; where not all are of the first.
        source: for device, threads and options.

    Raises:
        ModelLoadError: when ONNX Runtime refuses it, or it takes what no tokenizer gives.
    """

    xp: Any = np

    def __init__(self, folder: TextFolder, weights: str, types: bool, source: ModelSource) -> None:
        options = {name: source.options[name] for name in ("providers", "graph_optimization") if name in source.options}
        if "dtype" in source.options:
            raise load_error(source, "an ONNX export has the dtype that it was exported with", "leave dtype out")
        self._session: Any = open_session(
            replace(source, location=os.path.join(folder.network, weights), options=options)
        )
        self._inputs = {each.name: _number_type(each, source) for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._types = types
        self.rows: int | None = 1 if is_row_by_row(folder, weights) else None

    @contextmanager
    def running(self) -> Iterator[None]:
        """See `Network`."""
        yield

    def __call__(self, rows: Padded) -> Mapping[str, Any]:
        """See `Network`.

        Raises:
            MemoryError: when the call is too large for the memory.
        """
        rows = rows if self._types else replace(rows, types=np.zeros_like(rows.types))
        given = {name: _GIVEN[name](rows).astype(dtype, copy=False) for name, dtype in self._inputs.items()}
        try:
            found = self._session.run(None, given)
        except Exception as error:
            raise_memory_error(error, ONNX_OUT_OF_MEMORY)
            raise
        values = [each.astype(np.float32) if each.dtype == np.float16 else each for each in found]
        return dict(zip(self._outputs, values, strict=True))

    def tensor(self, values: Any) -> Any:
        """See `Network`."""
        return None if values is None else np.asarray(values, np.float32)

    def array(self, values: Any) -> Array:
        """See `Network`."""
        found: Array = np.asarray(values, np.float32)
        return found

    def close(self) -> None:
        """See `Network`."""
        self._session = None


def is_row_by_row(folder: TextFolder, weights: str) -> bool:
    """Whether an export is quantized by one scale for a call, so that rows which share it would change each other's answers."""
    return weights.endswith(".onnx") and quantizes_together(read_onnx(os.path.join(folder.network, weights)))


def _positions(rows: Padded) -> Array:
    found: Array = np.maximum(rows.mask.cumsum(axis=1) - 1, 0)
    return found


_GIVEN = {
    "input_ids": lambda rows: rows.ids,
    "attention_mask": lambda rows: rows.mask,
    "token_type_ids": lambda rows: rows.types,
    "position_ids": _positions,
}


def _number_type(tensor: Any, source: ModelSource) -> str:
    if tensor.name not in _GIVEN:
        what = f"the export takes {tensor.name!r}, which no tokenizer gives; known are {', '.join(_GIVEN)}"
        raise load_error(source, what, "export it for its task, without past keys and values")
    if any(isinstance(axis, int) for axis in tensor.shape):
        what = f"the export takes {tensor.name} of shape {tensor.shape}, so many rows and tokens and no others"
        raise load_error(source, what, "export it with dynamic axes for rows and tokens")
    return "int32" if "int32" in tensor.type else "int64"


def load_torch_network(task: str, folder: TextFolder, weights: str, types: bool, source: ModelSource) -> TorchNetwork:
    """The network of a folder for a task.

    Raises:
        ModelLoadError: when transformers cannot load it, or weights are missing.
        MissingExtraError: when torch or transformers is not installed.
    """
    torch = framework("torch", "torch", "huggingface", source)
    kind = _CLASSES[task]
    if kind == "AutoModel" and folder.config.get("model_type") in _ENCODES_APART:
        kind = "AutoModelForTextEncoding"  # the encoder alone
    model = load_transformer(kind, folder, weights, source)
    return TorchNetwork(torch, model, source, types)


def load_transformer(kind: str, folder: TextFolder, weights: str, source: ModelSource) -> Any:
    """A model of transformers in evaluation mode, on its device.

    Args:
        kind: a class of transformers that finds the architecture's, for example `AutoModel`.
        folder: of the model.
        weights: the file that was chosen; whether it is a pickle counts.
        source: for device and dtype.

    Raises:
        ModelLoadError: when transformers cannot load it, or weights are missing.
        MissingExtraError: when torch or transformers is not installed.
    """
    torch = framework("torch", "torch", "huggingface", source)
    transformers = framework("transformers", "transformers", "huggingface", source)
    device, dtype = torch_device(torch, source), source.options.get("dtype", "float32")
    for name in ("providers", "graph_optimization"):
        if name in source.options:
            raise load_error(
                source, f"{name} is of ONNX exports; {weights} is none", "leave it out, or name an export as the file"
            )
    if dtype not in _DTYPES:
        raise UnknownNameError("dtype", str(dtype), _DTYPES, where=place(source))
    options = {"dtype": getattr(torch, str(dtype)), "use_safetensors": weights.endswith(".safetensors")}
    try:
        with _quiet(transformers):
            model, told = getattr(transformers, kind).from_pretrained(
                folder.network, local_files_only=True, trust_remote_code=False, output_loading_info=True, **options
            )
    except Exception as error:
        raise_memory_error(error, OUT_OF_MEMORY)
        what = f"transformers {transformers.__version__} cannot load it as {kind}: {summary(error)}"
        raise load_error(source, what, "see that the task is the one that it was trained for") from error
    missing = [name for name in told["missing_keys"] if not (kind == "AutoModel" and name.startswith("pooler."))]
    if missing := sorted([*missing, *map(str, told.get("mismatched_keys") or ())]):
        what = f"the folder has no weights for {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}"
        raise load_error(
            source, what, "name the task that the model was trained for, or the folder that it was saved into"
        )
    return model.eval().to(device)


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """transformers draws no bar meanwhile; whether it does is one setting of the process."""
    logging = transformers.utils.logging
    with _loading:
        drawn, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # what it would say of weights that are missing is an error here
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if drawn:
                logging.enable_progress_bar()
