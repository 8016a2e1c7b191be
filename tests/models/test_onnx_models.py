from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from motet.batch import objects
from motet.errors import ModelLoadError, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name
from motet.models.handler import ModelSource
from motet.models.onnx import OnnxModel, _providers
from motet.types import ColumnType, Signature

handler = handler_by_name("onnx")
FLOAT = TensorProto.FLOAT
CPU = "CPUExecutionProvider"


def identity(save_onnx: Any, *inputs: Any, outputs: Any = None) -> str:
    nodes = [helper.make_node("Identity", [name], [f"{name}_"]) for name, *_ in inputs]
    path: str = save_onnx(nodes, list(inputs), outputs or [(f"{name}_", *rest) for name, *rest in inputs])
    return path


def test_it_answers(linear: str, source: Any) -> None:
    model = handler.load(source(linear))
    x = np.array([[1, 0, 0], [0, 10, 0]], np.float32)
    assert model({"x": x})["y"].tolist() == [[0, 1], [20, 30]]
    model.close()


@pytest.mark.parametrize(
    ("element", "axes", "kind"),
    [
        (FLOAT, ["n", 3], "float32[3]"),
        (FLOAT, [None, "h", "w", 3], "float32[?,?,3]"),
        (TensorProto.UINT8, ["n", 28, 28], "uint8[28,28]"),
        (TensorProto.INT64, ["n"], "int64"),
        (TensorProto.STRING, ["n"], "string"),
        (TensorProto.BOOL, ["n"], "bool"),
        (TensorProto.FLOAT16, ["n", 2], "float16[2]"),
        (TensorProto.DOUBLE, ["n", 2], "float64[2]"),
        (FLOAT, None, "any"),
    ],
)
def test_the_first_axis_is_the_row(save_onnx: Any, source: Any, element: int, axes: Any, kind: str) -> None:
    signature = handler.signature(source(identity(save_onnx, ("x", element, axes))))
    parsed = ColumnType.parse(kind)
    assert signature == Signature({"x": parsed}, {"x_": parsed})


def test_a_fixed_first_axis_fixes_the_rows(save_onnx: Any, source: Any) -> None:
    path = identity(save_onnx, ("a", FLOAT, [8, 3]), ("b", FLOAT, ["n", 2]))
    assert handler.signature(source(path)).fixed_rows == 8
    path = identity(save_onnx, ("a", FLOAT, [8, 3]), ("b", FLOAT, [4]))
    with pytest.raises(
        ModelLoadError, match=r"the first axes differ \(a: 8, b: 4, a_: 8, b_: 4\), so they are not the rows"
    ):
        handler.signature(source(path))


def test_what_has_no_row_axis_is_refused(save_onnx: Any, source: Any) -> None:
    path = identity(save_onnx, ("x", FLOAT, ["n"]), ("loss", FLOAT, []))
    with pytest.raises(ModelLoadError) as caught:
        handler.signature(source(path))
    assert str(caught.value) == (
        f"model 'm' ({path}): input 'loss' is one value whatever the rows are: it has no row axis\n"
        "  hint: export the model with a first axis for the rows"
    )


def test_declared_outputs_choose_and_leave_out_what_is_no_column(save_onnx: Any, source: Any) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"]),
        helper.make_node("ReduceSum", ["x"], ["loss"], keepdims=0),
    ]  # fmt: skip
    outputs = [("y", FLOAT, ["n"]), ("z", FLOAT, ["n"]), ("loss", FLOAT, [])]
    path = save_onnx(nodes, [("x", FLOAT, ["n"])], outputs)
    with pytest.raises(
        ModelLoadError, match=r"output 'loss' is one value .*\n  hint: declare under `outputs` only those"
    ):
        handler.signature(source(path))
    chosen = source(path, outputs={"z": "float32", "y": "float32"})
    assert list(handler.signature(chosen).outputs) == ["z", "y"]
    answers = handler.load(chosen)({"x": np.ones(2, np.float32)})
    assert {name: value.tolist() for name, value in answers.items()} == {"z": [-1, -1], "y": [1, 1]}


def test_declared_types_must_be_possible(linear: str, save_onnx: Any, source: Any) -> None:
    with pytest.raises(TypeMismatchError, match=r"input 'x' is declared as uint8\[3\], the model has float32\[3\]"):
        handler.signature(source(linear, inputs={"x": "uint8[3]"}))
    with pytest.raises(UnknownNameError, match=r"unknown output of the model 'Y'; .*known: y"):
        handler.signature(source(linear, outputs={"Y": "float32[2]"}))
    varies = identity(save_onnx, ("x", FLOAT, ["n", "w"]))
    assert str(handler.signature(source(varies, inputs={"x": "float32[5]"})).inputs["x"]) == "float32[5]"


def test_an_output_of_sequences_says_how_to_mend_it(tmp_path: Path, source: Any) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    fitted = LogisticRegression().fit(x, [0, 0, 1, 1])
    for zipmap in (True, False):
        file = tmp_path / f"{zipmap}.onnx"
        file.write_bytes(to_onnx(fitted, x, options={"zipmap": zipmap}).SerializeToString())
    with pytest.raises(
        ModelLoadError,
        match="output 'output_probability' is a sequence, not a tensor\n  hint: export it with zipmap=False",
    ):
        handler.signature(source(tmp_path / "True.onnx"))
    model = handler.load(source(tmp_path / "False.onnx"))
    assert (
        str(handler.signature(source(tmp_path / "False.onnx")))
        == "(X: float32[1]) -> (label: int64, probabilities: float32[2])"
    )
    assert model({"X": x})["label"].tolist() == [0, 0, 1, 1]


def test_an_element_type_without_a_column_type_is_refused(save_onnx: Any, source: Any) -> None:
    path = identity(save_onnx, ("x", TensorProto.BFLOAT16, ["n"]))
    with pytest.raises(ModelLoadError, match="input 'x' has ONNX element type 16, which no column has"):
        handler.signature(source(path))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x3a\x7f"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, source: Any, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(
        ModelLoadError, match=r"model 'm' \(.*m\.onnx\): not a whole ONNX file: .*\n  hint: export the model again"
    ):
        handler.signature(source(tmp_path / "m.onnx"))
    with pytest.raises(ModelLoadError, match=r"the file cannot be read: .*No such file"):
        handler.signature(source(tmp_path / "none.onnx"))


def test_a_model_that_the_runtime_refuses_gives_its_reason(save_onnx: Any, source: Any) -> None:
    path = save_onnx([helper.make_node("NoSuchOp", ["x"], ["y"])], [("x", FLOAT, ["n"])], [("y", FLOAT, ["n"])])
    with pytest.raises(
        ModelLoadError, match=r"ONNX Runtime cannot load it: .*NoSuchOp[\s\S]*hint: check the file with onnx\.checker"
    ):
        handler.load(source(path))


def test_weights_that_are_not_there_are_named(save_onnx: Any, source: Any, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weights = {"w": np.eye(100, dtype=np.float32)}
    shapes = [[("x", 1, ["n", 100])], [("y", 1, ["n", 100])]]
    path = save_onnx([node], *shapes, weights, save_as_external_data=True, location="m.data", size_threshold=1)
    assert handler.companions(path) == ["m.data"]  # type: ignore[attr-defined]
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelLoadError, match=r"hint: the weights are in another file: keep it beside the \.onnx file"):
        handler.load(source(path))


def test_options_are_known_and_checked(linear: str, source: Any) -> None:
    with pytest.raises(UnknownNameError, match="with: unknown option 'provider'; did you mean 'providers'"):
        handler.load(source(linear, options={"provider": []}))
    with pytest.raises(
        UnknownNameError, match="unknown graph_optimization 'most'; known: disabled, basic, extended, all"
    ):
        handler.load(source(linear, options={"graph_optimization": "most"}))
    with pytest.raises(ModelLoadError, match=r"this ONNX Runtime has no MadeUpProvider; it has .*CPUExecutionProvider"):
        handler.load(source(linear, options={"providers": ["MadeUpProvider"]}))
    with pytest.raises(UnknownNameError, match=r"unknown device 'gpu'; .*known: cpu, cuda, cuda:N"):
        handler.load(source(linear, device="gpu"))
    options = {"providers": ["CPUExecutionProvider"], "graph_optimization": "basic"}
    assert handler.load(source(linear, options=options))({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[6, 9]]


def test_a_device_without_its_provider_is_refused(linear: str, source: Any) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ModelLoadError, match=r"has no CUDAExecutionProvider; .*\n  hint: install onnxruntime-gpu"):
        handler.load(source(linear, device="cuda:1"))


def test_strings_halves_and_arrays_that_are_not_contiguous(save_onnx: Any, source: Any) -> None:
    words = handler.load(source(identity(save_onnx, ("s", TensorProto.STRING, ["n"]))))
    assert words({"s": objects(["ä", "", "b"])[::-1]})["s_"].tolist() == ["b", "", "ä"]
    halves = handler.load(source(identity(save_onnx, ("x", TensorProto.FLOAT16, ["n", 2]))))
    given = np.arange(4, dtype=np.float16).reshape(2, 2).T
    answer = halves({"x": given})["x_"]
    assert (answer.dtype, answer.tolist()) == (np.float16, [[0, 2], [1, 3]])


def test_a_wrong_type_is_the_runtimes_error(linear: str, source: Any) -> None:
    with pytest.raises(Exception, match="Unexpected input data type"):
        handler.load(source(linear))({"x": np.ones((1, 3))})


@pytest.mark.parametrize(
    "message", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 4000", "CUDA out of memory"]
)
def test_memory_that_runs_out_is_a_memory_error(message: str) -> None:
    class Session:
        def run(self, *_: Any) -> None:
            raise RuntimeError(message)

    model = OnnxModel(Session(), Signature({}, {}))
    with pytest.raises(MemoryError, match=message):
        model({})


def test_a_real_allocation_that_fails_is_a_memory_error(save_onnx: Any, source: Any) -> None:
    node = helper.make_node("Expand", ["x", "shape"], ["y"])
    path = save_onnx([node], [("x", FLOAT, ["n"])], [("y", FLOAT, ["a", "n"])], {"shape": np.array([2**45, 1])})
    model = handler.load(source(path))
    with pytest.raises(MemoryError):
        model({"x": np.ones(1, np.float32)})


def test_loading_and_calling_does_not_warn_on_stderr(
    save_onnx: Any, source: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    path = save_onnx([node], [("x", FLOAT, ["n", 3])], [("y", FLOAT, [7, 3])], {"unused": np.ones(3, np.float32)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handler.load(source(path))({"x": np.ones((2, 3), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_a_rows_answer_does_not_depend_on_its_batch_nor_on_other_threads(save_onnx: Any, source: Any) -> None:
    random = np.random.default_rng(0)
    weights = {
        "a": random.normal(size=(37, 64)).astype(np.float32),
        "b": random.normal(size=(64, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["z"]), helper.make_node("Softmax", ["z"], ["p"]),
    ]  # fmt: skip
    path = save_onnx(nodes, [("x", FLOAT, ["n", 37])], [("p", FLOAT, ["n", 10])], weights)
    model = handler.load(source(path))
    x = random.normal(size=(257, 37)).astype(np.float32)
    whole = model({"x": x})["p"]

    def parts(size: int) -> Any:
        return np.concatenate([model({"x": x[at : at + size]})["p"] for at in range(0, len(x), size)])

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(parts, [1, 2, 3, 7, 16, 31, 64, 100]):
            assert np.array_equal(answers, whole)


def test_providers_are_put_on_the_device_of_the_model() -> None:
    class Runtime:
        get_available_providers = staticmethod(lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", CPU])

    def chosen(**options: Any) -> list[object]:
        return _providers(ModelSource("m", "m.onnx", device="cuda:1", options=options), Runtime)

    assert chosen() == [("CUDAExecutionProvider", {"device_id": 1}), (CPU, {})]
    assert chosen(providers=[["TensorrtExecutionProvider", {"trt_fp16_enable": True}], "CUDAExecutionProvider"]) == [
        ("TensorrtExecutionProvider", {"device_id": 1, "trt_fp16_enable": True}),
        ("CUDAExecutionProvider", {"device_id": 1}),
    ]
    for wrong in ("CPUExecutionProvider", [], [7], [["a", "b", "c"]]):
        with pytest.raises(ModelLoadError, match=r"providers must be a list|a provider is a name"):
            chosen(providers=wrong)
