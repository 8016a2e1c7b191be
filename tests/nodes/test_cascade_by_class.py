"""Thresholds of a cascade for single classes: who answers, and what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import labelled
from helpers.labelled import NAMES
from motet.errors import GraphError, UnknownNameError
from motet.graph.graph import GraphSpec
from motet.graph.yaml import dump_graph, parse, read_graph
from motet.nodes.class_thresholds import thresholds

X, _ = labelled.rows()


def _graph(**settings: Any) -> mt.Graph:
    models = [mt.Model(each, name=name) for name, each in labelled.estimators().items()]
    x = mt.input("x", "float32[4]")
    node = mt.cascade(models, x, confidence=0.6, of="probabilities", output="probabilities", **settings)
    return mt.Graph("animals", {"scores": node.probabilities, "member": node.member})


def test_a_member_must_be_as_sure_as_the_class_asks_that_it_says() -> None:
    by_class = {"linear": {"bee": 0.9, "cat": 0.0}, "tree": {"ant": 1.0}}
    found = _graph(by_class=by_class)({"x": X})
    made = labelled.estimators()
    linear, tree = made["linear"].predict_proba(X), made["tree"].predict_proba(X)
    asked = [np.array([by_class[name].get(each, 0.6) for each in NAMES]) for name in ("linear", "tree")]
    first = linear.max(axis=1) >= asked[0][linear.argmax(axis=1)]
    second = tree.max(axis=1) >= asked[1][tree.argmax(axis=1)]
    assert found["member"].tolist() == np.where(first, "linear", np.where(second, "tree", "near")).tolist()
    assert {"linear", "tree", "near"} == set(found["member"])
    assert (found["member"] != _graph()({"x": X})["member"]).any()


def test_thresholds_of_classes_are_read_written_and_drawn() -> None:
    text = """
motet: 1
name: g
inputs: {x: "float32[4]"}
models: {a: {uri: a.onnx}, b: {uri: b.onnx}}
nodes:
  c: {cascade: [a, b], inputs: [x], until: {confidence: 0.5, by_class: {a: {"1": 0.9}}}}
outputs: {y: c}
"""
    read = read_graph(parse(text), GraphSpec)
    assert "until: {confidence: 0.5, by_class: {a: {'1': 0.9}}}" in dump_graph(read)
    assert read_graph(parse(dump_graph(read)), GraphSpec) == read
    assert "if sure by 0.6, 1 classes otherwise" in _graph(by_class={"tree": {"ant": 0.9}}).draw()


@pytest.mark.parametrize(
    ("by_class", "message"),
    [
        ({"near": {"ant": 0.5}}, "by_class: unknown member to be confident 'near'"),
        ({"linear": {"ant": 1.5}}, "by_class.linear.ant: a confidence is from 0 to 1; got 1.5"),
        ({"linear": {"dog": 0.5}}, "by_class: unknown class 'dog'; .*known: ant, bee, cat"),
        ({"linear": 0.5}, "by_class.linear: expected a mapping; got 0.5"),
        ([], "by_class: expected a mapping"),
    ],
)
def test_thresholds_of_classes_that_cannot_be_are_refused(by_class: Any, message: str) -> None:
    if by_class == []:
        by_class = ["linear"]
    with pytest.raises(GraphError, match=message):
        _graph(by_class=by_class)


def test_classes_that_are_known_only_when_rows_come_are_looked_for_then() -> None:
    ones = np.eye(2, dtype=np.int64)
    assert thresholds(ones, {"1": 0.97}, 0.5, ()).tolist() == [0.5, 0.97]
    with pytest.raises(UnknownNameError, match="by_class: unknown class 'Shirt'; known: 0, 1"):
        thresholds(ones, {"Shirt": 0.97}, 0.5, ())
