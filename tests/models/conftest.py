from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from motet.models import ModelSource
from motet.types import ColumnType

SaveOnnx = Callable[..., str]
MakeSource = Callable[..., ModelSource]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache."""
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MOTET_CACHE_BYTES", raising=False)
    monkeypatch.delenv("MOTET_OFFLINE", raising=False)


@pytest.fixture
def source() -> MakeSource:
    """A source of a file, types written as in graphs."""

    def make(
        location: str | Path,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        **more: Any,
    ) -> ModelSource:
        types = [{name: ColumnType.parse(kind) for name, kind in (given or {}).items()} for given in (inputs, outputs)]
        return ModelSource("m", str(location), inputs=types[0], outputs=types[1], **more)

    return make


@pytest.fixture
def save_onnx(tmp_path: Path) -> SaveOnnx:
    """Save an ONNX graph of these nodes; tensors are (name, element type, axes)."""

    def save(
        nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Mapping[str, Any] | None = None, name: str = "m.onnx",
        **options: Any,
    ) -> str:  # fmt: skip
        initializers = [onnx.numpy_helper.from_array(np.asarray(array), key) for key, array in (weights or {}).items()]
        values = [[helper.make_tensor_value_info(*tensor) for tensor in tensors] for tensors in (inputs, outputs)]
        graph = helper.make_graph(nodes, "g", *values, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / name, **options)
        return str(tmp_path / name)

    return save


@pytest.fixture
def linear(save_onnx: SaveOnnx) -> str:
    """y = x @ [[0, 1], [2, 3], [4, 5]], any number of rows."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weights = {"w": np.arange(6, dtype=np.float32).reshape(3, 2)}
    return save_onnx([node], [("x", TensorProto.FLOAT, ["n", 3])], [("y", TensorProto.FLOAT, ["n", 2])], weights)
