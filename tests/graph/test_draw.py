"""Drawings: every part is in them, names cannot break them, and the same graph gives the same drawing."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.graph.draw.layout import arrange, nearest

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
        "motet.ops.image.scale\n│     by=255",
        "├─ linear  weight 1",
        "├─ a  90 % of rows",
        "├─ linear  if sure by 0.9",
        "└─ cnn     in any case",
        "who: string  (output) ← sure.member",
    ):
        assert part in text


def test_text_fits_a_terminal_of_80_columns(graph: mt.Graph, tmp_path: Path) -> None:
    x = mt.input("x", "float32[28,28]")
    far = tmp_path / "/".join(["folder"] * 20)
    far.mkdir(parents=True)
    (far / "linear.onnx").write_bytes((MODELS / "linear.onnx").read_bytes())
    inner = mt.Graph("inner", outputs={"p": mt.model(mt.Model(str(far / "linear.onnx")), x).probabilities})
    image = mt.input("image", "float32[28,28]", default=[[0.0] * 28] * 28)
    names = mt.map(mt.ops.columns.constant, image, value="v" * 200, name="names")
    sure = mt.cascade({"first": inner, "second": inner}, image, confidence=0.5, name="sure")
    wide = mt.Graph("wide", outputs={"p": sure.p, "names": names})
    text = wide.draw("text")
    assert max(len(line) for line in [*text.splitlines(), *graph.draw("text").splitlines()]) <= 80
    assert "└─ linear  …" in text
    assert "folder/linear.onnx" in text
    assert "→ sure.p: float32[10], sure.member: string" in text
    assert "value=" + "v" * 10 in text


def test_mermaid_joins_parts_by_the_types_of_columns(graph: mt.Graph) -> None:
    text = graph.draw("mermaid")
    assert text.startswith("flowchart LR\n")
    assert 'n_pixels -- "float32[28,28]" --> n_vote' in text
    assert 'subgraph n_vote["vote: ensemble, combine: weighted_average"]' in text
    assert 'n_arm_0["a: mlp<br/>90 % of rows"]' in text
    assert 'n_sure_0 -- "not sure" --> n_sure_1' in text


def test_svg_is_well_formed_and_shows_every_box(graph: mt.Graph) -> None:
    root = ET.fromstring(graph.draw("svg"))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"image", "pixels · map", "vote · ensemble", "arm · route", "sure · cascade", "linear", "weight 3"} <= texts
    assert {"a: mlp", "90 % of rows", "if sure by 0.9", "in any case", "float32[28,28]"} <= texts
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
    assert 'value=<b>"&' in ["".join(text.itertext()) for text in ET.fromstring(graph.draw("svg")).iter()]
    assert "n_end[" in graph.draw("mermaid")
    assert "value=#60;b#62;#34;#38;" in graph.draw("mermaid")


def test_the_same_graph_gives_the_same_drawing(graph: mt.Graph) -> None:
    for form in ("text", "mermaid", "svg"):
        assert graph.draw(form) == graph.draw(form)


def test_an_unknown_form_names_the_known_ones(graph: mt.Graph) -> None:
    with pytest.raises(mt.GraphError, match="unknown form of a drawing 'svgg'; did you mean 'svg'"):
        graph.draw("svgg")  # type: ignore[arg-type]


def test_graphs_inside_are_drawn_under_the_first_member_that_uses_them() -> None:
    inner_x = mt.input("pixels", "float32[28,28]")
    inner = mt.Graph("inner", outputs={"probabilities": mt.model(model("linear"), inner_x).probabilities})
    image = mt.input("image", "float32[28,28]")
    sure = mt.cascade({"one": inner, "two": inner}, image, confidence=0.5, name="sure")
    text = mt.Graph("outer", outputs={"p": sure.probabilities}).draw("text")
    assert "│     ├─ one  if sure by 0.5  graph inner\n│     │  ├─ pixels: float32[28,28]  (input)" in text
    assert "└─ two  in any case     graph inner, see above" in text
    assert text.count("pixels: float32[28,28]") == 1


def test_columns_whose_names_have_dots_are_drawn(tmp_path: Path) -> None:
    path = dotted_onnx(tmp_path / "dotted.onnx")
    x = mt.input("x", "float32[4]")
    graph = mt.Graph("g", outputs={"y": mt.model(mt.Model(path), x, name="found")})
    assert "→ found.sigmoid_0.tmp_0: float32[4]" in graph.draw("text")


def dotted_onnx(path: Path) -> str:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("Sigmoid", ["x"], ["sigmoid_0.tmp_0"])
    ends = [helper.make_tensor_value_info(name, kind, ["n", 4]) for name in ("x", "sigmoid_0.tmp_0")]
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=opset, ir_version=8)
    path.write_bytes(made.SerializeToString())
    return str(path)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(1, 100)), min_size=1, max_size=8))
def test_boxes_stand_as_near_as_may_be_to_where_they_should(rows: list[tuple[float, float]]) -> None:
    wanted, apart = [want for want, _ in rows], [distance for _, distance in rows[1:]]
    found = nearest(wanted, apart)
    assert all(
        after - before >= distance - 1e-6 for (before, after), distance in zip(pairwise(found), apart, strict=True)
    )
    if all(after - before >= distance for (before, after), distance in zip(pairwise(wanted), apart, strict=True)):
        assert found == pytest.approx(wanted)
    assert sum(found) == pytest.approx(sum(wanted), abs=1e-3)


def test_edges_cross_only_where_they_must() -> None:
    sizes = dict.fromkeys(["a", "b", "c", "x", "y", "z"], (10.0, 10.0))
    placed = arrange(sizes, [("a", "z"), ("b", "y"), ("c", "x")], [], lambda place: 0.0).spots
    assert [placed[name].y for name in "abc"] == [placed[name].y for name in "zyx"]


def test_an_edge_goes_around_the_boxes_of_a_layer_that_it_passes() -> None:
    sizes = {"a": (10.0, 10.0), "b": (10.0, 40.0), "c": (10.0, 10.0)}
    placed = arrange(sizes, [("a", "b"), ("b", "c"), ("a", "c")], [], lambda place: 0.0)
    stop, box = placed.ways[2][1], placed.spots["b"]
    assert stop.x == box.x
    assert stop.y >= box.y + box.height or stop.y + stop.height <= box.y
