"""Temperatures of members: what they are to probabilities, in cascades and ensembles, in Python and in files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

import motet as mt
from helpers import labelled
from motet.errors import GraphError
from motet.graph.graph import GraphSpec
from motet.graph.yaml import dump_graph, parse, read_graph
from motet.nodes.ensemble import Ensemble

X, _ = labelled.rows()
NODES: dict[str, Any] = {
    "cascade": {"confidence": 0.7, "of": "probabilities"},
    "ensemble": {"weights": [1, 2, 1]},
}


def _graph(kind: str, **settings: Any) -> mt.Graph:
    make = getattr(mt, kind)
    models = [mt.Model(each, name=name) for name, each in labelled.estimators().items()]
    node = make(models, mt.input("x", "float32[4]"), output="probabilities", **{**NODES[kind], **settings})
    return mt.Graph("animals", {"scores": node.probabilities, "member": node.member})


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5), st.floats(0.2, 5))
def test_tempering_probabilities_of_a_softmax_is_the_softmax_at_that_temperature(
    logits: list[float], heat: float
) -> None:
    array = np.array([logits])
    found = mt.ops.scores.temper(softmax(array, axis=1), temperature=heat)
    np.testing.assert_allclose(found, softmax(array / heat, axis=1), atol=1e-9)


def test_a_cascade_decides_by_tempered_probabilities() -> None:
    found = _graph("cascade", temperature={"linear": 2.0, "tree": 0.5})({"x": X})
    made = labelled.estimators()
    linear = softmax(np.log(made["linear"].predict_proba(X)) / 2.0, axis=1)
    with np.errstate(divide="ignore"):
        tree = softmax(np.log(made["tree"].predict_proba(X)) / 0.5, axis=1)
    first, second = linear.max(axis=1) >= 0.7, tree.max(axis=1) >= 0.7
    member = np.where(first, "linear", np.where(second, "tree", "near"))
    assert found["member"].tolist() == member.tolist()
    assert 0 < first.sum() < (made["linear"].predict_proba(X).max(axis=1) >= 0.7).sum()
    right = np.where(first[:, None], linear, np.where(second[:, None], tree, made["near"].predict_proba(X)))
    np.testing.assert_allclose(found["scores"], right, atol=1e-6)


def test_an_ensemble_averages_tempered_probabilities() -> None:
    found = _graph("ensemble", temperature={"linear": 3.0})({"x": X})
    made = labelled.estimators()
    linear = softmax(np.log(made["linear"].predict_proba(X)) / 3.0, axis=1)
    right = (linear + 2 * made["tree"].predict_proba(X) + made["near"].predict_proba(X)) / 4
    np.testing.assert_allclose(found["scores"], right, atol=1e-6)


TEXT = """
motet: 1
inputs: {{x: "float32[4]"}}
models: {{linear: {{uri: a.onnx}}, near: {{uri: b.onnx}}}}
nodes:
  node: {{{kind}: [linear, near], inputs: [x], {more}temperature: {temperature}}}
outputs: {{y: node}}
"""
MORE = {"cascade": "until: {confidence: 0.5}, ", "ensemble": ""}


@pytest.mark.parametrize("kind", ["cascade", "ensemble"])
def test_a_temperature_is_read_and_written_and_1_is_none(kind: str) -> None:
    graph = _graph(kind, temperature={"linear": 2.0, "near": 1.0})
    assert next(iter(graph.nodes.values())).write()["temperature"] == {"linear": 2.0}
    text = TEXT.format(kind=kind, more=MORE[kind], temperature="{near: 2, linear: 1}")
    read = read_graph(parse(text), GraphSpec)
    assert "temperature: {near: 2.0}" in dump_graph(read)
    assert read_graph(parse(dump_graph(read)), GraphSpec) == read
    plain = _graph(kind)
    np.testing.assert_array_equal(plain({"x": X})["scores"], _graph(kind, temperature={"near": 1})({"x": X})["scores"])


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        ("{linear: 0}", "node.temperature.linear: a temperature is above 0; got 0"),
        ("{linear: .inf}", "node.temperature.linear: a temperature is above 0; got inf"),
        ("{linera: 2}", "node.temperature: unknown member 'linera'; did you mean 'linear'?"),
        ("2", "node.temperature: expected a mapping; got 2"),
        ("{linear: hot}", "node.temperature.linear: expected a number; got 'hot'"),
    ],
)
@pytest.mark.parametrize("kind", ["cascade", "ensemble"])
def test_a_temperature_that_cannot_be_is_refused(kind: str, temperature: str, message: str) -> None:
    text = TEXT.format(kind=kind, more=MORE[kind], temperature=temperature)
    with pytest.raises(GraphError) as raised:
        read_graph(parse(text), mt.Graph)
    assert message in str(raised.value)


def test_a_temperature_is_of_one_probability_a_class() -> None:
    models = [mt.Model(each, name=name) for name, each in labelled.estimators().items()]
    stacked = mt.ensemble(models, mt.input("x", "float32[4]"), combine="stack", temperature={"linear": 2})
    with pytest.raises(GraphError, match="temperature is of one output; member 'linear' gives probabilities, label"):
        mt.Graph("animals", {"y": stacked.probabilities})
    one = mt.Model("python:motet.testing.fakes:Affine", "one", inputs={"x": "float32"}, outputs={"y": "float32"})
    node = mt.ensemble([one, one.named("two")], mt.input("x", "float32"), temperature={"two": 2})
    with pytest.raises(GraphError, match="a temperature is of probabilities, one for each class; these are float32"):
        mt.Graph("numbers", {"y": node})


def test_what_leaves_an_ensemble_takes_its_temperature_along() -> None:
    (node,) = _graph("ensemble", temperature={"linear": 2.0, "near": 0.5}).checked.graph.nodes.values()
    assert isinstance(node, Ensemble)
    left = node.beside({"linear"})
    assert ([each.name for each in left.players], left.weights, left.temperature) == (
        ["tree", "near"],
        (2, 1),
        {"near": 0.5},
    )
    assert replace(node, as_available=True).without({"near"}).temperature == {"linear": 2.0}
