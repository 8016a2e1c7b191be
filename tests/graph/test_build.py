"""Building graphs in Python: names, parts that are shared, columns that are named."""

import numpy as np
import pytest

import motet as mt
from helpers import functions
from motet.graph.check import unused
from motet.testing.fakes import Affine, fake


def x_():
    return mt.input("x", "float32")


def test_parts_without_a_name_are_named_after_what_they_are():
    x = x_()
    one = mt.model(fake(Affine, "m"), mt.map(functions.scale, x))
    vote = mt.ensemble([fake(Affine, "m"), fake(Affine, "n", scale=2)], mt.map(functions.scale, one))
    graph = mt.Graph("g", {"y": mt.map(lambda y: y, vote), "z": mt.model(fake(Affine, "m"), x)})
    assert list(graph.nodes) == ["scale_1", "model_1", "scale_2", "ensemble_1", "lambda_1", "model_2"]


def test_given_names_come_first():
    x = x_()
    first = mt.map(functions.scale, x)
    graph = mt.Graph("g", {"y": mt.map(functions.scale, first, name="scale_1")})
    assert list(graph.nodes) == ["scale_2", "scale_1"]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("models/mlp.onnx", "mlp"),
        ("models/mlp.v2.onnx", "mlp"),
        ("s3://bucket/deep/my model.onnx", "my_model"),
        ("models/3d.onnx", "model_3d"),
        ("python:pkg.mod:Name", "Name"),
        ("sklearn:model.bin", "model"),
    ],
)
def test_models_are_named_after_their_files(uri, name):
    assert mt.Model(uri).stem == name


def test_a_model_that_is_used_twice_is_one_and_others_of_its_name_are_not():
    x = x_()
    graph = mt.Graph(
        "g",
        {
            "a": mt.model(fake(Affine, "m", scale=2), x),
            "b": mt.model(fake(Affine, "m", scale=2), x),
            "c": mt.model(fake(Affine, "m", scale=3), x),
            "d": mt.model(fake(Affine, "named", scale=2), x),
        },
    )
    assert list(graph.models) == ["m", "m_2", "named"]
    assert [node.uses for node in graph.nodes.values()] == ["m", "m", "m_2", "named"]  # type: ignore[attr-defined]
    answers = graph({"x": np.array([1], np.float32)})
    assert [answers[name][0] for name in "abcd"] == [2, 2, 3, 2]


def test_long_chains_are_built_and_played():
    column = x_()
    for _ in range(3000):
        column = mt.map(functions.scale, column, by=1.0)
    graph = mt.Graph("long", {"y": column})
    assert len(graph.nodes) == 3000
    assert graph({"x": np.array([1], np.float32)})["y"] == 1


def test_columns_are_attributes_and_items():
    x = mt.input("x", "float32[3]")
    top = mt.map(functions.top, x)
    vote = mt.ensemble({"near-by": fake(Affine, "m", "float32[3]")}, x)
    graph = mt.Graph("g", {"a": top.index, "b": top["index"], "c": vote["near-by"].output, "d": vote["near-by.output"]})
    assert graph.outputs == {
        "a": "top_1.index", "b": "top_1.index", "c": "ensemble_1.near-by.output", "d": "ensemble_1.near-by.output",
    }  # fmt: skip


def test_columns_with_the_names_of_pythons_own_are_items():
    def both(x):
        return {"index": x, "_hidden": x + 1}

    made = mt.map(both, x_(), outputs={"index": "float32", "_hidden": "float32"})
    with pytest.raises(AttributeError, match="_hidden"):
        _ = made._hidden
    assert mt.Graph("g", {"y": made["_hidden"]})({"x": [1.0]})["y"] == 2


def test_the_parts_that_nothing_needs_are_told():
    x = mt.input("x", "float32")
    both = mt.Graph(
        "both", {"y": mt.model(fake(Affine, "m"), x, name="a"), "z": mt.model(fake(Affine, "n"), x, name="b")}
    )
    inner = mt.Graph("inner", {"y": x_()})
    graph = mt.Graph(
        "g", {"y": "a"}, inputs={**both.inputs, "spare": both.inputs["x"]}, models=both.models, nodes=both.nodes, graphs={"inner": inner},
    )  # fmt: skip
    assert unused(graph.checked) == {"inputs": ["spare"], "nodes": ["b"], "models": ["n"], "graphs": ["inner"]}
    assert unused(both.checked) == {}


def test_a_graph_knows_what_it_takes_and_gives():
    x, n = mt.input("x", "float32[?]"), mt.input("n", "int64")
    made = mt.map(functions.undeclared, n)
    graph = mt.Graph("g", {"x": x, "deep": made.low, "n": made})
    assert str(graph.checked.signature) == "(x: float32[?], n: int64) -> (x: float32[?], deep: any, n: any)"
    assert repr(graph) == "<Graph 'g': x, n -> x, deep, n; 1 nodes, 0 models>"


def test_a_column_that_an_undeclared_function_does_not_give_is_named_when_rows_flow():
    made = mt.map(functions.undeclared_dict, x_(), name="f")
    graph = mt.Graph("g", {"y": mt.map(functions.scale, made.lo, name="next")})
    with pytest.raises(
        mt.GraphError, match=r"node 'f': unknown column 'f.lo'; did you mean 'f.low'\? known: f.low, f.high"
    ):
        graph({"x": np.ones(2, np.float32)})


def test_axes_on_which_arms_differ_vary():
    short, long = (
        mt.Model("python:helpers.models:echo", name, inputs={"x": "float32[?]"}, outputs={"y": f"float32[{axis}]"})
        for name, axis in (("short", "?"), ("long", "4"))
    )
    x = mt.input("x", "float32[?]")
    graph = mt.Graph("g", {"y": mt.route({"1": short, "*": long}, x, key=mt.input("key", "int64"))})
    assert str(graph.checked.signature.outputs["y"]) == "float32[?]"
    found = graph({"x": [np.ones(2, np.float32), np.zeros(4, np.float32)], "key": [1, 2]})["y"]
    assert [row.tolist() for row in found] == [[1, 1], [0, 0, 0, 0]]


def test_a_member_may_name_its_output_and_a_node_rename_it():
    pair = mt.Model(
        "python:helpers.models:pair", "pair", inputs={"x": "float32"}, outputs={"p": "float32", "q": "float32"}
    )
    x = x_()
    vote = mt.ensemble(
        {"a": mt.member(pair, output="q"), "b": fake(Affine, "b", output="z")}, x, output="score", name="vote"
    )
    graph = mt.Graph("g", {"y": vote, "own": vote.a.score})
    answers = graph({"x": np.array([3], np.float32)})
    assert (answers["y"], answers["own"]) == ((6 + 3) / 2, 6)


def test_conditions_may_use_columns_that_nothing_else_takes():
    x, amount = x_(), mt.input("amount", "int64")
    arms = {"a": fake(Affine, "a"), "b": fake(Affine, "b", scale=10.0)}
    when = {"b": "amount >= 5"}
    with pytest.raises(mt.GraphError, match="unknown column 'amount'; known: x, route_1"):
        mt.Graph("g", {"y": mt.route(arms, x, when=when, otherwise="a")})
    graph = mt.Graph("g", {"y": mt.route(arms, x, when=when, otherwise="a", using=[amount])})
    assert graph({"x": [1.0, 1.0], "amount": [4, 5]})["y"].tolist() == [1, 10]


def test_graphs_are_equal_when_their_parts_are():
    def make(scale=2.0):
        return mt.Graph("g", {"y": mt.model(fake(Affine, "m", scale=scale), x_())})

    assert make() == make()
    assert make() != make(3.0)
    assert make() != "g"


def test_batching_and_resources_may_be_mappings_as_in_files():
    as_file = mt.Model("m.onnx", batch={"rows": 64, "pad": 0}, resources={"cpu": 2, "memory": "1GiB"})
    written = mt.Model("m.onnx", batch=mt.Batching(rows=64, pad=0), resources=mt.Resources(cpu=2, memory_bytes=2**30))
    assert as_file == written
    with pytest.raises(mt.GraphError, match=r"model 'm.onnx': batch: unknown key 'row'; did you mean 'rows'"):
        mt.Model("m.onnx", batch={"row": 64})
    with pytest.raises(mt.GraphError, match=r"model 'm.onnx': resources: expected a mapping with some of cpu, memory"):
        mt.Model("m.onnx", resources=2)  # type: ignore[arg-type]
