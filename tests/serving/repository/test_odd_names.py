"""A model whose inputs and outputs have names that no graph could give is served under those names."""

import numpy as np
import onnx
from onnx import TensorProto, helper

import motet as mt
from serving.batching.batcher_live import submit


def odd(path):
    """An ONNX model with names as exporters make them."""
    rows = [None, 2]
    given = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, rows)
    found = [helper.make_tensor_value_info(name, TensorProto.FLOAT, rows) for name in ("Identity:0", "a/b.c")]
    nodes = [helper.make_node("Identity", ["input.1"], ["Identity:0"]), helper.make_node("Neg", ["input.1"], ["a/b.c"])]
    graph = helper.make_graph(nodes, "odd", [given], found)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return mt.Model(str(path), name="odd")


def test_a_model_is_asked_by_the_names_that_it_gives_its_tensors(tmp_path, gateways, batcher_loop):
    answers = mt.model(odd(tmp_path / "odd.onnx"), mt.input("x", "float32[2]"))
    repository = gateways(mt.Graph("g", outputs={"y": answers["Identity:0"], "z": answers["a/b.c"]}))
    served = repository.find("odd")
    assert (list(served.signature.inputs), list(served.signature.outputs)) == (["input.1"], ["Identity:0", "a/b.c"])
    [alone] = submit(batcher_loop, repository, ("odd", {"input.1": [[1.0, 2.0]]}))
    assert (alone.values("Identity:0"), alone.values("a/b.c")) == ([[1.0, 2.0]], [[-1.0, -2.0]])
    [whole] = submit(batcher_loop, repository, ("g", {"x": np.ones((1, 2), np.float32)}))
    assert whole.values("z") == [[-1.0, -1.0]]
    assert "input.1" in served.graph.draw("svg")
