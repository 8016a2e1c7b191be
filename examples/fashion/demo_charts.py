"""What the page draws with: bars, a table of confusions, and pictures as PNG inside the page."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

BAR_HEIGHT = 12
ROW_HEIGHT = 44


@dataclass(frozen=True)
class Bar:
    """One bar of a chart.

    Attributes:
        name: what it stands for.
        value: its length, 0 to 1.
        text: the value as it is written.
        note: what else there is to say, in small letters.
        strong: whether it stands out.
    """

    name: str
    value: float
    text: str
    note: str = ""
    strong: bool = False


def bars(chart: Sequence[Bar], title: str) -> str:
    """A chart of bars, as SVG that is as wide as its place: names to the left, values to the right, bars under them."""
    rows = [_bar(bar, ROW_HEIGHT * place) for place, bar in enumerate(chart)]
    height = ROW_HEIGHT * len(chart)
    return f'<svg class="bars" role="img" aria-label="{escape(title)}" width="100%" height="{height}">{"".join(rows)}</svg>'


def _bar(bar: Bar, top: int) -> str:
    strong = " strong" if bar.strong else ""
    note = f'<tspan class="note" dx="8">{escape(bar.note)}</tspan>' if bar.note else ""
    y, width = top + 22, f"{100 * min(max(bar.value, 0.0), 1.0):.2f}%"
    return (
        f'<text class="name{strong}" x="0" y="{top + 14}">{escape(bar.name)}{note}</text>'
        f'<text class="value{strong}" x="100%" y="{top + 14}" text-anchor="end">{escape(bar.text)}</text>'
        f'<rect class="track" x="0" y="{y}" width="100%" height="{BAR_HEIGHT}" rx="3"/>'
        f'<rect class="bar{strong}" x="0" y="{y}" width="{width}" height="{BAR_HEIGHT}" rx="3"/>'
    )


def confusion_table(counts: npt.NDArray[np.int64], labels: Sequence[str]) -> str:
    """Truth by row, answer by column; the darker, the more of the row; what is right is on the diagonal."""
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in labels)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>{"".join(_cell(counts, row, column) for column in range(len(labels)))}</tr>'
        for row, label in enumerate(labels)
    )
    return f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(counts: npt.NDArray[np.int64], row: int, column: int) -> str:
    count = int(counts[row, column])
    part = count / max(1, int(counts[row].sum()))
    kind = "right" if row == column else "wrong"
    # Mistakes are few: the root makes them visible beside the diagonal.
    shade = 0.12 + 0.68 * part if row == column else 0.9 * min(1.0, part / 0.2) ** 0.5
    style = f' style="--shade:{shade:.2f}"' if count else ""
    return f'<td class="{kind}"{style}>{count or ""}</td>'


def picture(image: npt.NDArray[np.uint8], what: str) -> str:
    """A grey picture, uint8 [height, width], as an image of the page."""
    encoded = base64.b64encode(png(image)).decode()
    return f'<img alt="{escape(what)}" width="28" height="28" src="data:image/png;base64,{encoded}">'


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file of a grey picture, uint8 [height, width]; the format is RFC 2083."""
    height, width = image.shape
    lines = b"".join(b"\0" + line.tobytes() for line in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
