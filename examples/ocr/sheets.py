"""The functions of `sheet.yaml`: sheets apart into bands that fit a model's memory, and what was found on them together.

    image ─ bands ─ (for each: find_lines) ─ joined ─ strips of the whole sheet ─ as on any page

Bands overlap by `OVERLAP` pixels, so that every line of text stands whole in one of them. What is found twice is kept
once; what a band's edge cuts off is kept only where no band has more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import motet as mt
from ocr import in_lines

Array = npt.NDArray[Any]

HEIGHT: Final = 320
"""Pixels of a band: what the detector then needs grows with the sheet's width alone."""
OVERLAP: Final = 112
"""Pixels that neighbours share: twice the height of the tallest text."""
WORDS: Final = (
    "river",
    "stone",
    "yellow",
    "window",
    "garden",
    "music",
    "seven",
    "paper",
    "bridge",
    "winter",
    "orange",
    "table",
)


def _bands_type(*_: mt.ColumnType) -> dict[str, str]:
    return {"band": "uint8[?,?,3]", "top": "int64", "bottom": "int64"}


@mt.returns(_bands_type)
def bands(images: Sequence[Array]) -> tuple[dict[str, Any], Array]:
    """Sheets apart into bands of equal height, from top to bottom.

    Args:
        images: uint8 `[h, w, 3]`, one a row.

    Returns:
        The bands of all sheets one after another: band uint8 `[at most HEIGHT, w, 3]`; top, bottom: the places of its
        cut edges in the sheet, -1 where it ends with the sheet. And how many each sheet has, int64 `[rows]`.
    """
    pieces: list[Array] = []
    tops: list[int] = []
    bottoms: list[int] = []
    counts = np.zeros(len(images), np.int64)
    for row, image in enumerate(images):
        last = max(0, len(image) - HEIGHT)
        counts[row] = count = 1 + -(-last // (HEIGHT - OVERLAP))
        for number, top in enumerate(np.linspace(0, last, count).astype(int).tolist()):
            pieces.append(image[top : top + HEIGHT])
            tops.append(top if number else -1)
            bottoms.append(top + HEIGHT if number < count - 1 else -1)
    band = mt.Ragged.from_rows(pieces, np.uint8, axes=3)
    return {"band": band, "top": np.array(tops, np.int64), "bottom": np.array(bottoms, np.int64)}, counts


@mt.returns({"strip": "float64[?,6]", "line": "int64[?]"})
def joined(strips: Sequence[Array], tops: Array, bottoms: Array, counts: Array) -> dict[str, mt.Ragged]:
    """The strips of bands as those of their sheets, each once, in reading order.

    Args:
        strips: float64 `[strips, 6]`, one a band, in its pixels; see `ocr.strips`.
        tops, bottoms: of the bands; see `bands`.
        counts: how many bands each sheet has, shape `[rows]`.

    Returns:
        strip, line: as `ocr.strips` gives them.
    """
    sheets = []
    for end, count in zip(np.cumsum(counts).tolist(), counts.tolist(), strict=True):
        found: list[tuple[bool, Array]] = []
        for place in range(end - count, end):
            top, bottom = int(tops[place]), int(bottoms[place])
            for strip in strips[place]:
                moved = strip + np.array([0, 0, 0, 0, 0, max(0, top)])
                upper, lower = _edges(moved)
                found.append((upper < top or 0 <= bottom < lower, moved))
        sheets.append(in_lines(_each_once(found)))
    return {
        "strip": mt.Ragged.from_rows([strip for strip, _ in sheets], np.float64, axes=2),
        "line": mt.Ragged.from_rows([line for _, line in sheets], np.int64, axes=1),
    }


def _edges(strip: Array) -> tuple[float, float]:
    """The highest and the lowest place of a strip."""
    middles = np.polyval(strip[3:], np.linspace(strip[0], strip[1], 9))
    return float(middles.min() - strip[2] / 2), float(middles.max() + strip[2] / 2)


def _each_once(found: Sequence[tuple[bool, Array]]) -> list[Array]:
    """Of strips that lie on one another the whole one, or the widest.

    Args:
        found: whether each is cut off, and the strip.
    """
    kept: list[Array] = []
    for _, strip in sorted(found, key=lambda each: (each[0], each[1][0] - each[1][1])):
        if not any(_on_one_another(strip, other) for other in kept):
            kept.append(strip)
    return kept


def _on_one_another(one: Array, other: Array) -> bool:
    """Whether two strips share more than half of the smaller one's width and height."""
    left, right = max(one[0], other[0]), min(one[1], other[1])
    if right - left <= min(one[1] - one[0], other[1] - other[0]) / 2:
        return False
    middle, height = (left + right) / 2, min(one[2], other[2])
    apart = abs(np.polyval(one[3:], middle) - np.polyval(other[3:], middle))
    return bool((one[2] + other[2]) / 2 - apart > height / 2)


def draw(lines: int = 40, width: int = 640, line_height: int = 52) -> tuple[Array, list[str]]:
    """A sheet of text, and its lines: a number and some words each.

    Returns:
        uint8 `[line_height * (lines + 1), width, 3]`, and the texts.
    """
    from PIL import Image, ImageDraw, ImageFont

    texts = [
        f"{number} {' '.join(WORDS[(number * 5 + place * 3) % len(WORDS)] for place in range(4))}"
        for number in range(101, 101 + lines)
    ]
    sheet = Image.new("RGB", (width, line_height * (lines + 1)), "white")
    font = ImageFont.load_default(size=28)
    for place, text in enumerate(texts):
        ImageDraw.Draw(sheet).text((40, line_height * place + line_height // 2), text, fill="black", font=font)
    return np.asarray(sheet), texts
