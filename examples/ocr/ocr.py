"""The functions around the three models of `page.yaml`: from a picture of a page to its text.

    image ─ for_detector ─ detect ─ strips ─┐
      └─────────────────────────────────────┴─ crops ─ (for each: read_word) ─ lines ─ text

    read_word: crop ─ for_classifier ─ classify ─ upright ─ for_recogniser ─ recognise ─ characters

The models are PP-OCRv4's (Apache-2.0), as PyPI's rapidocr-onnxruntime ships them (see ocr_files.py); sizes, means and
thresholds are those that it uses them with. Text runs from left to right here, or stands on its head; lines may be
bent, as in a photograph.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

import motet as mt
from motet.ops import image as pictures

Array = npt.NDArray[Any]

CHARACTERS: Final = Path(__file__).parent / "models" / "characters.txt"
SHORT_SIDE: Final = 736
LONG_SIDE: Final = 2048
"""Pixels: a page is enlarged until its short side has so many, unless its long side then had more than that."""
STRIDE: Final = 32
"""The detector takes sides that are multiples of this."""
INK: Final = 0.3
CORE_SCORE: Final = 0.5
"""Probability from which a pixel is text, and which the pixels of a line's core must have on average."""
GROW: Final = 2.4
"""The detector finds the core of a line; it is grown by this times its area over its circumference on each side."""
MIN_SIDE: Final = 3
LINE_HEIGHT: Final = 48
CLASSIFIER_WIDTH: Final = 192
MIN_WIDTH: Final = 320
WIDTH_STEP: Final = 64
"""Crops are padded to one of few widths, so that many can be read in one call."""
TURNED: Final = 0.9
"""How sure the classifier must be that a crop stands on its head."""
TEXT_SCORE: Final = 0.5
"""What is read with less is left out."""


@functools.cache
def alphabet() -> tuple[str, ...]:
    """What the recogniser's classes stand for: first nothing, last a space."""
    return ("", *CHARACTERS.read_text(encoding="utf-8").split("\n"), " ")


@mt.returns("float32[3,?,?]")
def for_detector(images: Sequence[Array], enlarge: bool = True) -> mt.Ragged:
    """Pages as the detector takes them.

    Args:
        images: uint8 `[h, w, 3]` RGB, one a row.
        enlarge: whether small ones are made larger, and large ones smaller.

    Returns:
        float32 `[3, H, W]` BGR, -1 to 1, one a row; H and W are multiples of 32.
    """
    sized = (_resized(image, _detector_size(*image.shape[:2], enlarge)) for image in images)
    return mt.Ragged.from_rows([_normalised(image) for image in sized], np.float32, axes=3)


def _detector_size(height: int, width: int, enlarge: bool) -> tuple[int, int]:
    if not height or not width:
        raise ValueError(f"a page of {height} x {width} pixels has nothing to read")
    scale = max(1.0, SHORT_SIDE / min(height, width))
    scale = min(scale, LONG_SIDE / max(height, width)) if enlarge else 1.0
    return tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (height, width))  # type: ignore[return-value]


def _resized(image: Array, size: tuple[int, int]) -> Array:
    return np.asarray(pictures.resize(image[np.newaxis], size=size)[0])


def _normalised(image: Array) -> Array:
    """uint8 `[h, w, 3]` RGB to float32 `[3, h, w]` BGR, -1 to 1."""
    return np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1), dtype=np.float32) / 127.5 - 1


@mt.returns({"strip": "float64[?,6]", "line": "int64[?]"})
def strips(images: Sequence[Array], found: Sequence[Array]) -> dict[str, mt.Ragged]:
    """Where text is, in reading order.

    Args:
        images: uint8 `[h, w, 3]`, one a row.
        found: float32 `[1, H, W]`, one a row: how likely each pixel of the detector's picture is text.

    Returns:
        strip: float64 `[strips, 6]`, one a row: left, right, height, and a, b, c of its middle a x^2 + b x + c, all in
            the image's pixels. Lines of a page that is not flat are bent.
        line: int64 `[strips]`, one a row: the number of the line that each stands in.
    """
    ordered = [in_lines(_find(pixels[0], image)) for image, pixels in zip(images, found, strict=True)]
    return {
        "strip": mt.Ragged.from_rows([strip for strip, _ in ordered], np.float64, axes=2),
        "line": mt.Ragged.from_rows([line for _, line in ordered], np.int64, axes=1),
    }


def _find(pixels: Array, image: Array) -> list[Array]:
    """The strips on a page, in no order."""
    labels, _ = ndimage.label(ndimage.binary_dilation(pixels > INK, np.ones((2, 2))), np.ones((3, 3)))
    across, down = image.shape[1] / pixels.shape[1], image.shape[0] / pixels.shape[0]
    found = []
    for label, part in enumerate(ndimage.find_objects(labels), start=1):
        core = labels[part] == label
        if min(core.shape) >= MIN_SIDE and pixels[part][core].mean() >= CORE_SCORE:
            found.append(_strip(core, part[1].start, part[0].start, across, down))
    return [strip for strip in found if strip[1] - strip[0] >= 1]


def _strip(core: Array, left: int, top: int, across: float, down: float) -> Array:
    """The strip around a core, bool `[h, w]`, whose corner is at (left, top); a pixel is so many of the image's."""
    thick, wide = core.sum() / core.shape[1], core.shape[1]
    grow = thick * wide * GROW / (2 * (thick + wide))
    columns = np.arange(wide)
    middles = (core * np.arange(core.shape[0])[:, np.newaxis]).sum(axis=0) / np.maximum(core.sum(axis=0), 1)
    degree = min(2, int(wide / (4 * thick)))
    curve = np.polyfit((left + columns + 0.5) * across, (top + middles + 0.5) * down, degree)
    ends = np.array([left - grow, left + wide + grow]) * across
    return np.array([*ends, max(1.0, (thick + 2 * grow) * down), *np.zeros(2 - degree), *curve])


def in_lines(found: Sequence[Array]) -> tuple[Array, Array]:
    """Strips in reading order, and their lines: one whose middle is beside the one before it stands in its line."""
    lines: list[list[Array]] = []
    for strip in sorted(found, key=_middle):
        if lines and _middle(strip) - _middle(lines[-1][-1]) < lines[-1][-1][2] / 2:
            lines[-1].append(strip)
        else:
            lines.append([strip])
    ordered = [strip for line in lines for strip in sorted(line, key=lambda strip: float(strip[0]))]
    numbers = [number for number, line in enumerate(lines) for _ in line]
    return np.array(ordered, dtype=np.float64).reshape(-1, 6), np.array(numbers, dtype=np.int64)


def _middle(strip: Array) -> float:
    return float(np.polyval(strip[3:], (strip[0] + strip[1]) / 2))


def _crops_type(*_: mt.ColumnType) -> dict[str, str]:
    return {"crop": "uint8[?,?,3]", "line": "int64"}


@mt.returns(_crops_type)
def crops(images: Sequence[Array], strip: Sequence[Array], line: Sequence[Array]) -> tuple[dict[str, Any], Array]:
    """Pages apart into the pictures of their lines, straightened.

    Args:
        images: uint8 `[h, w, 3]`, one a row.
        strip, line: see `strips`.

    Returns:
        The pieces of all pages one after another, crop uint8 `[h, w, 3]` and line int64; and how many each page has,
        int64 `[rows]`.
    """
    pieces = [_crop(image, each) for image, found in zip(images, strip, strict=True) for each in found]
    counts = np.array([len(found) for found in strip], dtype=np.int64)
    numbers = [number for found in line for number in found.tolist()]
    crop = mt.Ragged.from_rows(pieces, np.uint8, axes=3)
    return {"crop": crop, "line": np.array(numbers, dtype=np.int64)}, counts


def _crop(image: Array, strip: Array) -> Array:
    """The pixels of a strip, uint8 `[h, w, 3]`; the page's edge goes on outside it."""
    x = np.arange(max(0, strip[0]), min(image.shape[1], strip[1]))
    y = np.polyval(strip[3:], x) + (np.arange(round(strip[2]))[:, np.newaxis] - strip[2] / 2)
    places = np.stack([y, np.broadcast_to(x, y.shape)])
    channels = [ndimage.map_coordinates(image[:, :, channel], places, order=1, mode="nearest") for channel in range(3)]
    return np.stack(channels, axis=2)


@mt.returns("float32[3,48,192]")
def for_classifier(crops: Sequence[Array]) -> Array:
    """Crops as the classifier of their direction takes them: float32 `[rows, 3, 48, 192]`."""
    ready = np.zeros((len(crops), 3, LINE_HEIGHT, CLASSIFIER_WIDTH), dtype=np.float32)
    for row, crop in enumerate(crops):
        line = _line(crop, CLASSIFIER_WIDTH)
        ready[row, :, :, : line.shape[2]] = line
    return ready


def _line(crop: Array, max_width: int) -> Array:
    """A crop at the height that models read: float32 `[3, 48, w]`, -1 to 1."""
    width = max(1, math.ceil(LINE_HEIGHT * crop.shape[1] / crop.shape[0]))
    return _normalised(_resized(crop, (LINE_HEIGHT, min(width, max_width))))


@mt.returns({"crop": "uint8[?,?,3]", "turned": "bool"})
def upright(crops: Sequence[Array], directions: Array) -> dict[str, Any]:
    """Crops that stand on their heads, turned.

    Args:
        crops: uint8 `[h, w, 3]`, one a row.
        directions: float32 `[rows, 2]`: how likely each is upright, and on its head.
    """
    turned = directions[:, 1] > TURNED
    rows = [crop[::-1, ::-1] if head else crop for crop, head in zip(crops, turned, strict=True)]
    return {"crop": mt.Ragged.from_rows(rows, np.uint8, axes=3), "turned": turned}


@mt.returns("float32[3,48,?]")
def for_recogniser(crops: Sequence[Array]) -> mt.Ragged:
    """Crops as the recogniser takes them: float32 `[3, 48, w]`, one a row, w a multiple of 64 and at least 320."""
    return mt.Ragged.from_rows([_padded(_line(crop, 64 * LINE_HEIGHT)) for crop in crops], np.float32, axes=3)


def _padded(line: Array) -> Array:
    width = max(MIN_WIDTH, math.ceil(line.shape[2] / WIDTH_STEP) * WIDTH_STEP)
    return np.pad(line, ((0, 0), (0, 0), (0, width - line.shape[2])))


@mt.returns({"text": "string", "score": "float32"})
def characters(steps: Sequence[Array]) -> dict[str, Any]:
    """What the recogniser read: at each step its likeliest class; repeats are one character, class 0 is none (CTC).

    Args:
        steps: float32 `[steps, 6625]`, one a row: how likely each class is.

    Returns:
        text: one a row; score: the mean probability of its characters, float32 `[rows]`, 0 where there are none.
    """
    known = alphabet()
    texts, scores = [], np.zeros(len(steps), dtype=np.float32)
    for row, probabilities in enumerate(steps):
        best = probabilities.argmax(axis=1)
        chosen = np.flatnonzero((best != 0) & (best != np.concatenate([[-1], best[:-1]])))
        texts.append("".join(known[index] for index in best[chosen]))
        scores[row] = probabilities[chosen, best[chosen]].mean() if len(chosen) else 0
    return {"text": texts, "score": scores}


@mt.returns({"text": "string", "score": "float32", "pieces": "int64"})
def lines(texts: Array, scores: Array, line: Array, turned: Array, counts: Array) -> dict[str, Any]:
    """What was read, together again: one text a page, line under line.

    Args:
        texts, scores, line, turned: of the pieces of all pages, one after another, shape `[pieces]`.
        counts: how many pieces each page has, shape `[rows]`.

    Returns:
        text: empty where nothing was read; score: the mean score of what was read, 0 for an empty page; pieces: how many.
    """
    read, means, kept = [], [], []
    for end, count in zip(np.cumsum(counts).tolist(), counts.tolist(), strict=True):
        places = [place for place in range(end - count, end) if scores[place] >= TEXT_SCORE and texts[place].strip()]
        if places and np.mean(turned[places]) > 0.5:
            places.reverse()
        read.append(_joined([texts[place] for place in places], [int(line[place]) for place in places]))
        means.append(scores[places].mean() if places else 0)
        kept.append(len(places))
    return {"text": read, "score": np.array(means, np.float32), "pieces": np.array(kept, np.int64)}


def _joined(texts: Sequence[str], line: Sequence[int]) -> str:
    by_line: dict[int, list[str]] = {}
    for text, number in zip(texts, line, strict=True):
        by_line.setdefault(number, []).append(text.strip())
    return "\n".join(" ".join(each) for each in by_line.values())
