"""ONNX models in int8, made of a file and of rows that it may meet.

`int8` keeps weights and what is computed on the way in 8 bits, with scales that are learned from the rows: each layer is
quantized and back (QDQ), which ONNX Runtime and OpenVINO compute in whole numbers where they can. `int8-dynamic` keeps weights in 8 bits,
and finds the scale of what it multiplies at each call. Both are made by `onnxruntime.quantization`, which needs the package `onnx`.
The same file, rows and versions give the same bytes.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import MotetError
from motet.models.common import framework, load_error
from motet.models.handler import ModelSource
from motet.models.onnx_precision import is_quantized
from motet.models.onnx_proto import read_onnx
from motet.system.places import temporary_folder

__all__ = ["quantized"]

_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
CALIBRATED_ROWS = 32
"""Rows of a call while scales are learned, of a model that takes any number."""


def quantized(source: ModelSource, rows: Mapping[str, Array] | None, fixed_rows: int | None) -> bytes:
    """The file of a model in int8.

    Args:
        source: the model.
        rows: columns by the model's inputs, from which scales are learned; None finds them at each call (`int8-dynamic`).
        fixed_rows: how many rows every call must have; None for any number.

    Raises:
        ModelLoadError: when it cannot be quantized.
        MissingExtraError: when `onnx` or ONNX Runtime is not installed.
    """
    with tempfile.TemporaryDirectory(dir=temporary_folder(), prefix="motet-int8-") as folder, _quiet():
        made = os.path.join(folder, "int8.onnx")
        try:
            if rows is None:
                _quantize_weights(source, made)
            else:
                _quantize_all(source, made, _Calls(rows, fixed_rows), os.path.join(folder, "prepared.onnx"))
            if not is_quantized(read_onnx(made)):
                hint = "leave precision out; int8 is for products of float32 with weights"
                raise load_error(source, "nothing in it can be computed in int8", hint)
            return Path(made).read_bytes()
        except MotetError:
            raise
        except Exception as error:  # whatever it raises
            reason = (str(error).splitlines() or [""])[0]
            raise load_error(source, f"it cannot be quantized: {type(error).__name__}: {reason}") from error


def _tools(source: ModelSource, part: str = "") -> tuple[Any, Any]:
    """`onnx`, and `onnxruntime.quantization` or a part of it."""
    onnx = framework("onnx", "onnx", "precision", source)
    return onnx, framework(f"onnxruntime.quantization{part}", "onnxruntime", "onnx", source)


def _quantize_weights(source: ModelSource, made: str) -> None:
    onnx, quantization = _tools(source)
    model = onnx.load(source.location)
    del model.graph.value_info[:]  # shapes of weights that are transposed on the way: they are found again
    types, weights = ["MatMul", "Gemm"], quantization.QuantType.QInt8
    quantization.quantize_dynamic(model, made, op_types_to_quantize=types, weight_type=weights)


def _quantize_all(source: ModelSource, made: str, calls: _Calls, prepared: str) -> None:
    onnx, quantization = _tools(source)
    _tools(source, ".shape_inference")[1].quant_pre_process(source.location, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    quantization.quantize_static(
        model,
        made,
        calls,
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        nodes_to_exclude=_last(model.graph.node),
    )


def _last(nodes: Any) -> list[str]:
    """The last of several products, and what follows: what scores are made of is worth its 32 bits, and costs little."""
    for place, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{place}"
    products = [place for place, node in enumerate(nodes) if node.op_type in _PRODUCTS]
    return [node.name for node in nodes[products[-1] :]] if len(products) > 1 else []


class _Calls:
    """Gives rows call by call, as `CalibrationDataReader` does; some again where a call has more than there are."""

    def __init__(self, rows: Mapping[str, Array], fixed_rows: int | None) -> None:
        count, size = len(next(iter(rows.values()))), fixed_rows or CALIBRATED_ROWS
        if fixed_rows and fixed_rows > count:
            count = fixed_rows
            rows = {name: column.take(np.arange(count), axis=0, mode="wrap") for name, column in rows.items()}
        starts = range(0, count - size + 1 if fixed_rows else count, size)
        self._calls = iter([{name: column[at : at + size] for name, column in rows.items()} for at in starts])

    def get_next(self) -> Mapping[str, Array] | None:
        """The columns of the next call; None behind the last."""
        return next(self._calls, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that `onnxruntime.quantization` logs by the root logger, which would also give that a handler."""
    root, nobody = logging.getLogger(), logging.NullHandler()
    root.addFilter(_is_not_advice)
    root.addHandler(nobody)
    try:
        yield
    finally:
        root.removeHandler(nobody)
        root.removeFilter(_is_not_advice)


def _is_not_advice(record: logging.LogRecord) -> bool:
    return os.path.join("onnxruntime", "quantization") not in record.pathname
