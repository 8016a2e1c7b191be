"""Functions over boxes that were found in pictures: their forms, the best of those that overlap, back to the picture, drawn.

    convert        between corners (`xyxy`), corner and size (`xywh`) and middle and size (`cxcywh`)
    nms            of boxes that overlap the one with the best score, for each class by itself
    unletterbox    from pixels of a picture with a frame (`motet.ops.image.letterbox`) to those of the picture
    draw           boxes with labels onto pictures

Boxes are `[?, 4]` a row, or `[n, 4]`: left, top, right, bottom in pixels, where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from motet.batch import Array, Column, Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows
from motet.ops._boxes import boxes_type, check_boxes, corners
from motet.ops._image_types import check_rows, draw_type, resize_type
from motet.ops._kinds import INTEGERS, NUMBERS, is_any, refuse
from motet.pictures import draw_boxes, framed_place
from motet.types import ANY, ColumnType, returns

__all__ = ["KeptBoxes", "convert", "draw", "nms", "unletterbox"]

FORMS = ("xyxy", "xywh", "cxcywh")


class KeptBoxes(NamedTuple):
    """Boxes that were kept, best first.

    Attributes:
        boxes: float32 or float64, `[?, 4]` a row.
        scores: their scores, `[?]` a row.
        classes: their classes, int64, `[?]` a row.
        indices: where they stood, int64, `[?]` a row.
    """

    boxes: Column
    scores: Column
    classes: Column
    indices: Column


def _convert_type(boxes: ColumnType, source: str = "xyxy", target: str = "xyxy") -> ColumnType:
    for name, form in (("source", source), ("target", target)):
        if form not in FORMS:
            raise ValueError(f"convert knows no {name} {form!r}; known: {', '.join(FORMS)}")
    return boxes_type("convert", boxes)


@returns(_convert_type)
def convert(boxes: Rows, *, source: str, target: str) -> Array | Ragged:
    """Boxes in another form.

    Args:
        boxes: `[?, 4]` a row, or `[n, 4]`.
        source, target: `xyxy` is left, top, right, bottom; `xywh` left, top, width, height; `cxcywh` the middle, width, height.

    >>> convert(np.array([[[1.0, 2.0, 5.0, 4.0]]]), source="xyxy", target="cxcywh").tolist()
    [[[3.0, 3.0, 4.0, 2.0]]]
    """
    _convert_type(ANY, source, target)
    if isinstance(boxes, np.ndarray):
        check_boxes("convert", boxes.shape[1:])
        return _converted(_floats(boxes), source, target)
    ragged = boxes if isinstance(boxes, Ragged) else Ragged.from_rows(boxes)
    for shape in ragged.shapes.tolist():
        check_boxes("convert", shape)
    flat = _converted(_floats(ragged.values.reshape(-1, 4)), source, target)
    return Ragged(flat.reshape(-1), ragged.offsets, ragged.shapes)


def _floats(boxes: Array) -> Array:
    return boxes if boxes.dtype == np.float64 else boxes.astype(np.float32)


def _converted(boxes: Array, source: str, target: str) -> Array:
    a, b, c, d = np.moveaxis(boxes, -1, 0)
    two = boxes.dtype.type(2)
    if source == "xywh":
        a, b, c, d = a, b, a + c, b + d
    elif source == "cxcywh":
        a, b, c, d = a - c / two, b - d / two, a + c / two, b + d / two
    if target == "xywh":
        a, b, c, d = a, b, c - a, d - b
    elif target == "cxcywh":
        a, b, c, d = (a + c) / two, (b + d) / two, c - a, d - b
    return np.stack([a, b, c, d], axis=-1)


def _nms_type(
    boxes: ColumnType,
    scores: ColumnType,
    classes: ColumnType | None = None,
    overlap: float = 0.5,
    at_least: float = 0.0,
    most: int | None = None,
) -> dict[str, ColumnType]:
    kind = boxes_type("nms", boxes)
    for name, given, wanted in (("scores", scores, NUMBERS), ("classes", classes, INTEGERS)):
        if given is not None and given.dtype != "any" and (given.dtype not in wanted or len(given.shape) != 1):
            refuse("nms", f"{name}, a number for each box", given)
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is from 0 to 1, got {overlap}")
    if most is not None and most < 1:
        raise ValueError(f"nms needs most of at least 1, got {most}")
    whole = ColumnType("int64", (None,))
    return {
        "boxes": ANY if is_any(kind) else ColumnType(kind.dtype, (None, 4)),
        "scores": ANY if is_any(scores) else ColumnType(scores.dtype, (None,)), "classes": whole, "indices": whole,
    }  # fmt: skip


@returns(_nms_type)
def nms(
    boxes: Rows,
    scores: Rows,
    classes: Rows | None = None,
    *,
    overlap: float = 0.5,
    at_least: float = 0.0,
    most: int | None = None,
) -> KeptBoxes:
    """Non-maximum suppression: best first, each box that overlaps a better one of its class too much is left out.

    Args:
        boxes: left, top, right, bottom, `[?, 4]` a row.
        scores: of each box, `[?]` a row; of equal ones the earlier is better.
        classes: whole numbers, `[?]` a row; boxes of different classes leave each other alone. Without, all are of class 0.
        overlap: how much of what two boxes cover together they may share (intersection over union).
        at_least: the score that a box must have; scores that may be below 0, as logits, need a lower one.
        most: how many of a row are kept; None for all.

    Returns:
        The boxes that are kept with their scores, classes and places, best first. NaN scores are left out.

    >>> found = nms(np.array([[[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 10, 10]]]), np.array([[0.5, 0.9, 0.7]]))
    >>> found.indices[0].tolist(), found.boxes[0].tolist()
    ([1, 2], [[0.0, 0.0, 4.0, 5.0], [9.0, 9.0, 10.0, 10.0]])
    """
    columns: list[list[Array]] = [[], [], [], []]
    of_class = classes if classes is not None else [np.zeros(len(row), np.int64) for row in scores]
    for found, marks, labels in zip(boxes, scores, of_class, strict=True):
        if not len(found) == len(marks) == len(labels):
            what = f"a row has {len(found)} boxes, {len(marks)} scores and {len(labels)} classes"
            raise InputError(what, where="motet.ops.boxes.nms")
        given = _floats(corners("nms", found))
        kept = _kept(given, np.asarray(marks), np.asarray(labels, dtype=np.int64), overlap, at_least, most)
        for column, values in zip(columns, (given, np.asarray(marks), np.asarray(labels, np.int64)), strict=False):
            column.append(values[kept])
        columns[3].append(kept)
    dtype = columns[0][0].dtype if columns[0] else np.float32
    marks_dtype = columns[1][0].dtype if columns[1] else np.float32
    return KeptBoxes(
        Ragged.from_rows(columns[0], dtype=dtype, axes=2), Ragged.from_rows(columns[1], dtype=marks_dtype, axes=1),
        Ragged.from_rows(columns[2], dtype=np.int64, axes=1), Ragged.from_rows(columns[3], dtype=np.int64, axes=1),
    )  # fmt: skip


def _kept(boxes: Array, scores: Array, classes: Array, overlap: float, at_least: float, most: int | None) -> Array:
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    order = order[scores[order] >= at_least]
    with np.errstate(invalid="ignore", over="ignore"):  # boxes without end cover no share of each other
        return _suppressed(boxes, classes, order, overlap, most)


def _suppressed(boxes: Array, classes: Array, order: Array, overlap: float, most: int | None) -> Array:
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(order) and (most is None or len(kept) < most):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[rest, :2], boxes[best, :2])
        high = np.minimum(boxes[rest, 2:], boxes[best, 2:])
        shared = (high - low).clip(0).prod(axis=1)
        union = areas[best] + areas[rest] - shared
        share = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        too_much = (classes[rest] == classes[best]) & (share.astype(np.float64) > overlap)
        order = rest[~too_much]
    return np.array(kept, dtype=np.int64)


def _unletterbox_type(boxes: ColumnType, image: ColumnType, size: Sequence[int] = ()) -> ColumnType:
    resize_type(image, size, "bilinear", "contain")
    return boxes_type("unletterbox", boxes)


@returns(_unletterbox_type)
def unletterbox(boxes: Rows, image: Rows, *, size: Sequence[int]) -> Ragged:
    """Boxes that were found in a picture with a frame, in pixels of the picture itself, cut off where it ends.

    Args:
        boxes: left, top, right, bottom in pixels of what `motet.ops.image.letterbox` gave, `[?, 4]` a row.
        image: the pictures before, for their sizes.
        size: height and width, as `letterbox` was given them.

    >>> unletterbox(np.array([[[0, 2, 8, 6]]]), np.zeros((1, 2, 4)), size=(8, 8))[0].tolist()
    [[0.0, 0.0, 4.0, 2.0]]
    """
    parts = []
    for found, pixels in zip(boxes, image, strict=True):
        height, width = pixels.shape[:2]
        top, left, inner_height, inner_width = framed_place((height, width), size)
        given = corners("unletterbox", found, np.float64)
        moved = (given - [left, top, left, top]) * np.tile([width / inner_width, height / inner_height], 2)
        clipped = moved.clip(0, [width, height, width, height])
        parts.append(clipped.astype(np.float64 if np.asarray(found).dtype == np.float64 else np.float32))
    return Ragged.from_rows(parts, dtype=parts[0].dtype if parts else np.float32, axes=2)


@returns(draw_type)
def draw(image: Rows, boxes: Rows, labels: Any = None, scores: Rows | None = None, *, width: int = 2) -> Array | Ragged:
    """Pictures with boxes drawn onto them, a colour a label, with the label and the score at the upper left corner.

    Args:
        image: uint8, `[h, w, 3]` a row; sizes may differ.
        boxes: left, top, right, bottom, `[?, 4]` a row; what lies outside is cut off.
        labels: texts or whole numbers, `[?]` a row; none where it is not given.
        scores: `[?]` a row, written in two digits; none where it is not given.
        width: of the lines, in pixels.

    Raises:
        MissingExtraError: when Pillow is not installed.

    >>> drawn = draw(np.zeros((1, 8, 8, 3), np.uint8), np.array([[[1, 1, 6, 6]]]), width=1)
    >>> int((drawn[0].sum(axis=-1) > 0).sum())
    20
    """
    check_rows("draw", image, lambda kind: draw_type(kind, ANY, width=width), "boxes")
    names = labels if labels is not None else [None] * len(image)
    marks = scores if scores is not None else [None] * len(image)
    drawn = [
        draw_boxes(pixels, *_drawn(found, name, mark), width)
        for pixels, found, name, mark in zip(image, boxes, names, marks, strict=True)
    ]
    if isinstance(image, np.ndarray):
        return np.stack(drawn) if drawn else image
    return Ragged.from_rows(drawn, dtype=np.uint8, axes=3)


def _drawn(boxes: Any, labels: Any, scores: Any) -> tuple[Array, Any, Any]:
    found = corners("draw", boxes, np.float64)
    for name, given in (("labels", labels), ("scores", scores)):
        if given is not None and len(given) != len(found):
            raise InputError(f"a row has {len(found)} boxes and {len(given)} {name}", where="motet.ops.boxes.draw")
    return found, labels, scores
