"""ONNX models in which rows that share a call meet, or may not share one: each row's answer is the one that it has alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic

import motet as mt
from motet.cli import cli
from motet.errors import ModelLoadError
from motet.models import handler_by_name

handler = handler_by_name("onnx")
FLOAT = TensorProto.FLOAT
random = np.random.default_rng(0)
WEIGHTS = random.normal(size=(4, 2)).astype(np.float32)
OUTLIER = np.array([[0.1, 0.2, 0.3, 0.4], [100, -50, 3, 7], *random.normal(size=(9, 4))], np.float32)


def saved(
    save_onnx: Any, nodes: list[Any], axes: list[Any], weights: dict[str, Any], last: list[Any] | None = None
) -> str:
    path: str = save_onnx(nodes, [("x", FLOAT, axes)], [("y", FLOAT, last)], weights)
    return path


def mixing(save_onnx: Any, kind: str, tmp_path: Path) -> str:
    node = helper.make_node
    if kind == "quantized":
        path = saved(save_onnx, [node("MatMul", ["x", "w"], ["y"])], ["N", 4], {"w": WEIGHTS}, ["N", 2])
        quantize_dynamic(path, tmp_path / "q.onnx")
        return str(tmp_path / "q.onnx")
    nodes: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "softmax": ([node("Softmax", ["x"], ["y"], axis=0)], {}),
        "cumsum": ([node("CumSum", ["x", "a"], ["y"])], {"a": np.int64(0)}),
        "normalized": ([node("ReduceMean", ["x"], ["m"], axes=[0]), node("Sub", ["x", "m"], ["y"])], {}),
        "transposed": (
            [node("Transpose", ["x"], ["t"], perm=[1, 0]), node("Softmax", ["t"], ["s"]), node("Transpose", ["s"], ["y"], perm=[1, 0])],
            {},
        ),
        "product": (
            [node("Transpose", ["x"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["g"]), node("MatMul", ["g", "x"], ["y"])],
            {},
        ),
    }  # fmt: skip
    return saved(save_onnx, nodes[kind][0], ["N", 4], nodes[kind][1], ["N", 4])


def alone(path: str, columns: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["y"], {"x": columns[row : row + 1]})[0] for row in range(len(columns))])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["quantized", "softmax", "cumsum", "normalized", "transposed", "product"])
def test_rows_that_would_meet_in_a_call_do_not(save_onnx: Any, tmp_path: Path, kind: str) -> None:
    path = mixing(save_onnx, kind, tmp_path)
    want = alone(path, OUTLIER)
    graph = mt.Graph("g", outputs={"y": mt.model(mt.Model(path, name="m"), mt.input("x", "float32[4]"))})
    np.testing.assert_allclose(graph({"x": OUTLIER})["y"], want, rtol=1e-6)
    pq.write_table(pa.table({"x": pa.array(list(OUTLIER))}), tmp_path / "in.parquet")
    for rows in (1, 2, 7, 64):
        graph.run(tmp_path / "in.parquet", tmp_path / "out.parquet", batch_rows=rows, overwrite=True)
        answers = pq.read_table(tmp_path / "out.parquet")["y"].combine_chunks().to_numpy_ndarray()
        np.testing.assert_allclose(answers, want, rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_rows_that_are_looked_up_among_those_of_a_call_do_not_meet(save_onnx: Any) -> None:
    gather = helper.make_node("Gather", ["x", "i"], ["y"], axis=0)
    path = save_onnx([gather], [("x", FLOAT, ["N", 4]), ("i", TensorProto.INT64, ["N"])], [("y", FLOAT, ["N", 4])], {})
    node = mt.model(mt.Model(path), mt.input("x", "float32[4]"), mt.input("i", "int64"))
    answer = mt.Graph("g", outputs={"y": node})({"x": OUTLIER, "i": np.zeros(len(OUTLIER), np.int64)})
    np.testing.assert_array_equal(answer["y"], OUTLIER)  # each alone finds itself in the first place


@pytest.mark.filterwarnings("ignore")
def test_check_says_so_where_the_graph_tells(save_onnx: Any, tmp_path: Path) -> None:
    path = mixing(save_onnx, "quantized", tmp_path)
    mt.Graph("g", outputs={"y": mt.model(mt.Model(path, name="m"), mt.input("x", "float32[4]"))}).save(
        tmp_path / "g.yaml"
    )
    assert CliRunner().invoke(cli, ["check", str(tmp_path / "g.yaml")]).output.splitlines()[-1] == (
        "note: model 'm': rows that share a call change each other's answers, so each row is a call of its own"
    )


def test_a_fixed_number_of_rows_that_meet_is_filled_with_copies(save_onnx: Any, source: Any) -> None:
    path = saved(save_onnx, [helper.make_node("Softmax", ["x"], ["y"], axis=0)], [3, 4], {}, [3, 4])
    model = handler.load(source(path))
    assert handler.signature(source(path)).fixed_rows == 3
    answers = model({"x": OUTLIER[:3]})["y"]
    np.testing.assert_allclose(answers, np.full((3, 4), 1 / 3), rtol=1e-6)


@pytest.mark.parametrize("shape", [[1, 4], [1, -1], [1, 2, 2]])
def test_a_number_of_rows_that_is_fixed_inside_is_learned_at_load(
    save_onnx: Any, source: Any, shape: list[int], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Flatten", ["r"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]  # fmt: skip
    path = saved(save_onnx, nodes, ["N", 4], {"s": np.array(shape), "w": WEIGHTS}, ["N", 2])
    with caplog.at_level(logging.WARNING, "motet.models"):
        model = handler.load(source(path))
        answers = [model({"x": OUTLIER})["y"] for _ in range(3)]
    for each in answers:
        np.testing.assert_allclose(each, OUTLIER @ WEIGHTS, rtol=1e-5, atol=1e-5)
    assert [record.message for record in caplog.records] == [
        f"model 'm' ({path}): it answers one row a call only: the number of rows is fixed inside; each row is a call of "
        "its own. Export the model with a first axis of any length, or with one of 1."
    ]
    assert capfd.readouterr().err == ""  # nor does ONNX Runtime say itself what was raised


def test_an_output_that_no_input_reaches_is_refused_unless_others_are_declared(save_onnx: Any, source: Any) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Identity", ["w"], ["v"])]
    path = save_onnx(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 2]), ("v", FLOAT, [4, 2])], {"w": WEIGHTS})
    with pytest.raises(ModelLoadError, match="output 'v' is a constant, whatever the rows are\n  hint: declare under"):
        handler.signature(source(path))
    chosen = source(path, outputs={"y": "float32[2]"})
    np.testing.assert_allclose(handler.load(chosen)({"x": OUTLIER})["y"], OUTLIER @ WEIGHTS, rtol=1e-5, atol=1e-5)


def test_a_sequence_is_no_zipmap(save_onnx: Any, source: Any, tmp_path: Path) -> None:
    node = helper.make_node("SplitToSequence", ["x"], ["y"], axis=1)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", FLOAT, ["n", 4])],
        [helper.make_tensor_sequence_value_info("y", FLOAT, None)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "s.onnx")
    with pytest.raises(ModelLoadError, match="is a sequence, not a tensor\n  hint: declare only the other outputs$"):
        handler.signature(source(tmp_path / "s.onnx"))


def test_same_bits_are_promised_only_of_operators_that_keep_them(save_onnx: Any, source: Any) -> None:
    def promised(*nodes: Any, **weights: Any) -> bool:
        return bool(handler.load(source(saved(save_onnx, list(nodes), ["N", 4], weights))).batch_invariant)  # type: ignore[attr-defined]

    assert promised(helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Softmax", ["h"], ["y"]), w=WEIGHTS)
    assert not promised(helper.make_node("Softplus", ["x"], ["y"]))
    assert not promised(helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]))
    assert not promised(helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("Transpose", ["t"], ["y"], perm=[1, 0]))  # fmt: skip
