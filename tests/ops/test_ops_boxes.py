"""Boxes: torchvision's conversions and suppression are the oracle; frames and drawings are looked at."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.batch import Ragged
from motet.errors import InputError
from motet.ops import boxes, image
from motet.types import ColumnType, declared_outputs

rng = np.random.default_rng(11)


def drawn(count: int, dtype: Any = np.float32) -> Any:
    corners = rng.integers(0, 40, (count, 2))
    return np.concatenate([corners, corners + rng.integers(1, 30, (count, 2))], axis=1).astype(dtype)


ROWS = [drawn(int(count)) for count in (0, 1, 5, 60, 200)]
SCORES = [rng.permutation(len(row)).astype(np.float32) / 200 for row in ROWS]
CLASSES = [rng.integers(0, 3, len(row)) for row in ROWS]


@pytest.fixture(scope="module")
def oracle() -> Any:
    pytest.importorskip("torchvision")
    import torch
    from torchvision import ops

    return torch, ops


@pytest.mark.parametrize("source", boxes.FORMS)
@pytest.mark.parametrize("target", boxes.FORMS)
def test_forms_are_those_of_torchvision(oracle: Any, source: str, target: str) -> None:
    torch, ops = oracle
    given = ops.box_convert(torch.from_numpy(ROWS[3]), "xyxy", source)
    expected = ops.box_convert(given, source, target).numpy()
    np.testing.assert_allclose(boxes.convert(given.numpy()[None], source=source, target=target)[0], expected, rtol=1e-6)
    ragged = boxes.convert([given.numpy(), given.numpy()[:2]], source=source, target=target)
    np.testing.assert_allclose(ragged[1], expected[:2], rtol=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75, 1.0])
def test_suppression_is_that_of_torchvision(oracle: Any, overlap: float) -> None:
    torch, ops = oracle
    alone = boxes.nms(ROWS, SCORES, overlap=overlap)
    by_class = boxes.nms(ROWS, SCORES, CLASSES, overlap=overlap)
    for row, (found, marks, classes) in enumerate(zip(ROWS, SCORES, CLASSES, strict=True)):
        tensors = torch.from_numpy(found), torch.from_numpy(marks)
        assert alone.indices[row].tolist() == ops.nms(*tensors, overlap).tolist()
        kept = ops.batched_nms(*tensors, torch.from_numpy(classes), overlap).tolist()
        assert by_class.indices[row].tolist() == kept
        np.testing.assert_array_equal(by_class.boxes[row], found[kept])
        np.testing.assert_array_equal(by_class.scores[row], marks[kept])
        np.testing.assert_array_equal(by_class.classes[row], classes[kept])


def test_only_good_boxes_and_only_so_many_are_kept() -> None:
    apart = np.array([[[k * 10, 0, k * 10 + 5, 5] for k in range(5)]], dtype=np.float32)
    marks = np.array([[0.1, np.nan, 0.9, 0.5, 0.9]])
    assert boxes.nms(apart, marks).indices[0].tolist() == [2, 4, 3, 0]
    assert boxes.nms(apart, marks, at_least=0.5).indices[0].tolist() == [2, 4, 3]
    assert boxes.nms(apart, marks, most=2).indices[0].tolist() == [2, 4]
    assert boxes.nms([], []).boxes.shapes.shape == (0, 2)
    with pytest.raises(InputError, match="a row has 5 boxes, 4 scores and 4 classes"):
        boxes.nms(apart, marks[:, :4])


@pytest.mark.parametrize(
    "call",
    [
        lambda found: boxes.nms([found], [np.arange(4.0)]),
        lambda found: boxes.convert([found], source="xyxy", target="xywh"),
        lambda found: boxes.convert(found[None], source="xyxy", target="xywh"),
        lambda found: boxes.unletterbox([found], np.zeros((1, 2, 4)), size=(8, 8)),
        lambda found: boxes.draw(np.zeros((1, 8, 8, 3), np.uint8), [found]),
    ],
)
def test_boxes_with_more_than_four_numbers_are_not_read_as_others(call: Any) -> None:
    with pytest.raises(InputError, match=r"a box is 4 numbers, \[\?,4\] a row; got \[4, 5\]"):
        call(np.arange(20.0).reshape(4, 5))


def test_boxes_without_end_leave_others_alone() -> None:
    found = np.array([[[0, 0, np.inf, 4], [0, 0, np.nan, 4], [0, 0, 4, 4], [0, 0, 4, 4]]])
    assert boxes.nms(found, np.array([[0.9, 0.8, 0.7, 0.6]])).indices[0].tolist() == [0, 1, 2]


def test_what_lies_outside_is_not_drawn_and_labels_are_one_a_box() -> None:
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    for outside in ([20, 1, 30, 6], [-20, 1, -3, 6], [1, 9, 6, 12]):
        assert not np.asarray(boxes.draw(picture, np.array([[outside]]))).any()
    with pytest.raises(InputError, match="a row has 2 boxes and 1 labels"):
        boxes.draw(picture, np.zeros((1, 2, 4)), [["a"]])
    with pytest.raises(InputError, match="a row has 1 boxes and 2 scores"):
        boxes.draw(picture, np.zeros((1, 1, 4)), None, np.array([[0.5, 0.5]]))


@pytest.mark.parametrize("shape", [(10, 33, 3), (40, 20, 3), (7, 7, 3), (1, 50, 3)])
def test_boxes_come_back_from_a_frame(shape: Any) -> None:
    picture = np.zeros(shape, dtype=np.uint8)
    framed = image.letterbox(picture[None] + 255, size=(64, 64), pad=0)[0]
    rows, columns = np.flatnonzero(framed.any(axis=(1, 2))), np.flatnonzero(framed.any(axis=(0, 2)))
    whole = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float32)
    found = boxes.unletterbox([whole, whole[:0]], [picture, picture], size=(64, 64))
    np.testing.assert_allclose(found[0], [[0, 0, shape[1], shape[0]]], rtol=1e-6)
    assert found[1].shape == (0, 4)
    outside = boxes.unletterbox(np.array([[[-5.0, -5, 99, 99]]]), [picture], size=(64, 64))
    np.testing.assert_allclose(outside[0], [[0, 0, shape[1], shape[0]]])


def test_boxes_are_drawn_with_their_labels() -> None:
    black = np.zeros((2, 40, 60, 3), dtype=np.uint8)
    found = [np.array([[20.0, 10, 50, 35]]), np.empty((0, 4))]
    plain = boxes.draw(black, found, width=1)
    inside = plain[0].any(axis=-1)
    assert inside[10, 20:51].all()
    assert inside[10:36, 50].all()
    assert not inside[12:34, 22:49].any()
    assert not plain[1].any()
    assert not black.any()
    named = boxes.draw([black[0]], found[:1], [["cat"]], np.array([[0.5]]))
    assert named[0][12:20, 22:40].any()
    assert (boxes.draw(black[:1], found[:1], [["cat"]])[0] != boxes.draw(black[:1], found[:1], [["dog"]])[0]).any()
    boxes.draw(black[:1], [np.array([[np.nan, 0, 1, 1], [-9, -9, 99, 99]])])
    with pytest.raises(InputError, match="draw takes 3 channels"):
        boxes.draw(np.zeros((1, 4, 4, 4), np.uint8), found[:1])


@pytest.mark.parametrize(
    ("function", "kinds", "keywords", "expected"),
    [
        (boxes.convert, ["int32[?,4]"], {"source": "xywh", "target": "xyxy"}, "float32[?,4]"),
        (boxes.convert, ["float64[7,4]"], {"source": "xywh", "target": "xyxy"}, "float64[7,4]"),
        (boxes.unletterbox, ["float32[?,4]", "uint8[?,?,3]"], {"size": [64, 64]}, "float32[?,4]"),
        (boxes.draw, ["uint8[?,?,3]", "float32[?,4]"], {}, "uint8[?,?,3]"),
    ],
)
def test_types(function: Any, kinds: Any, keywords: Any, expected: str) -> None:
    assert str(declared_outputs(function, tuple(map(ColumnType.parse, kinds)), keywords)) == expected


@pytest.mark.parametrize(
    ("function", "kinds", "keywords", "message"),
    [
        (boxes.convert, ["float32[?,4]"], {"source": "xyz", "target": "xyxy"}, "convert knows no source 'xyz'"),
        (boxes.convert, ["float32[?,5]"], {"source": "xywh", "target": "xyxy"}, r"convert takes boxes of 4 numbers"),
        (boxes.nms, ["float32[?,4]", "string[?]"], {}, "nms takes scores, a number for each box"),
        (boxes.nms, ["float32[?,4]", "float32[?]", "float32[?]"], {}, "nms takes classes"),
        (boxes.nms, ["float32[?,4]", "float32[?]"], {"overlap": 2}, "overlap is from 0 to 1, got 2"),
        (boxes.nms, ["float32[?,4]", "float32[?]"], {"most": 0}, "most of at least 1, got 0"),
        (boxes.draw, ["uint8[?,?,3]", "float32[?,4]"], {"width": 0}, "width is at least 1, got 0"),
    ],
)
def test_what_is_wrong_is_said_when_a_graph_is_built(function: Any, kinds: Any, keywords: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declared_outputs(function, tuple(map(ColumnType.parse, kinds)), keywords)


@mt.returns({"boxes": "float32[?,4]", "scores": "float32[?]", "classes": "int64[?]"})
def found_in(pictures: Any) -> Any:
    """Three boxes a picture, two of them nearly the same."""
    one = np.array([[10, 10, 30, 30], [11, 10, 31, 30], [40, 20, 60, 40]], dtype=np.float32)
    count = len(pictures)
    return {
        "boxes": Ragged.from_rows([one] * count),
        "scores": Ragged.from_rows([np.array([0.5, 0.9, 0.7], np.float32)] * count),
        "classes": Ragged.from_rows([np.array([1, 1, 0])] * count),
    }


def test_a_detector_in_a_graph_called_and_in_bulk(tmp_path: Path) -> None:
    picture = mt.input("picture", "uint8[?,?,3]")
    framed = mt.map(image.letterbox, picture, size=[64, 64])
    found = mt.map(found_in, framed)
    best = mt.map(boxes.nms, found.boxes, found.scores, found.classes, overlap=0.5)
    there = mt.map(boxes.unletterbox, best.boxes, picture, size=[64, 64])
    names = mt.map(mt.ops.scores.label, best.classes, labels=["dog", "cat"])
    shown = mt.map(boxes.draw, picture, there, names, best.scores)
    graph = mt.Graph("detector", outputs={"boxes": there, "names": names, "scores": best.scores, "shown": shown})
    pictures = [np.zeros((32, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)]
    answer = graph({"picture": pictures})
    assert [list(row) for row in answer["names"]] == [["cat", "dog"]] * 2
    np.testing.assert_allclose(answer["boxes"][0], [[11, 0, 31, 14], [40, 4, 60, 24]])
    np.testing.assert_allclose(answer["boxes"][1], [[11, 10, 31, 30], [40, 20, 60, 40]])
    assert answer["shown"][0].shape == (32, 64, 3)
    assert answer["shown"][0].any()
    pq.write_table(pa.table({"picture": [each.tolist() for each in pictures]}), tmp_path / "in.parquet")
    graph.run(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
    written = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert written["names"] == [["cat", "dog"]] * 2
    np.testing.assert_allclose(written["boxes"][0], answer["boxes"][0])
    np.testing.assert_array_equal(np.array(written["shown"][0]), answer["shown"][0])
