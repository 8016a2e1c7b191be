"""Models of servers whose tensors have no axis of rows, such as those of Triton with `max_batch_size: 0`."""

import numpy as np
import pytest

import motet as mt
from helpers.oip_server import OipServer, Served
from models.test_remote_models import GrpcServer
from motet.errors import ModelLoadError, TypeMismatchError

SERVERS = {"oip+http": OipServer, "oip+grpc": GrpcServer}


def one_row(x):
    """The running sum of one vector; another number of axes is refused, as Triton does."""
    if x.ndim != 1:
        raise ValueError(f"unexpected shape {list(x.shape)}")
    return x.cumsum(dtype=np.float32)


def turned(x):
    if x.ndim != 2:
        raise ValueError(f"unexpected shape {list(x.shape)}")
    return np.ascontiguousarray(x.T)


MODELS = {
    "vector": Served(one_row, [("x", "FP32", [3])], [("y", "FP32", [3])]),
    "any": Served(one_row, [("x", "FP32", [-1])], [("y", "FP32", [-1])]),
    "matrix": Served(turned, [("x", "FP32", [2, 3])], [("y", "FP32", [3, 2])]),
}


@pytest.fixture(params=SERVERS)
def far(request):
    """Makes a graph over a model of a server."""
    server = SERVERS[request.param](**MODELS) if request.param == "oip+http" else GrpcServer(MODELS)

    def made(name, kind, types=None, **options):
        path = f"/v2/models/{name}" if request.param == "oip+http" else f"/{name}"
        model = mt.Model(f"{request.param}://127.0.0.1:{server.port}{path}", "far", options=options, **(types or {}))
        return mt.Graph("g", outputs={"y": mt.model(model, mt.input("x", kind))})

    yield made
    server.close()


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("name", "kind"), [("vector", "float32[3]"), ("any", "float32[3]"), ("matrix", "float32[2,3]")]
)
@pytest.mark.parametrize("declared", [False, True])
def test_each_row_is_a_call_of_all_axes(far, name, kind, rows, declared):
    x = np.arange(rows * (6 if name == "matrix" else 3), dtype=np.float32).reshape(
        rows, *([2, 3] if name == "matrix" else [3])
    )
    types = {"inputs": {"x": kind}, "outputs": {"y": "float32[3,2]" if name == "matrix" else "float32[3]"}}
    answer = far(name, kind, types if declared else None, batch_axis=False)({"x": x})["y"]
    wanted = x.transpose(0, 2, 1) if name == "matrix" else x.cumsum(axis=1)
    np.testing.assert_array_equal(np.stack(list(answer)), wanted)


def test_rows_of_other_lengths_are_calls_too(far):
    x = [np.arange(rows, dtype=np.float32) for rows in (1, 4, 2)]
    answer = far("any", "float32[?]", batch_axis=False)({"x": x})["y"]
    assert [each.tolist() for each in answer] == [each.cumsum().tolist() for each in x]


def test_a_shape_that_may_be_rows_or_a_row_must_be_said(far):
    said = r"the shape \[3\]: one row of 3 elements, or 3 rows of one\n  hint: say which: `with: {batch_axis: false}`"
    for kind in ("float32", "float32[3]"):
        with pytest.raises(ModelLoadError, match=said):
            far("vector", kind).check()
    x = np.arange(5, dtype=np.float32)
    # what is said of a model is believed: calls of three rows, the last one filled up and cut again
    assert far("vector", "float32", batch_axis=True)({"x": x})["y"].tolist() == [0, 1, 3, 3, 7]


def test_types_are_those_of_a_whole_row(far):
    with pytest.raises(TypeMismatchError):
        far("vector", "float32", batch_axis=False).check()
    with pytest.raises(ModelLoadError, match="batch_axis must be true or false; got 'no'"):
        far("vector", "float32[3]", batch_axis="no").check()
