"""`motet.ops.scores.label` takes its names from what a model says of its classes, where a graph gives it the scores too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import motet as mt
from helpers.labelled import NAMES, estimators, rows
from helpers.onnxes import classifier
from motet.errors import GraphError
from motet.models.handler import ModelSource
from motet.models.onnx import OnnxHandler


def naming(model: mt.Model, *, labels: list[str] | None = None) -> mt.Graph:
    """The name of the best class of a model."""
    answer = mt.model(model, mt.input("x", "float32[4]"))
    scores = mt.map(mt.ops.scores.softmax, answer.probabilities, name="scores")
    top = mt.map(mt.ops.scores.top1, scores, name="top")
    given: Any = {} if labels is None else {"labels": labels}
    return mt.Graph("naming", {"name": mt.map(mt.ops.scores.label, top.index, scores, name="named", **given)})


def with_metadata(path: Path, **metadata: str) -> Path:
    """A classifier of three classes with these texts in its file."""
    model = onnx.load(classifier(path))
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def test_names_are_those_of_the_estimator(tmp_path: Path) -> None:
    x, _ = rows()
    estimator = estimators()["linear"]
    graph = naming(mt.Model(estimator, name="linear"))
    assert graph({"x": x})["name"].tolist() == estimator.predict(x).tolist()
    told = graph.run({"x": x}, tmp_path / "out.jsonl", keep=[])
    assert told.answered == len(x)
    found = [json.loads(line)["name"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == estimator.predict(x).tolist()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("classes", '["ant", "bee", "cat"]'),
        ("labels", "ant,bee, cat"),
        ("class_names", "ant\nbee\ncat\n"),
        ("names", "{0: 'ant', 2: 'cat', 1: 'bee'}"),  # as Ultralytics writes it
        ("id2label", '{"0": "ant", "1": "bee", "2": "cat"}'),
    ],
)
def test_names_are_those_in_the_metadata_of_onnx(tmp_path: Path, key: str, text: str) -> None:
    path = with_metadata(tmp_path / "m.onnx", **{key: text})
    graph, x = naming(mt.Model(str(path))), rows()[0]
    plain = mt.Graph("plain", {"p": mt.model(mt.Model(str(path)), mt.input("x", "float32[4]"))})
    assert graph({"x": x})["name"].tolist() == NAMES[plain({"x": x})["p"].argmax(axis=1)].tolist()


@pytest.mark.parametrize(
    "text", ['["a", "b"]', '["a", "a", "b"]', "{1: 'a', 2: 'b', 3: 'c'}", "[[1], 2, 3]", "(" * 9_999, "abc"]
)
def test_what_is_no_list_of_its_classes_is_none(tmp_path: Path, text: str) -> None:
    path = with_metadata(tmp_path / "m.onnx", classes=text, author="a,b,c")
    assert OnnxHandler().signature(ModelSource("m", str(path))).outputs["probabilities"].labels == ()
    with pytest.raises(GraphError, match="the classes of its second input, float32.3., are not known: declare labels"):
        naming(mt.Model(str(path)))
    declared = naming(mt.Model(str(path), labels=["u", "v", "w"]))
    assert set(declared({"x": rows()[0]})["name"]) <= {"u", "v", "w"}
    assert set(naming(mt.Model(str(path)), labels=["x", "y", "z"])({"x": rows()[0]})["name"]) <= {"x", "y", "z"}


def test_a_file_of_a_graph_names_no_labels(tmp_path: Path) -> None:
    """Members in another order, and graphs inside: names are those of the scores that the positions are of."""
    with_metadata(tmp_path / "one.onnx", classes='["ant", "bee", "cat"]')
    with_metadata(tmp_path / "two.onnx", classes='["cat", "bee", "ant"]')
    (tmp_path / "g.yaml").write_text(
        """
motet: 1
name: g
inputs: {x: "float32[4]"}
models: {one: {uri: one.onnx}, two: {uri: two.onnx}}
nodes:
  vote: {ensemble: [two, one], inputs: [x], weights: [0.6, 0.4]}
  best: {map: motet.ops.scores.topk, inputs: [vote], with: {k: 2}}
  named: {map: motet.ops.scores.label, inputs: [best.indices, vote]}
outputs: {names: named, p: vote}
"""
    )
    graph, x = mt.load(tmp_path / "g.yaml"), rows()[0]
    answer: Any = graph({"x": x})
    wanted = NAMES[::-1][np.argsort(-answer["p"], axis=1, kind="stable")[:, :2]]
    assert answer["names"].tolist() == wanted.tolist()
    graph.save(tmp_path / "copy.yaml")
    assert "labels" not in (tmp_path / "copy.yaml").read_text()
    assert mt.load(tmp_path / "copy.yaml")({"x": x})["names"].tolist() == wanted.tolist()


def test_one_input_needs_labels() -> None:
    index = mt.input("index", "int64")
    with pytest.raises(GraphError, match="label needs labels, a list of strings"):
        mt.Graph("g", {"name": mt.map(mt.ops.scores.label, index)})
