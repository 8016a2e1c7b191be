"""Programs of ONNX files, played together: ONNX Runtime itself is asked what each file answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from helpers import onnxes
from motet.models.handler import ModelSource
from motet.models.onnx import OnnxHandler
from motet.models.stacking.program import Program, Unstackable
from motet.models.stacking.stacked import StackedProgram

HANDLER = OnnxHandler()
FEATURES = 4
ACTIVATIONS = ["Relu", "Sigmoid", "Tanh", "Identity", "LeakyRelu", "Softmax", "Exp", "Abs", "Neg", "Dropout"]
LAYER = st.fixed_dictionaries(
    {
        "layer": st.sampled_from(["MatMul", "Gemm", "GemmB", "Gemm2", "BatchNormalization"]),
        "width": st.integers(1, 5),
        "bias": st.sampled_from(["none", "vector", "row", "one"]),
        "after": st.sampled_from([*ACTIVATIONS, "none"]),
        "by": st.sampled_from(["Add", "Sub", "Mul", "Div"]),
    }
)


def _file(path: Path, layers: list[dict[str, Any]], head: str, seed: int) -> Path:
    """A network of these layers, whose weights follow from the seed; each is small enough for numbers to stay near 1."""
    random = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    nodes, value, width = [], "x", FEATURES

    def weight(array: Any) -> str:
        name = f"w{len(weights)}"
        weights[name] = np.asarray(array, np.float32)
        return name

    def node(operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    for layer in layers:
        kind, to = layer["layer"], layer["width"]
        if kind == "BatchNormalization":
            four = [
                random.normal(size=width),
                random.normal(size=width),
                random.normal(size=width),
                random.uniform(1, 2, width),
            ]
            value = node(kind, value, *map(weight, four))
        else:
            matrix = random.normal(size=(width, to)) / width
            width = to
            if kind == "MatMul":
                value = node("MatMul", value, weight(matrix))
            elif kind == "GemmB":
                value = node("Gemm", value, weight(matrix.T), transB=1)
            elif kind == "Gemm2":
                value = node("Gemm", value, weight(matrix), weight(random.normal(size=to)), alpha=0.5, beta=2.0)
            else:
                value = node("Gemm", value, weight(matrix))
        shape = {"vector": (width,), "row": (1, width), "one": (1,)}.get(layer["bias"])
        if shape is not None:
            value = node(layer["by"], value, weight(random.uniform(1, 2, shape)))
        if layer["after"] != "none":
            value = node(layer["after"], value)
    outputs = [("y", "float32", ["n", width])]
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    if head == "place":
        nodes.append(helper.make_node("ArgMax", [value], ["place"], axis=1, keepdims=0))
        outputs.append(("place", "int64", ["n"]))
    return Path(onnxes.save(path, nodes, [("x", "float32", ["n", FEATURES])], outputs, weights))


def _program(path: Path) -> Program:
    return HANDLER.program(ModelSource("m", str(path)), 1 << 22)


def _check(paths: list[Path], keys: list[int], seed: int) -> None:
    """Rows of these models, in their order, get from all together what each model's session gives for them."""
    programs = [_program(path) for path in paths]
    assert len({each.structure for each in programs}) == 1
    x = np.random.default_rng(seed).normal(size=(len(keys), FEATURES)).astype(np.float32)
    models, counts = np.unique(keys, return_counts=True)
    got = StackedProgram(programs)({"x": x}, models, counts)
    ends = np.cumsum(counts)
    for model, end, count in zip(models, ends, counts, strict=True):
        session = onnxruntime.InferenceSession(str(paths[model]))
        wanted = session.run(list(got), {"x": x[end - count : end]})
        for name, right in zip(got, wanted, strict=True):
            mine = got[name][end - count : end]
            assert (mine.shape, mine.dtype) == (right.shape, right.dtype)
            if right.dtype.kind == "f":
                np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-5)
            else:
                scores = got["y"][end - count : end]  # of two that are equal but for rounding either may be the largest
                top = np.take_along_axis(scores, right[:, None], 1)[:, 0]
                assert (scores.max(axis=1) - top <= 1e-5 * np.maximum(1, abs(top))).all()


@given(
    st.lists(LAYER, min_size=1, max_size=3),
    st.sampled_from(["none", "place"]),
    st.lists(st.integers(0, 4), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_rows_of_several_models_are_answered_as_their_own_sessions_do(
    layers: list[dict[str, Any]], head: str, keys: list[int], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _check(
            [_file(Path(folder) / f"{model}.onnx", layers, head, seed + model) for model in range(5)],
            sorted(keys),
            seed,
        )


def test_many_rows_are_computed_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.models.stacking.stacked.BLOCK_ROWS", 8)
    layers = [{"layer": "Gemm", "width": 3, "bias": "vector", "after": "Relu", "by": "Add"}]
    paths = [_file(tmp_path / f"{model}.onnx", layers, "place", model) for model in range(6)]
    _check(paths, sorted([0] * 20 + [1] * 3 + [2] * 7 + [4, 5, 5]), 1)


def test_names_inside_a_file_do_not_count(tmp_path: Path) -> None:
    x, y = [("x", "float32", ["n", 2])], [("y", "float32", ["n", 1])]
    for name in ("a", "b"):
        nodes = [helper.make_node("MatMul", ["x", name], [f"{name}1"]), helper.make_node("Relu", [f"{name}1"], ["y"])]
        onnxes.save(tmp_path / f"{name}.onnx", nodes, x, y, {name: np.ones((2, 1), np.float32)})
    assert _program(tmp_path / "a.onnx").structure == _program(tmp_path / "b.onnx").structure


@pytest.mark.parametrize("change", ["width", "after", "by"])
def test_another_structure_is_told(tmp_path: Path, change: str) -> None:
    layer = {"layer": "Gemm", "width": 3, "bias": "vector", "after": "Relu", "by": "Add"}
    other = {**layer, change: {"width": 4, "after": "Tanh", "by": "Mul"}[change]}
    one, two = (_file(tmp_path / f"{name}.onnx", [each], "none", 0) for name, each in (("one", layer), ("two", other)))
    assert _program(one).structure != _program(two).structure


def _unusual(path: Path, name: str) -> Path:
    """A file that cannot be played together with others."""
    square = np.eye(2, dtype=np.float32)
    nodes = {
        "has the operator ReduceMean": [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])],
        "has a MatMul of another form than that of layers": [helper.make_node("MatMul", ["x", "x"], ["y"])],
        "has a Softmax of another form than that of layers": [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        "has a Add of another form than that of layers": [helper.make_node("Add", ["x", "two"], ["y"])],
        "has the operator Reshape": [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "computes a weight by MatMul": [
            helper.make_node("MatMul", ["square", "square"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
    }[name]
    constants = {"square": square, "two": square, "shape": np.array([-1, 2])}
    used = {each for node in nodes for each in node.input}
    return Path(
        onnxes.save(
            path, nodes, [("x", "float32", ["n", 2])], [("y", "float32", ["n", 2])],
            {name: array for name, array in constants.items() if name in used},
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "reason",
    [
        "has the operator ReduceMean",
        "has a MatMul of another form than that of layers",
        "has a Softmax of another form than that of layers",
        "has a Add of another form than that of layers",
        "has the operator Reshape",
        "computes a weight by MatMul",
    ],
)
def test_what_cannot_be_stacked_says_why(tmp_path: Path, reason: str) -> None:
    with pytest.raises(Unstackable) as caught:
        _program(_unusual(tmp_path / "m.onnx", reason))
    assert str(caught.value) == reason


def test_a_large_model_is_left_alone(tmp_path: Path) -> None:
    path = onnxes.classifier(tmp_path / "m.onnx", features=64, hidden=64)
    with pytest.raises(Unstackable, match="is larger than 0 MiB"):
        HANDLER.program(ModelSource("m", str(path)), 1024)
