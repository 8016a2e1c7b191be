"""Models of OpenVINO against ONNX Runtime: files of both kinds, every axis, precisions, and errors."""

from __future__ import annotations

import ctypes
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper

import motet as mt
from motet.errors import ModelLoadError, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name
from motet.system.limits import num_cores

random = np.random.default_rng(0)
WEIGHTS = random.normal(size=(4, 3)).astype(np.float32)
X = random.normal(size=(23, 4)).astype(np.float32)
FLOAT = TensorProto.FLOAT


def signature(given: Any) -> Any:
    return handler_by_name("openvino").signature(given)


def loaded(given: Any) -> Any:
    return handler_by_name("openvino").load(given)


@pytest.fixture
def scores(save_onnx: Any) -> str:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Softmax", ["h"], ["p"], axis=-1)]
    weights = {"w": WEIGHTS}
    path: str = save_onnx(nodes, [("x", FLOAT, ["n", 4])], [("p", FLOAT, ["n", 3])], weights)
    return path


@pytest.fixture
def written(scores: str, tmp_path: Path) -> str:
    """The same as OpenVINO writes it."""
    openvino.save_model(openvino.Core().read_model(scores), str(tmp_path / "m.xml"), compress_to_fp16=False)
    return str(tmp_path / "m.xml")


def right(path: str, x: Any) -> Any:
    return onnxruntime.InferenceSession(path).run(None, {"x": x})[0]


def signal_stack() -> int | None:
    """Where this thread handles signals, if not on its own stack."""

    class Stack(ctypes.Structure):
        _fields_ = [("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

    found = Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    place: int | None = found.place
    return place


def test_a_thread_that_loads_handles_signals_where_it_did(scores: str, source: Any) -> None:
    """OpenVINO would give it a stack for them, and free that when another thread lets go of the model."""

    def load() -> tuple[int | None, int | None]:
        before = signal_stack()
        loaded(source(scores)).close()
        return before, signal_stack()

    with ThreadPoolExecutor(1) as thread:
        before, behind = thread.submit(load).result()
    assert before == behind


def test_both_kinds_of_files_answer_as_onnx_runtime(scores: str, written: str, source: Any) -> None:
    expected = right(scores, X)
    for path in (scores, written):
        assert str(signature(source(path))) == "(x: float32[4]) -> (p: float32[3])"
        model = loaded(source(path))
        for count in (1, 7, 23, 2):
            np.testing.assert_allclose(model({"x": X[:count]})["p"], expected[:count], atol=1e-6)
        model.close()


def test_whole_numbers_beyond_32_bits_fail_their_rows(save_onnx: Any) -> None:
    kind = TensorProto.INT64
    path = save_onnx([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n"])], [("y", kind, ["n"])], {})
    given = [1, 2**40 + 1, -(2**31), 2**31 - 1, -(2**31) - 1]
    with mt.Graph("g", {"y": mt.model(mt.Model(f"openvino:{path}", "m"), mt.input("x", "int64"))}) as graph:
        answer, failures = graph({"x": np.array(given)}, failures="return")
    assert answer["y"].tolist() == [1, -(2**31), 2**31 - 1]
    assert [each.row for each in failures] == [1, 4]
    assert "input 'x' is 1099511627777, and OpenVINO computes whole numbers in 32 bits" in failures[0].message


def test_calls_at_the_same_time_and_answers_that_nobody_changes(written: str, scores: str, source: Any) -> None:
    model, expected = loaded(source(written, threads=2)), right(scores, X)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda size: model({"x": X[: size + 1]})["p"], [*range(23)] * 2))
    for answer in found:
        np.testing.assert_allclose(answer, expected[: len(answer)], atol=1e-6)
        assert answer.flags.writeable


@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_has_as_many_threads_as_it_may_and_is_bound_to_no_core(
    written: str, source: Any, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, compiled = openvino.Core.compile_model, []

    def compile_model(core: Any, *args: Any) -> Any:
        compiled.append(own(core, *args))
        return compiled[-1]

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    loaded(source(written, threads=threads))
    streams = max(1, num_cores() // threads)
    names = ("NUM_STREAMS", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING")
    assert [compiled[0].get_property(name) for name in names] == [streams, streams * threads, False]


def test_the_weights_travel_with_the_file(written: str, scores: str, tmp_path: Path) -> None:
    store = mt.Store(tmp_path / "store")
    version = store.publish("m", written)
    assert (version.handler, [file.path for file in version.files]) == ("openvino", ["m.xml", "m.bin"])
    x = mt.input("x", "float32[4]")
    with mt.Graph("g", {"p": mt.model(mt.Model(f"store:{tmp_path}/store#m", "m"), x)}) as graph:
        np.testing.assert_allclose(graph({"x": X})["p"], right(scores, X), atol=1e-6)


def test_a_scheme_plays_an_onnx_file_beside_onnx_runtime(scores: str) -> None:
    x = mt.input("x", "float32[4]")
    ours, theirs = mt.Model(f"openvino:{scores}", "ours"), mt.Model(scores, "theirs")
    with mt.Graph("g", {"ours": mt.model(ours, x), "theirs": mt.model(theirs, x)}) as graph:
        found = graph({"x": X})
    np.testing.assert_allclose(found["ours"], found["theirs"], atol=1e-6)


def test_precision_is_f32_unless_another_is_chosen(written: str, scores: str, source: Any) -> None:
    expected = right(scores, X)
    errors = {}
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision, needed in (("f32", "FP32"), ("bf16", "BF16"), ("f16", "FP16"), ("auto", "FP32")):
        if needed not in able:
            with pytest.raises(ModelLoadError, match=f"this processor does not compute in {precision}"):
                loaded(source(written, options={"precision": precision}))
            continue
        found = loaded(source(written, options={"precision": precision}))({"x": X})["p"]
        errors[precision] = float(np.abs(found - expected).max())
    assert errors["f32"] < 1e-6
    assert max(errors.values()) < 0.03
    with pytest.raises(UnknownNameError, match="unknown precision 'int4'; known: f32, bf16, f16, auto"):
        signature(source(written, options={"precision": "int4"}))


def test_fixed_rows_open_axes_and_several_tensors(save_onnx: Any, source: Any) -> None:
    axes = {"axes": np.array([1])}
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    path = save_onnx([node], [("x", FLOAT, ["n", "m"])], [("y", FLOAT, ["n"])], axes)
    assert str(signature(source(path))) == "(x: float32[?]) -> (y: float32)"
    model = loaded(source(path))
    for length in (2, 4, 1):
        np.testing.assert_allclose(model({"x": X[:, :length]})["y"], X[:, :length].sum(axis=1), rtol=1e-5)
    both = [helper.make_node("Add", ["a", "b"], ["more"]), helper.make_node("Sub", ["a", "b"], ["less"])]
    given, got = [("a", FLOAT, [4, 2]), ("b", FLOAT, [4, 2])], [("more", FLOAT, [4, 2]), ("less", FLOAT, [4, 2])]
    path = save_onnx(both, given, got)
    assert signature(source(path)).fixed_rows == 4
    inputs = [mt.input(name, "float32[2]") for name in "ab"]
    with mt.Graph("g", {"less": mt.model(mt.Model(f"openvino:{path}", "m"), *inputs).less}) as graph:
        np.testing.assert_allclose(graph({"a": X[:7, :2], "b": X[:7, 2:]})["less"], X[:7, :2] - X[:7, 2:], rtol=1e-6)


def test_rows_that_meet_in_a_call_do_not(save_onnx: Any, source: Any, caplog: Any) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    path = save_onnx([node], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    assert loaded(source(path))({"x": X})["y"].tolist() == np.ones_like(X).tolist()
    assert "each row is a call of its own" in caplog.text


def test_files_that_are_no_models(written: str, source: Any, tmp_path: Path) -> None:
    shutil.copy(written, tmp_path / "alone.xml")
    with pytest.raises(ModelLoadError, match=r"its weights, alone\.bin, are not beside it\n  hint: copy both files"):
        signature(source(tmp_path / "alone.xml"))
    (tmp_path / "alone.bin").write_bytes(b"\0" * 8)
    with pytest.raises(ModelLoadError, match="OpenVINO cannot read it: Incorrect weights in bin file!"):
        signature(source(tmp_path / "alone.xml"))
    (tmp_path / "bad.xml").write_text("no model")
    (tmp_path / "bad.bin").write_bytes(b"")
    with pytest.raises(
        ModelLoadError, match=r"OpenVINO cannot read it: Unable to read the model.*\n  hint: write it with"
    ):
        signature(source(tmp_path / "bad.xml"))


def test_what_it_takes_and_gives_is_checked(written: str, source: Any) -> None:
    with pytest.raises(TypeMismatchError, match=r"input 'x' is declared as float32\[5\], the model has float32\[4\]"):
        signature(source(written, {"x": "float32[5]"}))
    with pytest.raises(UnknownNameError, match="unknown option 'providers'; known: precision"):
        signature(source(written, options={"providers": []}))
    with pytest.raises(ModelLoadError, match="OpenVINO models run on the cpu only, got device 'cuda'"):
        loaded(source(written, device="cuda"))
