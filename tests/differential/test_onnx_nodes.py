"""ONNX's own cases of every operator, with a first axis of any length: each row's answer is ONNX Runtime's for it alone."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from motet.errors import MotetError
from motet.models import handler_by_name
from motet.models.handler import ModelSource
from motet.models.onnx_proto import read_onnx
from motet.models.onnx_rows import RowSharing, rows_of

handler = handler_by_name("onnx")
ORT_IR_VERSION = 10
ROWS = 19
WITHOUT_ONE_ANSWER = ("Bernoulli", "RandomUniformLike", "RandomNormalLike")


@cache
def cases() -> dict[str, tuple[onnx.ModelProto, list[np.ndarray]]]:
    """The cases whose inputs and outputs all have the same first axis, which is made one of any length."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    return {case.name: (case.model, case.data_sets[0][0]) for case in found if has_rows(case.model)}


def has_rows(model: onnx.ModelProto) -> bool:
    values = [*model.graph.input, *model.graph.output]
    if not model.graph.input or not all(each.type.HasField("tensor_type") for each in values):
        return False
    axes = [each.type.tensor_type.shape.dim for each in values]
    if model.graph.node[0].op_type in WITHOUT_ONE_ANSWER or not all(len(each) for each in axes):
        return False
    if len({each[0].dim_value for each in axes}) != 1 or not axes[0][0].dim_value:
        return False
    for each in axes:
        each[0].dim_param = "N"
    model.ir_version = min(model.ir_version, ORT_IR_VERSION)
    return True


def own_session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 (operators that ONNX Runtime does not have)
        return None


@pytest.mark.parametrize("letter", "abcdefghijklmnopqrstuvwxyz")
def test_each_row_is_answered_as_it_is_alone(letter: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong: list[str] = []
    for name, (model, data) in cases().items():
        if not name.removeprefix("test_").startswith(letter):
            continue
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        said = compared(path, dict(zip([each.name for each in model.graph.input], data, strict=True)))
        if said:
            wrong.append(f"{name}: {said[:300]}")
    assert wrong == []
    assert capfd.readouterr() == ("", "")  # nor does ONNX Runtime say on the console what was raised


def compared(path: Path, columns: dict[str, np.ndarray]) -> str:
    """What is wrong with the answers; empty where they are right, or the model is refused before it is asked."""
    session = own_session(path)
    if session is None:
        return ""
    names = [each.name for each in session.get_outputs()]
    columns = {name: more_rows(values) for name, values in columns.items()}
    try:
        alone = [session.run(names, {k: v[row : row + 1] for k, v in columns.items()}) for row in range(ROWS)]
    except Exception:  # noqa: BLE001 (the case takes no single row: its first axis means something else)
        return ""
    if any(len(answer) != 1 for answers in alone for answer in answers):
        return ""
    if any(len({answers[place].shape for answers in alone}) > 1 for place in range(len(names))):
        return ""
    try:
        loaded = handler.load(ModelSource("m", str(path)))
    except MotetError:
        return ""
    fixed = handler.signature(ModelSource("m", str(path))).fixed_rows
    exact = getattr(loaded, "batch_invariant", True)
    for size in [fixed] if fixed else (2, 3, ROWS):
        calls = [loaded({k: v[at : at + size] for k, v in columns.items()}) for at in range(0, ROWS, size)]
        for place, output in enumerate(names):
            want = np.concatenate([answers[place] for answers in alone])
            got = np.concatenate([call[output] for call in calls])
            if got.shape != want.shape or not same(got, want, exact):
                return f"{output} in calls of {size} is {got.tolist()}, alone {want.tolist()}; promised bits: {exact}"
    return ""


def more_rows(values: np.ndarray) -> np.ndarray:
    """The rows of a case again and again, numbers with a factor of their own each."""
    taken = values[np.arange(ROWS) % len(values)]
    if values.dtype.kind != "f":
        return taken
    factors = np.random.default_rng(0).uniform(0.5, 1, ROWS).reshape(-1, *[1] * (values.ndim - 1))
    more: np.ndarray = (taken * factors).astype(values.dtype)
    return more


def same(got: np.ndarray, want: np.ndarray, exact: bool) -> bool:
    if exact or got.dtype.kind != "f":
        return bool(np.array_equal(got, want, equal_nan=got.dtype.kind == "f"))
    return np.allclose(got, want, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("softmax_axis_1", RowSharing.APART),
        ("softmax_negative_axis", RowSharing.APART),
        ("relu", RowSharing.APART),
        ("logsoftmax_axis_2", RowSharing.APART),
        ("softmax_axis_0", RowSharing.TOGETHER),
        ("logsoftmax_axis_0", RowSharing.TOGETHER),
        ("hardmax_axis_0", RowSharing.TOGETHER),
    ],
)
def test_what_the_graph_tells(tmp_path: Path, name: str, rows: RowSharing) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(cases()[f"test_{name}"][0].SerializeToString())
    assert rows_of(read_onnx(str(path))) is rows
