"""The rows that are made up to warm models and functions up have the declared shapes, wherever they are played."""

import sys

import numpy as np
import pytest

import motet as mt
from motet.serving.repository.repository import ModelRepository

SHAPES = [("float32[2]", (2,)), ("uint8[4,5,3]", (4, 5, 3)), ("int64", ()), ("bool[1]", (1,)), ("float64[2,1]", (2, 1))]
CODE = """
import motet as mt

@mt.returns({kind!r})
def f(x):
    with open({log!r}, "a") as file:
        file.write(f"{{x.shape}} {{x.dtype}}\\n")
    {body}
"""


@pytest.fixture(autouse=True)
def _importable(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "noting", raising=False)
    yield
    sys.modules.pop("noting", None)


def graph_of(folder, kind, node, body="return x", **model):
    """A graph of one function that writes down what it is given, as a model or as a map."""
    (folder / "noting.py").write_text(CODE.format(kind=kind, log=str(folder / "log"), body=body))
    models = {} if node == "map" else {"m": {"uri": "python:noting:f", "inputs": {"x": kind}, **model}}
    node = {"map": "noting.f", "inputs": ["x"]} if node == "map" else {"model": "m", "inputs": ["x"]}
    graph = {"motet": 1, "name": "g", "inputs": {"x": kind}, "models": models, "nodes": {"n": node}}
    (folder / "g.yaml").write_text(repr({**graph, "outputs": {"y": "n"}}))
    return mt.load(folder / "g.yaml")


def seen(folder):
    return (folder / "log").read_text().splitlines()


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
@pytest.mark.parametrize("settings", [{"placement": "process"}, {"placement": "thread", "warm_up": True}])
def test_a_model_is_warmed_up_with_rows_of_its_shape(tmp_path, kind, shape, settings):
    graph = graph_of(tmp_path, kind, "model", **settings)
    dtype = np.dtype(kind.partition("[")[0])
    given = np.ones((3, *shape), dtype)
    np.testing.assert_array_equal(graph({"x": given})["y"], given)
    assert seen(tmp_path)[0] == f"{(1, *shape)} {dtype}"
    assert set(seen(tmp_path)) <= {f"{(rows, *shape)} {dtype}" for rows in (1, 3)}
    graph.executor.host.close()


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_a_function_is_called_live_at_the_start_with_a_row_of_its_shape(tmp_path, batcher_loop, kind, shape):
    graph = graph_of(tmp_path, kind, "map")

    async def loaded():
        repository = ModelRepository()
        repository.add(graph)
        await repository.load("g")
        repository.close()

    batcher_loop.run(loaded())
    assert set(seen(tmp_path)) == {f"{(1, *shape)} {np.dtype(kind.partition('[')[0])}"}


def test_a_model_that_refuses_zeros_is_ready_and_warmed_up_by_nothing(tmp_path):
    body = "assert x.any()\n    return x"
    graph = graph_of(tmp_path, "float32[2]", "model", body, placement="process")
    np.testing.assert_array_equal(graph({"x": np.ones((3, 2), np.float32)})["y"], np.ones((3, 2), np.float32))
    assert seen(tmp_path) == ["(1, 2) float32", "(3, 2) float32"]
    graph.executor.host.close()
