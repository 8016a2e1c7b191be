"""Crops and sizes: torchvision's transforms of pictures are the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import motet as mt
from motet.errors import GraphError, InputError
from motet.ops import crops, image
from motet.types import ColumnType, declared_outputs

rng = np.random.default_rng(5)
PICTURES = [
    rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((40, 61), (53, 37), (32, 32), (33, 99), (35, 40))
]


@pytest.fixture(scope="module")
def v2() -> Any:
    pytest.importorskip("torchvision")
    from torchvision.transforms import v2

    return v2


@pytest.mark.parametrize(("method", "name"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC"), ("nearest", "NEAREST")])
@pytest.mark.parametrize(("size", "longest"), [(32, None), (57, None), (20, 33), (64, 100)])
def test_the_shorter_side_is_that_of_torchvision(v2: Any, method: str, name: str, size: int, longest: Any) -> None:
    resize = v2.Resize(size, interpolation=v2.InterpolationMode[name], max_size=longest, antialias=True)
    found = image.resize_shorter(PICTURES, size=size, method=method, longest=longest)
    for picture, row in zip(PICTURES, found, strict=True):
        np.testing.assert_array_equal(row, np.asarray(resize(Image.fromarray(picture))))


def test_a_narrow_picture_does_not_become_a_huge_one() -> None:
    message = "an image of 1 x 3000 would become one of 224 x 672000, more than 67108864 pixels"
    with pytest.raises(InputError, match=message):
        image.resize_shorter(np.zeros((1, 1, 3000), np.uint8), size=224)
    (narrow,) = image.resize_shorter(np.zeros((1, 1, 3000), np.uint8), size=224, longest=600)
    assert narrow.shape == (1, 600)


def test_a_whole_preprocessing_is_that_of_torchvision(v2: Any) -> None:
    theirs = v2.Compose([v2.Resize(40, antialias=True), v2.CenterCrop(32), v2.PILToTensor()])
    ours = image.center_crop(image.resize_shorter(PICTURES, size=40), size=(32, 32), halves="even")
    scaled = image.to_chw(image.normalise(image.scale(ours), preset="imagenet"))
    normal = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for place, picture in enumerate(PICTURES):
        pixels = theirs(Image.fromarray(picture))
        np.testing.assert_array_equal(ours[place], pixels.permute(1, 2, 0).numpy())
        np.testing.assert_allclose(scaled[place], normal(pixels.float() / 255).numpy(), atol=1e-6)


def test_five_and_ten_crops_are_those_of_torchvision(v2: Any) -> None:
    for function, theirs, count in ((crops.five, v2.FiveCrop((30, 31)), 5), (crops.ten, v2.TenCrop((30, 31)), 10)):
        pieces, counts = function(PICTURES, size=(30, 31))
        assert counts.tolist() == [count] * len(PICTURES)
        expected = [np.asarray(each) for picture in PICTURES for each in theirs(Image.fromarray(picture))]
        np.testing.assert_array_equal(pieces, np.stack(expected))


def test_tiles_cover_a_picture_and_their_boxes_come_back() -> None:
    pieces, counts = crops.tiles(PICTURES, size=(32, 32), overlap=8)
    first = 0
    for picture, count in zip(PICTURES, counts.tolist(), strict=True):
        whole = np.tile(np.array([[0, 0, 32, 32]], dtype=np.float32), (1, 1))
        moved = crops.join_boxes([whole] * count, np.array([count]), [picture], size=(32, 32), overlap=8)[0]
        again = np.zeros_like(picture)
        for (left, top, right, bottom), piece in zip(moved.astype(int), pieces[first:], strict=False):
            again[top:bottom, left:right] = piece
        np.testing.assert_array_equal(again, picture)
        first += count
    assert first == len(pieces)
    with pytest.raises(InputError, match="an image of 40 x 61 has 4 tiles, and 1 were answered"):
        crops.join_boxes([np.zeros((0, 4))], np.array([1]), PICTURES[:1], size=(32, 32))


def test_answers_of_crops_are_one() -> None:
    answers = rng.random((7, 3)).astype(np.float32)
    counts = np.array([3, 0, 4])
    mean, most = crops.mean(answers, counts), crops.most(answers, counts)
    np.testing.assert_allclose(mean[[0, 2]], [answers[:3].mean(axis=0), answers[3:].mean(axis=0)], rtol=1e-6)
    assert np.isnan(mean[1]).all()
    assert np.isnan(most[1]).all()
    np.testing.assert_array_equal(most[2], answers[3:].max(axis=0))
    with pytest.raises(InputError, match="row 1 has no crops"):
        crops.most(np.arange(7), counts)


@pytest.mark.parametrize("name", ["mean", "most"])
@pytest.mark.parametrize("rows", [6, 8])
def test_answers_of_other_crops_are_refused(name: str, rows: int) -> None:
    with pytest.raises(InputError, match=rf"motet\.ops\.crops\.{name}: rows have 7 pieces, and {rows} were answered"):
        getattr(crops, name)(np.zeros((rows, 3), np.float32), np.array([3, 4]))


def test_boxes_of_other_tiles_are_refused() -> None:
    with pytest.raises(InputError, match=r"join_boxes: rows have 4 pieces, and 5 were answered"):
        crops.join_boxes([np.zeros((0, 4))] * 5, np.array([4]), PICTURES[:1], size=(32, 32))
    with pytest.raises(InputError, match=r"motet\.ops\.crops\.join_boxes: a box is 4 numbers, .* got \[2, 1\]"):
        crops.join_boxes([np.zeros((2, 1))] * 4, np.array([4]), PICTURES[:1], size=(32, 32))


def test_pictures_of_other_channels_are_refused() -> None:
    mixed = [PICTURES[0], PICTURES[1][..., :1]]
    with pytest.raises(InputError, match=r"the same channels; got \[h, w, 1\] and \[h, w, 3\]"):
        crops.tiles(mixed, size=(32, 32))


def test_colours_the_other_way_round() -> None:
    found = image.to_bgr(PICTURES)
    for row, picture in zip(found, PICTURES, strict=True):
        np.testing.assert_array_equal(row, picture[..., ::-1])
    with pytest.raises(ValueError, match="to_bgr takes"):
        declared_outputs(image.to_bgr, (ColumnType.parse("uint8[4,4,4]"),), {})


@pytest.mark.parametrize(
    ("function", "kind", "keywords", "expected"),
    [
        (image.resize_shorter, "uint8[?,?,3]", {"size": 32}, "uint8[?,?,3]"),
        (image.resize_shorter, "float32[9,9]", {"size": 32}, "float32[?,?]"),
        (image.letterbox, "uint8[?,?,3]", {"size": [4, 5]}, "uint8[4,5,3]"),
        (crops.five, "uint8[?,?,3]", {"size": [4, 5]}, "uint8[4,5,3]"),
        (crops.tiles, "uint8[?,?]", {"size": [4, 5], "overlap": 2}, "uint8[4,5]"),
    ],
)
def test_types_of_sizes(function: Any, kind: str, keywords: Any, expected: str) -> None:
    assert str(declared_outputs(function, (ColumnType.parse(kind),), keywords)) == expected


@pytest.mark.parametrize(
    ("function", "kind", "keywords", "message"),
    [
        (image.resize_shorter, "uint8[?,?,3]", {"size": [3, 4]}, r"size is the length of the shorter side in pixels"),
        (image.resize_shorter, "uint8[?,?,3]", {"size": 30, "longest": 20}, "longest is at least size, 30, got 20"),
        (crops.ten, "uint8[3,9,3]", {"size": [4, 5]}, r"ten of \[4, 5\] needs images of at least that size"),
        (crops.tiles, "uint8[?,?]", {"size": [4, 5], "overlap": 4}, "overlap is less than a side of a tile, got 4"),
        (
            image.normalise,
            "uint8[?,?,3]",
            {"preset": "x"},
            "normalise knows no preset 'x'; known: imagenet, clip, half",
        ),
        (image.normalise, "uint8[?,?,3]", {"preset": "clip", "mean": 1}, "mean and std, or a preset, not both"),
        (image.normalise, "uint8[4,4,4]", {"preset": "clip"}, "normalise has 3 values of mean for 4 channels"),
        (image.center_crop, "uint8[?,?,3]", {"size": [4, 4], "halves": "up"}, "halves is down or even, got 'up'"),
    ],
)
def test_what_is_wrong_with_sizes_is_said_when_a_graph_is_built(
    function: Any, kind: str, keywords: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        declared_outputs(function, (ColumnType.parse(kind),), keywords)


GRAPH = """
motet: 1
name: cropped
inputs: {image: "uint8[?,?,3]"}
models:
  bright: {uri: "python:brightness:of", inputs: {x: "uint8[30,31,3]"}, outputs: {y: "float32[3]"}}
nodes:
  crops:
    shard: bright
    inputs: [image]
    apart: {map: motet.ops.crops.ten, with: {size: [30, 31]}}
    together: motet.ops.crops.mean
  top: {map: motet.ops.scores.top1, inputs: [crops]}
  named: {map: motet.ops.scores.label, inputs: [top.index], with: {labels: LABELS}}
outputs: {mean: crops, name: named}
"""


def test_ten_crops_in_a_graph_called_and_in_bulk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brightness.py").write_text(
        "import numpy as np\ndef of(x):\n    return x.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "classes.json").write_text('{"0": "red", "1": "green", "2": "blue"}')
    (tmp_path / "g.yaml").write_text(GRAPH.replace("LABELS", "classes.json"))
    graph = mt.load(str(tmp_path / "g.yaml"))
    answer = graph({"image": PICTURES})
    pieces, _ = crops.ten(PICTURES, size=(30, 31))
    expected = pieces.reshape(len(PICTURES), 10, 30, 31, 3).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(answer["mean"], expected, rtol=1e-5)
    names = ["red", "green", "blue"]
    assert answer["name"].tolist() == [names[place] for place in expected.argmax(axis=1)]
    pq.write_table(pa.table({"image": [each.tolist() for each in PICTURES]}), tmp_path / "in.parquet")
    graph.run(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))
    written = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert written["name"] == answer["name"].tolist()
    np.testing.assert_array_equal(np.array(written["mean"], np.float32), answer["mean"])
    for text, message in (
        ('["a", 1]', "'classes.json' is no list of labels, nor an object with one for each of 0, 1, 2, ..."),
        ('{"0": "a", "2": "b"}', "'classes.json' is no list of labels"),
        ("[", "'classes.json' is no JSON: "),
    ):
        (tmp_path / "classes.json").write_text(text)
        with pytest.raises(GraphError, match=message):
            mt.load(str(tmp_path / "g.yaml"))
