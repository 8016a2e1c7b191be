"""Functions of JAX with parameters from files, against the function itself; how often they are compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import msgspec
import numpy as np
import pytest
import safetensors.numpy

import motet as mt
from helpers import jax_functions
from motet.errors import ModelLoadError, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name
from motet.types import ColumnType, Signature

random = np.random.default_rng(3)
PARAMETERS = {"w": random.normal(size=(4, 3)).astype(np.float32), "b": random.normal(size=3).astype(np.float32)}
X = random.normal(size=(37, 4)).astype(np.float32)
RIGHT = np.asarray(jax_functions.scores(PARAMETERS, X)["probabilities"])
FOUR = {"x": "float32[4]"}


def flax_bytes(value: Any) -> bytes:
    """As flax.serialization.to_bytes writes arrays: an extension of kind 1 of shape, dtype and bytes."""

    def array(each: Any) -> Any:
        return msgspec.msgpack.Ext(1, msgspec.msgpack.encode((each.shape, each.dtype.name, each.tobytes())))

    return msgspec.msgpack.encode(value, enc_hook=array)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {kind: tmp_path / f"weights.{kind}" for kind in ("npz", "safetensors", "msgpack")}
    np.savez(found["npz"], w=PARAMETERS["w"], b=PARAMETERS["b"])
    safetensors.numpy.save_file(PARAMETERS, found["safetensors"])
    found["msgpack"].write_bytes(
        flax_bytes({"params": {"dense": {"kernel": PARAMETERS["w"], "bias": PARAMETERS["b"]}}})
    )
    return found


@pytest.fixture
def given(source: Any) -> Any:
    def made(path: Path, name: str, inputs: Any = FOUR, outputs: Any = None, **more: Any) -> Any:
        options = {"function": f"helpers.jax_functions:{name}"}
        return source(path, inputs, outputs, options=options, **more)

    return made


def loaded(source: Any) -> Any:
    return handler_by_name("jax").load(source)


@pytest.mark.parametrize(
    ("kind", "name", "output"),
    [("npz", "scores", "probabilities"), ("safetensors", "scores", "probabilities"), ("msgpack", "nested", "output")],
)
def test_files_of_parameters(files: Any, given: Any, kind: str, name: str, output: str) -> None:
    source = given(files[kind], name)
    assert str(handler_by_name("jax").signature(source)) == f"(x: float32[4]) -> ({output}: float32[3])"
    model = loaded(source)
    for count in (1, 5, 37):
        np.testing.assert_allclose(model({"x": X[:count]})[output], RIGHT[:count], atol=1e-6)


def test_it_is_compiled_once_for_each_power_of_two(files: Any, given: Any) -> None:
    model = loaded(given(files["npz"], "scores"))
    jax_functions.traced.clear()
    for count in range(1, 38):
        np.testing.assert_allclose(model({"x": X[:count]})["probabilities"], RIGHT[:count], atol=1e-6)
    assert set(jax_functions.traced) <= {1, 2, 4, 8, 16, 32, 64}
    assert len(jax_functions.traced) == len(set(jax_functions.traced))
    assert model._call._cache_size() == 7
    model.close()


def test_a_graph_file_names_the_parameters_and_the_function(files: Any, tmp_path: Path) -> None:
    text = """\
motet: 1
name: g
inputs: {x: "float32[4]"}
models: {m: {uri: "jax:weights.safetensors", with: {function: "helpers.jax_functions:scores"}, inputs: {x: "float32[4]"}}}
nodes: {n: {model: m, inputs: [x]}}
outputs: {p: n}
"""
    (tmp_path / "g.yaml").write_text(text)
    with mt.load(tmp_path / "g.yaml") as graph:
        np.testing.assert_allclose(graph({"x": X})["p"], RIGHT, atol=1e-6)
    signature = Signature({"x": ColumnType("float32", (4,))}, {"probabilities": ColumnType("float32", (3,))})
    version = mt.Store(tmp_path / "store").publish("net", files["npz"], handler="jax", signature=signature)
    assert [file.path for file in version.files] == ["weights.npz"]


def test_columns_and_answers_by_name_and_by_place(files: Any, given: Any) -> None:
    numbers = {"left": X[:, 0], "right": X[:, 1]}
    first = numbers["left"] * PARAMETERS["w"][0, 0] - numbers["right"]
    swapped = dict.fromkeys(("right", "left"), "float32")
    found = loaded(given(files["npz"], "two", swapped))(numbers)
    np.testing.assert_allclose(found["output_0"], first, rtol=1e-5)
    named = given(files["npz"], "two", dict.fromkeys("ab", "float32"), dict.fromkeys(("less", "more"), "float32"))
    found = loaded(named)({"a": numbers["left"], "b": numbers["right"]})
    np.testing.assert_allclose(found["less"], first, rtol=1e-5)
    np.testing.assert_allclose(found["more"], numbers["left"] + numbers["right"], rtol=1e-6)


def test_columns_that_are_called_as_parameters_go_by_name(files: Any, given: Any) -> None:
    """What stands between them keeps its default."""
    found = loaded(given(files["npz"], "gap", dict.fromkeys(("right", "left"), "float32")))
    columns = {"left": np.array([1, 2], np.float32), "right": np.array([3, 4], np.float32)}
    assert found(columns)["output"].tolist() == [7.0, 16.0]
    what = "of the declared inputs left is a parameter of the function by name, and other is not"
    with pytest.raises(ModelLoadError, match=f"{what}\n  hint: name them after its parameters: left, scale, right"):
        loaded(given(files["npz"], "gap", dict.fromkeys(("left", "other"), "float32")))


def test_numbers_of_64_bits_stay_whole_where_columns_have_them(tmp_path: Path, given: Any) -> None:
    np.savez(tmp_path / "w.npz", w=np.full((1, 1), 1 / 3))
    wide = given(tmp_path / "w.npz", "two", dict.fromkeys(("left", "right"), "float64"))
    found = loaded(wide)({"left": np.array([1.0]), "right": np.array([0.0])})["output_0"]
    assert (found.dtype, found.tolist()) == (np.float64, [1 / 3])
    assert jax.numpy.asarray(1.5).dtype == np.float32, "what else the process does is as before"


def test_rows_that_would_meet_in_a_call_do_not(files: Any, given: Any, caplog: Any) -> None:
    assert loaded(given(files["npz"], "centred"))({"x": X})["output"].tolist() == np.zeros_like(X).tolist()
    assert "each row is a call of its own" in caplog.text


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("total", FOUR, "output 'output' is one value whatever the rows are"),
        ("all_pairs", FOUR, r"output 'output' has shape \(2, 2\) for 2 rows, \(3, 3\) for 3"),
        ("nested", FOUR, "the function fails on the declared inputs and the file's parameters: KeyError: 'params'"),
        ("number", FOUR, "helpers.jax_functions:number is of type int, which cannot be called"),
        ("scores", {}, "a function does not say which columns it takes\n  hint: declare the model's inputs"),
        ("scores", {"x": "string"}, "input 'x' is declared as string, which JAX has no array of"),
        ("scores", {"x": "float32[?]"}, r"input 'x' is declared as float32\[\?\].*\n  hint: say how long each axis is"),
        (
            "scores",
            {"x": "float32[5]"},
            "the function fails on the declared inputs and the file's parameters: TypeError",
        ),
    ],
)
def test_functions_that_are_no_models(files: Any, given: Any, name: str, inputs: Any, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        handler_by_name("jax").signature(given(files["npz"], name, inputs))


def test_what_is_missing_or_wrong_is_said(files: Any, given: Any, source: Any, tmp_path: Path) -> None:
    handler = handler_by_name("jax")
    with pytest.raises(ModelLoadError, match="parameters alone are no model\n  hint: write with: {function: "):
        handler.signature(source(files["npz"], FOUR))
    with pytest.raises(
        UnknownNameError, match=r"unknown name in helpers\.jax_functions .*'score'; did you mean 'scores'"
    ):
        handler.signature(given(files["npz"], "score"))
    with pytest.raises(UnknownNameError, match="unknown option 'module'; known: function"):
        handler.signature(source(files["npz"], FOUR, options={"module": "x"}))
    with pytest.raises(TypeMismatchError, match=r"output 'probabilities' is declared as float32\[2\]"):
        handler.signature(given(files["npz"], "scores", FOUR, {"probabilities": "float32[2]"}))
    for suffix in ("npz", "safetensors", "msgpack"):
        (tmp_path / f"bad.{suffix}").write_bytes(b"\xc1nonsense")
        with pytest.raises(ModelLoadError, match=r"no file of parameters: .*\n  hint: write it with numpy.savez"):
            handler.signature(given(tmp_path / f"bad.{suffix}", "scores"))
