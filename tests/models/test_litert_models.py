"""LiteRT files against the arithmetic that they are made of, and against the interpreter itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import motet as mt
from helpers.tflites import Graph, softmax_of
from motet.errors import ModelLoadError, RowErrors, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name
from motet.models.instances import Instances

random = np.random.default_rng(0)
WEIGHTS = random.normal(size=(4, 3)).astype(np.float32)
X = random.normal(size=(23, 4)).astype(np.float32)


def softmax(x: Any) -> Any:
    raised = np.exp(x @ WEIGHTS)
    return raised / raised.sum(axis=1, keepdims=True)


def signature(given: Any) -> str:
    return str(handler_by_name("litert").signature(given))


def loaded(given: Any) -> Any:
    return handler_by_name("litert").load(given)


@pytest.mark.parametrize("signatures", [(), ("serving_default",), ("only",)])
def test_any_number_of_rows_is_answered(signatures: tuple[str, ...], source: Any, tmp_path: Path) -> None:
    path = softmax_of(tmp_path / "m.tflite", WEIGHTS, *signatures)
    assert signature(source(path)) == "(x: float32[4]) -> (probabilities: float32[3])"
    model = loaded(source(path))
    for count in (1, 7, 23, 2):
        np.testing.assert_allclose(model({"x": X[:count]})["probabilities"], softmax(X[:count]), atol=1e-6)


def test_a_model_of_one_row_is_called_row_by_row(source: Any, tmp_path: Path) -> None:
    path = softmax_of(tmp_path / "m.tflite", WEIGHTS, "serving_default", rows=1)
    assert handler_by_name("litert").signature(source(path)).fixed_rows == 1
    with mt.Graph("g", {"p": mt.model(mt.Model(str(path), "m"), mt.input("x", "float32[4]"))}) as graph:
        np.testing.assert_allclose(graph({"x": X})["p"], softmax(X), atol=1e-6)


def quantizing(path: Path, dtype: str, scale: float, zero: int) -> Path:
    """From integers to the same integers, turned round: y = -x."""
    graph = Graph()
    x = graph.tensor("x", (-1, 4), dtype, (scale, zero))
    y = graph.tensor("y", (-1, 4), "float32")
    turned = graph.tensor("turned", (-1, 4), "float32")
    back = graph.tensor("back", (-1, 4), dtype, (scale, zero))
    graph.operator("DEQUANTIZE", [x], [y])
    graph.operator("NEG", [y], [turned])
    graph.operator("QUANTIZE", [turned], [back])
    return graph.write(path, [x], [back, y], "serving_default")


@pytest.mark.parametrize(("dtype", "scale", "zero"), [("int8", 0.05, -7), ("uint8", 1 / 32, 128)])
def test_quantized_tensors_take_and_give_the_numbers_that_they_stand_for(
    dtype: str, scale: float, zero: int, source: Any, tmp_path: Path
) -> None:
    path = quantizing(tmp_path / "m.tflite", dtype, scale, zero)
    assert signature(source(path)) == "(x: float32[4]) -> (back: float32[4], y: float32[4])"
    found = loaded(source(path))({"x": X})
    np.testing.assert_allclose(found["y"], X, atol=scale / 2 + 1e-6)
    np.testing.assert_allclose(found["back"], -found["y"], atol=1e-6)
    far = loaded(source(path))({"x": np.array([[1e9, -1e9, np.inf, -np.inf]], np.float32)})["y"]
    bounds = np.iinfo(dtype)
    np.testing.assert_allclose(far[0], [(each - zero) * np.float32(scale) for each in (bounds.max, bounds.min) * 2])


@pytest.mark.parametrize(("dtype", "scale", "zero"), [("int8", 0.05, -7), ("int8", 0.1, 3), ("uint8", 1 / 128, 127)])
def test_numbers_are_rounded_as_litert_rounds_them(
    dtype: str, scale: float, zero: int, source: Any, tmp_path: Path
) -> None:
    """Its own operator QUANTIZE says what is right, also halfway between two steps and beyond the range."""
    graph = Graph()
    x, q = graph.tensor("x", (-1,)), graph.tensor("q", (-1,), dtype, (scale, zero))
    graph.operator("QUANTIZE", [x], [q])
    own = Interpreter(model_path=str(graph.write(tmp_path / "own.tflite", [x], [q], "only")))
    halves = (np.arange(-300, 300) + 0.5).astype(np.float32) * np.float32(scale)
    numbers = np.concatenate([random.normal(size=20_000).astype(np.float32) * 3, halves])
    expected = own.get_signature_runner()(x=numbers)["q"]
    raw = source(quantizing(tmp_path / "m.tflite", dtype, scale, zero), None, {"y": "float32[4]"})
    found = loaded(raw)({"x": numbers.reshape(-1, 4)})["y"].reshape(-1)
    np.testing.assert_allclose(found, (expected.astype(np.float32) - zero) * np.float32(scale), atol=scale / 100)


def test_integers_are_taken_as_they_are_where_they_are_declared(source: Any, tmp_path: Path) -> None:
    path = quantizing(tmp_path / "m.tflite", "uint8", 1 / 32, 128)
    whole = random.integers(1, 255, size=(5, 4)).astype(np.uint8)
    given = source(path, inputs={"x": "uint8[4]"}, outputs={"back": "uint8[4]"})
    assert signature(given) == "(x: uint8[4]) -> (back: uint8[4])"
    assert loaded(given)({"x": whole})["back"].tolist() == (256 - whole.astype(int)).tolist()
    mixed = source(path, inputs={"x": "uint8[4]"}, outputs={"back": "float32[4]"})
    np.testing.assert_allclose(loaded(mixed)({"x": whole})["back"], -(whole.astype(np.float32) - 128) / 32)


def test_what_is_no_number_fails_its_row_alone(tmp_path: Path) -> None:
    path = quantizing(tmp_path / "m.tflite", "int8", 0.05, 0)
    with mt.Graph("g", {"y": mt.model(mt.Model(str(path), "m"), mt.input("x", "float32[4]")).y}) as graph:
        holes = X[:6].copy()
        holes[3, 1] = np.nan
        with pytest.raises(RowErrors, match="x: NaN has no quantized value") as caught:
            graph({"x": holes})
    assert [failure.row for failure in caught.value.failures] == [3]
    np.testing.assert_allclose(caught.value.columns["y"], np.delete(X[:6], 3, axis=0), atol=0.03)


def test_axes_of_any_length(source: Any, tmp_path: Path) -> None:
    graph = Graph()
    x, y, axis = graph.tensor("x", (-1, -1)), graph.tensor("y", (-1,)), graph.constant("axis", np.array([1], np.int32))
    graph.operator("SUM", [x, axis], [y], "ReducerOptions", keepDims=False)
    path = graph.write(tmp_path / "m.tflite", [x], [y], "serving_default")
    assert signature(source(path)) == "(x: float32[?]) -> (y: float32)"
    model = loaded(source(path))
    for length in (2, 4, 1):
        np.testing.assert_allclose(model({"x": X[:, :length]})["y"], X[:, :length].sum(axis=1), rtol=1e-5)


def test_calls_at_the_same_time_have_interpreters_of_their_own(source: Any, tmp_path: Path) -> None:
    model = loaded(source(softmax_of(tmp_path / "m.tflite", WEIGHTS), threads=2))
    expected = softmax(X)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda size: model({"x": X[: size + 1]})["probabilities"], [*range(23)] * 4))
    for answer in found:
        np.testing.assert_allclose(answer, expected[: len(answer)], atol=1e-6)


def test_no_more_instances_are_made_than_may_be() -> None:
    made, inside, most_inside = [], [], []
    both = threading.Barrier(2)

    def make() -> object:
        made.append(object())
        return made[-1]

    instances = Instances(make, 2)

    def use(number: int) -> None:
        with instances.one() as instance:
            assert instance not in inside
            inside.append(instance)
            most_inside.append(len(inside))
            if number < 2:
                both.wait(60)
            inside.remove(instance)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(use, range(40)))
    assert (len(made), max(most_inside)) == (2, 2)


def test_one_that_cannot_be_made_takes_no_place() -> None:
    fails = iter([True, False])

    def make() -> int:
        if next(fails):
            raise MemoryError
        return 1

    instances = Instances(make, 1)
    with pytest.raises(MemoryError), instances.one():
        pass
    with instances.one() as instance:
        assert instance == 1


def test_rows_that_meet_in_a_call_do_not(source: Any, tmp_path: Path, caplog: Any) -> None:
    graph = Graph()
    x, least, y = graph.tensor("x", (-1, 4)), graph.tensor("least", (1, 4)), graph.tensor("y", (-1, 4))
    graph.operator(
        "REDUCE_MAX", [x, graph.constant("axis", np.array([0], np.int32))], [least], "ReducerOptions", keepDims=True
    )
    graph.operator("SUB", [x, least], [y], "SubOptions")
    path = graph.write(tmp_path / "m.tflite", [x], [y], "serving_default")
    assert loaded(source(path))({"x": X})["y"].tolist() == np.zeros_like(X).tolist()
    assert "rows that share a call change each other's answers; each row is a call of its own" in caplog.text


def test_what_it_keeps_in_variables_does_not_reach_the_next_call(source: Any, tmp_path: Path) -> None:
    """A cell of an SVDF remembers what it was given before."""
    graph = Graph()
    x, y = graph.tensor("x", (1, 4)), graph.tensor("y", (1, 3))
    feature = graph.constant("feature", np.ascontiguousarray(WEIGHTS.T))
    time = graph.constant("time", np.ones((3, 2), np.float32))
    state = graph.tensor("state", (1, 6), variable=True)
    graph.operator("SVDF", [x, feature, time, -1, state], [y], "SVDFOptions", rank=1)
    path = graph.write(tmp_path / "m.tflite", [x], [y], "serving_default")
    own = Interpreter(model_path=str(path))
    own.allocate_tensors()
    answers = []
    for _ in range(2):
        own.set_tensor(0, X[:1])
        own.invoke()
        answers.append(own.get_tensor(1).copy())
    assert not np.allclose(*answers), "the interpreter itself remembers"
    model = loaded(source(path))
    for _ in range(3):
        np.testing.assert_allclose(model({"x": X[:1]})["y"], answers[0], rtol=1e-6)


def test_models_that_are_none(source: Any, tmp_path: Path) -> None:
    path = softmax_of(tmp_path / "m.tflite", WEIGHTS, "serving_default")
    whole = path.read_bytes()
    for content in (b"", b"nonsense" * 40, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ModelLoadError, match=r"not a LiteRT model: .*\n  hint: convert the model again"):
            signature(source(path))


def test_what_it_takes_gives_and_is_asked_for_is_checked(source: Any, tmp_path: Path) -> None:
    path = softmax_of(tmp_path / "m.tflite", WEIGHTS, "serving_default", "other")
    with pytest.raises(UnknownNameError, match="unknown signature of the model 'mine'; known: serving_default, other"):
        signature(source(path, options={"signature": "mine"}))
    assert signature(source(path, options={"signature": "other"})).startswith("(x: float32[4])")
    with pytest.raises(UnknownNameError, match="unknown option 'threads'; known: signature"):
        signature(source(path, options={"threads": 2}))
    with pytest.raises(TypeMismatchError, match=r"input 'x' is declared as float32\[5\], the model has float32\[4\]"):
        signature(source(path, inputs={"x": "float32[5]"}))
    with pytest.raises(ModelLoadError, match="LiteRT models run on the cpu only, got device 'cuda'"):
        loaded(source(path, device="cuda"))
    graph = Graph()
    texts = graph.tensor("texts", (-1,), "string")
    path = graph.write(tmp_path / "texts.tflite", [texts], [texts], "serving_default")
    with pytest.raises(ModelLoadError, match="'texts' has dtype text, which no column has"):
        signature(source(path))


def test_models_that_depend_on_earlier_calls_are_refused(source: Any, tmp_path: Path) -> None:
    graph = Graph()
    shape, y = graph.tensor("shape", (1,), "int32"), graph.tensor("y", (-1,))
    graph.operator("RANDOM_UNIFORM", [shape], [y], "RandomOptions")
    path = graph.write(tmp_path / "m.tflite", [shape], [y], "serving_default")
    with pytest.raises(ModelLoadError, match=r"its answers depend on earlier calls \(RANDOM_UNIFORM\)"):
        loaded(source(path))
