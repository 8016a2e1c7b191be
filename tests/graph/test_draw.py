"""Drawings: every part is in them, names cannot break them, and the same graph gives the same drawing."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import motet as mt

MODELS = Path(__file__).parents[2] / "examples" / "fashion" / "models"


def model(name: str) -> mt.Model:
    return mt.Model(str(MODELS / f"{name}.onnx"))


@pytest.fixture
def graph() -> mt.Graph:
    image, user = mt.input("image", "uint8[28,28]"), mt.input("user", "string")
    pixels = mt.map(mt.ops.image.scale, image, by=255, name="pixels")
    vote = mt.ensemble([model("linear"), model("mlp")], pixels, weights=[1, 3], name="vote")
    arm = mt.route({"a": model("mlp"), "b": model("cnn")}, pixels, split={"a": 9, "b": 1}, by=user, name="arm")
    sure = mt.cascade([model("linear"), model("cnn")], pixels, confidence=0.9, name="sure")
    odd = mt.map(lambda x: x, vote, outputs="float32[10]", name="odd")
    return mt.Graph("g", outputs={"vote": odd, "arm": arm.probabilities, "who": sure.member})


def test_text_shows_every_part(graph: mt.Graph) -> None:
    text = graph.draw("text")
    for part in (
        "image: uint8[28,28]  (input)",
        "pixels  [map] ← image",
        "motet.ops.image.scale (by=255)",
        "├─ linear  weight 1",
        "├─ a  0.9 of the rows",
        "├─ linear  until 0.9",
        "└─ cnn     in any case",
        "who: string  (output) ← sure.member",
    ):
        assert part in text


def test_mermaid_joins_parts_by_the_types_of_columns(graph: mt.Graph) -> None:
    text = graph.draw("mermaid")
    assert text.startswith("flowchart LR\n")
    assert 'n_pixels -- "float32[28,28]" --> n_vote' in text
    assert 'subgraph n_vote["vote: ensemble' in text


def test_svg_is_well_formed_and_shows_every_box(graph: mt.Graph) -> None:
    root = ET.fromstring(graph.draw("svg"))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"image", "pixels · map", "vote · ensemble", "arm · route", "sure · cascade", "linear", "weight 3"} <= texts
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    for element in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(element.get("x", 0)) + float(element.get("width", 0)) <= width
        assert float(element.get("y", 0)) + float(element.get("height", 0)) <= height


def test_boxes_of_a_layer_do_not_overlap(graph: mt.Graph) -> None:
    root = ET.fromstring(graph.draw("svg"))
    boxes = [
        element.attrib
        for element in root.iter("{http://www.w3.org/2000/svg}rect")
        if element.get("class", "").startswith("b ")
    ]
    spans: dict[str, list[tuple[float, float]]] = {}
    for box in boxes:
        spans.setdefault(box["x"], []).append((float(box["y"]), float(box["y"]) + float(box["height"])))
    for span in spans.values():
        span.sort()
        assert all(one[1] <= other[0] for one, other in pairwise(span))


def test_text_that_means_something_to_a_form_is_escaped() -> None:
    x = mt.input("x", "float32")
    y = mt.map(np.abs, x, outputs="float32", name="y")
    other = mt.map("motet.ops.columns.constant", y, value='<b>"&', name="end")
    graph = mt.Graph("g", outputs={"y": other})
    ET.fromstring(graph.draw("svg"))
    assert "<b>" not in graph.draw("mermaid")
    assert '"&lt;b&gt;' in graph.draw("mermaid") or "&lt;b&gt;" in graph.draw("mermaid")


def test_the_same_graph_gives_the_same_drawing(graph: mt.Graph) -> None:
    for form in ("text", "mermaid", "svg"):
        assert graph.draw(form) == graph.draw(form)


def test_an_unknown_form_names_the_known_ones(graph: mt.Graph) -> None:
    with pytest.raises(mt.GraphError, match="unknown form of a drawing 'svgg'; did you mean 'svg'"):
        graph.draw("svgg")  # type: ignore[arg-type]


def test_graphs_inside_are_drawn_behind(graph: mt.Graph) -> None:
    inner_x = mt.input("pixels", "float32[28,28]")
    inner = mt.Graph("inner", outputs={"probabilities": mt.model(model("linear"), inner_x).probabilities})
    image = mt.input("image", "float32[28,28]")
    outer = mt.Graph("outer", outputs={"p": mt.model(inner, image).probabilities})
    text = outer.draw("text")
    assert "graph inner" in text
    assert "inner (a graph inside outer)" in text
