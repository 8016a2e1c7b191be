"""Labels in a file of their own are the list that it holds, for models and for the op that names positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import motet as mt
from motet.errors import GraphError

NAMES = ["cat", "dog, small", " cow", "naïve 'no'", "true"]
GRAPH = """
motet: 1
name: g
inputs: {x: "float32[5]"}
models: {m: {uri: "python:helpers.models:echo", inputs: {x: "float32[5]"}, outputs: {y: "float32[5]"}, labels: names/labels.txt}}
nodes:
  y: {model: m, inputs: [x]}
  top: {map: motet.ops.scores.top1, inputs: [y]}
  named: {map: motet.ops.scores.label, inputs: [top.index], with: {labels: names/labels.txt}}
outputs: {name: named}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "graphs" / "names").mkdir(parents=True)
    (tmp_path / "graphs" / "names" / "labels.txt").write_bytes("\n".join([*NAMES, ""]).encode())
    path = tmp_path / "graphs" / "g.yaml"
    path.write_text(GRAPH, encoding="utf-8")
    return path


def test_a_file_is_the_list_that_it_holds(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # not the folder of the graph
    graph = mt.load(file)
    assert graph.models["m"].labels == tuple(NAMES)
    assert graph({"x": np.eye(5, dtype=np.float32)})["name"].tolist() == NAMES
    graph.save(tmp_path / "copy.yaml")
    assert mt.load(tmp_path / "copy.yaml").models["m"].labels == tuple(NAMES)


def test_lines_may_end_as_windows_ends_them(file: Path) -> None:
    labels = file.parent / "names" / "labels.txt"
    labels.write_bytes(("\ufeff" + "\r\n".join(NAMES)).encode())
    assert mt.load(file).models["m"].labels == tuple(NAMES)


def test_graphs_inside_and_functions_of_models_may_name_one_too(file: Path) -> None:
    inner = """
motet: 1
name: outer
inputs: {x: "float32[5]"}
models:
  m:
    uri: "python:helpers.models:echo"
    inputs: {x: "float32[5]"}
    outputs: {y: "float32[5]"}
    after: [motet.ops.scores.argmax, {map: motet.ops.scores.label, with: {labels: names/labels.txt}}]
graphs: {beside: {file: g.yaml}, within: WITHIN}
nodes:
  one: {model: beside, inputs: [x]}
  two: {model: within, inputs: [x]}
  three: {model: m, inputs: [x]}
outputs: {one: one, two: two, three: three}
"""
    within = '{inputs: {x: "float32[5]"}, models: {n: {uri: "python:helpers.models:echo", inputs: {x: "float32[5]"}, outputs: {y: "float32[5]"}, labels: names/labels.txt}}, '
    within += "nodes: {y: {model: n, inputs: [x]}, a: {map: motet.ops.scores.argmax, inputs: [y]}, b: {map: motet.ops.scores.label, inputs: [a], with: {labels: names/labels.txt}}}, outputs: {b: b}}"
    path = file.with_name("outer.yaml")
    path.write_text(inner.replace("WITHIN", within), encoding="utf-8")
    graph = mt.load(path)
    assert graph.graphs["within"].models["n"].labels == tuple(NAMES)
    answer = graph({"x": np.eye(5, dtype=np.float32)})
    assert [answer[name].tolist() for name in ("one", "two", "three")] == [NAMES] * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "g.yaml: models.m.labels: the labels in 'names/labels.txt' cannot be read: No such file or directory"),
        (b"a\n\nb\n", "g.yaml: models.m.labels: line 2 of 'names/labels.txt' is empty; each line is a label"),
        (b"a\n\xff\n", "g.yaml: models.m.labels: the labels in 'names/labels.txt' cannot be read: 'utf-8' codec"),
        (b"a\na\n", "the label 'a' is there twice"),
        (b"", "label needs labels, a list of strings, got []"),
    ],
)
def test_a_file_that_is_wrong_is_said(file: Path, content: bytes | None, message: str) -> None:
    labels = file.parent / "names" / "labels.txt"
    labels.unlink()
    if content is not None:
        labels.write_bytes(content)
    with pytest.raises(GraphError) as caught:
        mt.load(file)
    assert message in str(caught.value)


def test_a_text_is_no_list_of_labels() -> None:
    with pytest.raises(GraphError, match="labels is a list; got 'labels.txt'"):
        mt.Model("m.onnx", labels="labels.txt")
