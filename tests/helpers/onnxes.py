"""Tiny ONNX files."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}


def save(path: Any, nodes: Any, inputs: Any, outputs: Any, constants: Any) -> Any:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, KINDS[dtype], shape) for name, dtype, shape in inputs],
        [helper.make_tensor_value_info(name, KINDS[dtype], shape) for name, dtype, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def classifier(
    path: Any, features: Any = 4, classes: Any = 3, seed: Any = 0, sharpness: float = 1.0, hidden: Any = 16
) -> Any:
    """Two dense layers and a softmax: float32[features] -> probabilities float32[classes]."""
    random = np.random.default_rng(seed)
    constants = {
        "w1": random.normal(size=(features, hidden)).astype(np.float32),
        "b1": random.normal(size=hidden).astype(np.float32),
        "w2": (random.normal(size=(hidden, classes)) * sharpness).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["l"]),
        helper.make_node("Softmax", ["l"], ["probabilities"], axis=-1),
    ]
    return save(
        path, nodes, [("x", "float32", ["n", features])], [("probabilities", "float32", ["n", classes])], constants
    )


def affine(path: Any, scale: float = 2.0, offset: float = 1.0, rows: Any = "n") -> Any:
    """scale * x + offset of a scalar column."""
    nodes = [helper.make_node("Mul", ["x", "s"], ["m"]), helper.make_node("Add", ["m", "o"], ["y"])]
    constants = {"s": np.array([scale], dtype=np.float32), "o": np.array([offset], dtype=np.float32)}
    return save(path, nodes, [("x", "float32", [rows])], [("y", "float32", [rows])], constants)


def row_mean(path: Any) -> Any:
    """The mean of float32[?]."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=0)]
    return save(path, nodes, [("x", "float32", ["n", "m"])], [("mean", "float32", ["n"])], {})


def two_inputs(path: Any) -> Any:
    """a - b."""
    nodes = [helper.make_node("Sub", ["a", "b"], ["difference"])]
    return save(path, nodes, [("a", "float32", ["n"]), ("b", "float32", ["n"])], [("difference", "float32", ["n"])], {})
