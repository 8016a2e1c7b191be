"""Model files for the tests of the store: small, real, and telling by their answers which one they are."""

from typing import Any

import onnx
from onnx import TensorProto, helper


def write_model(path: Any, factor: Any) -> Any:
    """An ONNX model that multiplies x by a factor."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows"])
    constant = helper.make_tensor("factor", TensorProto.FLOAT, [1], [float(factor)])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "factor"], ["y"])], "times", [x], [y], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return path
