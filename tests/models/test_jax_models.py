"""Exported JAX programs: what they take and give, answers as the function's own, and errors that say what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import motet as mt
from motet.errors import ModelLoadError, TypeMismatchError, UnknownNameError
from motet.models.handler import ModelSource
from motet.models.jax import JaxHandler
from motet.types import ColumnType

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
X = np.random.default_rng(1).random((7, 4), np.float32)


def scores(x):
    return jax.nn.softmax(x @ WEIGHTS)


@pytest.fixture
def write(tmp_path):
    def written(function, *args, platforms=None, **kwargs):
        path = tmp_path / "model.jax"
        path.write_bytes(export.export(jax.jit(function), platforms=platforms)(*args, **kwargs).serialize())
        return path

    return written


def rows(shape, dtype="float32", scope=None):
    return jax.ShapeDtypeStruct(export.symbolic_shape(f"rows, {shape}" if shape else "rows,", scope=scope), dtype)


def source(path, **more):
    return ModelSource("m", str(path), **more)


def loaded(path, **more):
    return JaxHandler().load(source(path, **more))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_number_of_rows_is_answered_as_by_the_function(write, count):
    model = loaded(write(scores, rows("4")))
    answer = model({"input": X[:count]})["output"]
    assert answer.shape == (count, 3)
    np.testing.assert_allclose(answer, scores(X[:count]), atol=1e-6)


def test_few_numbers_of_rows_are_compiled(write):
    model = loaded(write(scores, rows("4")))
    for count in range(1, 8):
        model({"input": X[:count]})
    assert model._call._cache_size() == 4  # 1, 2, 4 and 8 rows


def test_inputs_and_outputs_by_name(write):
    scope = export.SymbolicScope()

    def both(given):
        return {"sum": given["b"] + given["a"], "difference": given["b"] - given["a"]}

    path = write(both, {"a": rows("", scope=scope), "b": rows("", scope=scope)})
    signature = JaxHandler().signature(source(path))
    assert set(signature.inputs) == {"a", "b"}
    assert set(signature.outputs) == {"sum", "difference"}
    answer = loaded(path)({"a": X[:, 0], "b": X[:, 1]})
    np.testing.assert_allclose(answer["sum"], X[:, 0] + X[:, 1])
    np.testing.assert_allclose(answer["difference"], X[:, 1] - X[:, 0])
    chosen = loaded(path, outputs={"difference": ColumnType("float32")})({"a": X[:, 0], "b": X[:, 1]})
    assert set(chosen) == {"difference"}


def test_declared_names_stand_for_arguments_and_results_in_order(write):
    scope = export.SymbolicScope()
    path = write(lambda p, q: (p - q, p * q), rows("", scope=scope), rows("", scope=scope))
    plain = JaxHandler().signature(source(path))
    assert (list(plain.inputs), list(plain.outputs)) == (["input_0", "input_1"], ["output_0", "output_1"])
    number = ColumnType("float32")
    named = {"inputs": {"x": number, "y": number}, "outputs": {"less": number, "times": number}}
    answer = loaded(path, **named)({"x": X[:, 0], "y": X[:, 1]})
    np.testing.assert_allclose(answer["less"], X[:, 0] - X[:, 1])
    np.testing.assert_allclose(answer["times"], X[:, 0] * X[:, 1])


def test_numbers_of_64_bits_stay_whole(write):
    with jax.enable_x64(True):
        path = write(lambda x: x + 1, rows("", "int64"))
    assert JaxHandler().signature(source(path)).inputs == {"input": ColumnType("int64")}
    answer = loaded(path)({"input": np.array([2**40, 3])})["output"]
    assert answer.dtype == np.int64
    assert answer.tolist() == [2**40 + 1, 4]
    assert jnp.asarray(1.5).dtype == np.float32, "what else the process does is as before"


def test_a_fixed_number_of_rows_is_said_and_kept(write, tmp_path):
    path = write(scores, jax.ShapeDtypeStruct((4, 4), "float32"))
    assert JaxHandler().signature(source(path)).fixed_rows == 4
    image = mt.input("x", "float32[4]")
    graph = mt.Graph("g", outputs={"y": mt.model(mt.Model(str(path), "m"), image)})
    np.testing.assert_allclose(graph({"x": X})["y"], scores(X), atol=1e-6)


def test_what_it_takes_and_gives_is_checked_when_the_graph_is_built(write):
    path = write(scores, rows("4"))
    with pytest.raises(TypeMismatchError, match=r"float32\[5\]"):
        mt.Graph("g", outputs={"y": mt.model(mt.Model(str(path), "m"), mt.input("x", "float32[5]"))}).checked  # noqa: B018


def test_a_file_that_is_no_program(tmp_path):
    path = tmp_path / "model.jax"
    for content in (b"", b"nonsense" * 20):
        path.write_bytes(content)
        with pytest.raises(ModelLoadError, match="not an exported JAX program"):
            loaded(path)


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        (lambda x: x.sum(), "4", "output 'output' is one value whatever the rows are"),
        (lambda x: {"a": {"b": x}}, "4", "it gives values inside values"),
        (lambda x: x.astype(jnp.bfloat16), "4", "output 'output' has dtype bfloat16"),
    ],
)
def test_programs_that_are_no_models(write, function, given, message):
    with pytest.raises(ModelLoadError, match=message):
        loaded(write(function, rows(given)))


def test_a_program_for_another_device(write):
    path = write(scores, rows("4"), platforms=["cuda"])
    with pytest.raises(ModelLoadError, match=r"exported for cuda, not for cpu\n.*platforms="):
        loaded(path)


def test_devices_that_are_not_there(write):
    path = write(scores, rows("4"))
    with pytest.raises(UnknownNameError, match="unknown device 'gpu'"):
        loaded(path, device="gpu")
    with pytest.raises(ModelLoadError, match="JAX has no cuda|there is no cuda:9"):
        loaded(path, device="cuda:9")
    with pytest.raises(ModelLoadError, match="there is no cpu:7"):
        loaded(path, device="cpu:7")


def test_rows_that_would_meet_in_a_call_do_not(write, caplog):
    model = loaded(write(lambda x: jnp.cumsum(x, axis=0) + jax.nn.softmax(x, axis=0), rows("4")))
    np.testing.assert_allclose(model({"input": X})["output"], X + 1, rtol=1e-6)
    assert "each row is a call of its own" in caplog.text
