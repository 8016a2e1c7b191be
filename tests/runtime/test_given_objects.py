"""What else is given to a graph in Python: tensors with gradients and narrow floats, buffers, texts that nobody can write."""

import numpy as np
import pytest

import motet as mt


def _passes(kind, values, **options):
    graph = mt.Graph("g", {"o": mt.map(_as_it_is, mt.input("x", kind, **options), outputs=kind)})
    return graph({"x": values})["o"]


def _as_it_is(column):
    return column


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_tensors_with_gradients(torch):
    values = torch.arange(6, dtype=torch.float32, requires_grad=True)
    assert _passes("float32", values).tolist() == [0, 1, 2, 3, 4, 5]
    assert _passes("float32[2]", list(values.reshape(3, 2))).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert _passes("any", values * 2).tolist() == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_tensors_of_floats_that_numpy_has_not(torch, kind):
    values = torch.tensor([0.5, -1.0, 1.5]).to(getattr(torch, kind))
    assert _passes("float32", values).tolist() == values.float().tolist()
    assert _passes("float64", values).tolist() == values.float().tolist()
    narrow = pytest.importorskip("ml_dtypes")
    array = np.array([0.5, -1.0, 1.5], getattr(narrow, kind))
    assert _passes("float32", array).tolist() == [0.5, -1.0, 1.5]


def test_a_tensor_that_is_no_array_is_refused(torch):
    with pytest.raises(mt.InputError, match="a Tensor cannot be an array: .*\n  hint: give a numpy array"):
        _passes("float32", torch.eye(2).to_sparse())


def test_a_function_and_a_model_may_give_tensors(torch):
    def tensors(column):
        return torch.tensor(column, requires_grad=True) * 2

    def narrow(column):
        return torch.tensor(column).to(torch.bfloat16)

    x = mt.input("x", "float32")
    for function, wanted in ((tensors, [2.0, 3.0]), (narrow, [1.0, 1.5])):
        graph = mt.Graph("g", {"o": mt.map(function, x, outputs="float32")})
        assert graph({"x": [1.0, 1.5]})["o"].tolist() == wanted


def test_buffers_are_bytes():
    buffer = bytearray(b"ab")
    answer = _passes("bytes", [buffer, memoryview(buffer), b"c"])
    buffer[0] = 0
    assert answer.tolist() == [b"ab", b"ab", b"c"]
    assert {*map(type, answer)} == {bytes}


def test_texts_of_numpys_own():
    kind = np.dtypes.StringDType
    assert _passes("string", np.array(["a", "bb"], kind())).tolist() == ["a", "bb"]
    assert _passes("string", np.array(["a", None], kind(na_object=None)), default="x").tolist() == ["a", "x"]


def test_a_default_that_nobody_can_write_is_refused():
    for default in ("\ud800", "a\udfff"):
        with pytest.raises(mt.GraphError, match=r"input 'x': a default holds a lone surrogate; got '.*\\ud"):
            mt.input("x", "string", default=default)


def test_a_keyword_that_nobody_can_write_is_not_saved(tmp_path):
    graph = mt.Graph("g", {"o": mt.map(mt.ops.scores.label, mt.input("x", "int64"), labels=["\ud800"])})
    with pytest.raises(mt.GraphError, match="a file cannot hold the lone surrogate in"):
        graph.save(tmp_path / "g.yaml")
    assert not list(tmp_path.iterdir())
