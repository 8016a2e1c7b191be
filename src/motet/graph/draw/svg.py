"""A graph as an SVG image: boxes in layers from left to right, members as chips inside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from motet.graph.check import CheckedGraph
from motet.graph.draw.layout import GAP_X, MARGIN, Arrangement, Spot, arrange, curve
from motet.graph.draw.parts import Box, Chip, Edge, cut, picture

__all__ = ["draw_svg"]

CHAR, SMALL_CHAR, LINE, PAD, ARROW = 7.3, 6.4, 17.0, 12.0, 7.0
CHIP_HEIGHT, CHIP_GAP = 22.0, 5.0
LONGEST, LONGEST_LABEL, MOST_SETTINGS = 30, 24, 3
KINDS = ("input", "map", "model", "ensemble", "route", "cascade", "shard", "output")
ENDS = ("input", "output")

_STYLE = """
svg{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.page{fill:#fff}.t{fill:#1d2330}.d{fill:#5c6675}.e{fill:none;stroke:#9aa5b5;stroke-width:1.5}.a{fill:#9aa5b5}
.l{fill:#5c6675;font-size:10.5px;paint-order:stroke;stroke:#fff;stroke-width:4px}.c{fill:#fff;stroke:#00000022}
.b{stroke-width:1.4}.input{fill:#e8f0fe;stroke:#4a78c2}.output{fill:#e6f4ea;stroke:#3d8b57}.map{fill:#f3f4f6;stroke:#828c9a}
.model{fill:#fff4e0;stroke:#c98a1b}.ensemble{fill:#fdeaf3;stroke:#b8437f}.route{fill:#efe9fd;stroke:#6f4fc4}
.cascade{fill:#e3f6f8;stroke:#2a8c9a}.shard{fill:#fbeae5;stroke:#b5532f}
@media(prefers-color-scheme:dark){.page{fill:#14171d}.t{fill:#e8ebf0}.d{fill:#a3adbb}.e{stroke:#657083}.a{fill:#657083}
.l{fill:#a3adbb;stroke:#14171d}.c{fill:#ffffff14;stroke:#ffffff22}.input{fill:#1b2a44}.output{fill:#173324}.map{fill:#252a33}
.model{fill:#3a2d12}.ensemble{fill:#3b1a2c}.route{fill:#2a2047}.cascade{fill:#12343a}.shard{fill:#3b2117}}
"""


@dataclass(frozen=True)
class _Card:
    """A box and what is written in it."""

    box: Box
    lines: tuple[str, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        chips = [len(chip.label) + len(_note(chip)) + (3 if chip.note else 1) for chip in self.box.chips]
        longest = max([len(line) for line in self.lines] + chips)
        height = 2 * PAD - 4 + LINE * len(self.lines)
        if chips:
            height += 4 + (CHIP_HEIGHT + CHIP_GAP) * len(chips) - CHIP_GAP
        return longest * CHAR + 2 * PAD, height


def draw_svg(checked: CheckedGraph) -> str:
    """Draw a graph as an image that needs nothing else: no font, script or style sheet; light and dark.

    The group of each box has `data-node`, the name of the input, node or output, and `data-kind`.
    """
    drawn = picture(checked)
    cards = {box.name: _Card(box, _lines(box)) for box in drawn.boxes}
    edges = _joined(drawn.edges)
    kinds = {box.name: box.kind for box in drawn.boxes}
    labels = ["" if kinds[edge.target] == "output" else cut(edge.type, LONGEST_LABEL) for edge in edges]
    placed = arrange(
        {name: card.size for name, card in cards.items()},
        [(edge.source, edge.target) for edge in edges],
        [name for name, kind in kinds.items() if kind == "output"],
        lambda place: len(labels[place]) * SMALL_CHAR + 34 if labels[place] else GAP_X,
    )
    body = [_path(way) for way in placed.ways]
    body += [_box(card, placed.spots[name]) for name, card in cards.items()]
    body += _labels(edges, labels, placed)
    legend, width = _legend([kind for kind in KINDS if kind in kinds.values()], placed.height + LINE / 2)
    return _page(drawn.name, [*body, legend], max(placed.width, width + MARGIN), placed.height + LINE + MARGIN / 2)


def _page(name: str, body: Sequence[str], width: float, height: float) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {size}'
    return "\n".join(
        [
            f'{head} role="img" aria-label="{escape(f"The graph {name}")}">',
            f"<style>{_STYLE.strip()}</style>",
            f'<rect class="page" {size} rx="10"/>',
            *body,
            "</svg>",
        ]
    )


def _lines(box: Box) -> tuple[str, ...]:
    """What is written in a box: its name, and what it does."""
    if box.kind in ENDS:
        return box.title, *(cut(each, LONGEST) for each in (box.gives[""], *box.settings))
    settings = [*box.settings[:MOST_SETTINGS], *["…"][: len(box.settings) - MOST_SETTINGS]]
    about = [each for each in (box.does.removeprefix("motet.ops."), *settings) if each]
    return f"{box.title} · {box.kind}", *(cut(each, LONGEST) for each in about)


def _note(chip: Chip) -> str:
    return cut(chip.note, LONGEST)


def _joined(edges: Sequence[Edge]) -> list[Edge]:
    """One edge for all columns between two boxes."""
    found: dict[tuple[str, str], list[Edge]] = {}
    for edge in edges:
        found.setdefault((edge.source, edge.target), []).append(edge)
    return [
        Edge(source, target, ", ".join(each.column for each in all_), ", ".join(dict.fromkeys(e.type for e in all_)))
        for (source, target), all_ in found.items()
    ]


def _path(way: Sequence[Spot]) -> str:
    path, x, y = curve(way, ARROW)
    return f'<path class="e" d="{path}"/><path class="a" d="M{x + ARROW:.1f},{y:.1f} l-8,-4 v8 z"/>'


def _labels(edges: Sequence[Edge], labels: Sequence[str], placed: Arrangement) -> list[str]:
    """The types of the columns, each where no other edge is near: before a box with one edge in, or behind one with one out."""
    into, out = Counter(edge.target for edge in edges), Counter(edge.source for edge in edges)
    written = []
    for edge, label, way in zip(edges, labels, placed.ways, strict=True):
        first, then, last = way[0], way[1], way[-1]
        start, end = first.x + first.width, then.x
        if not label:
            continue
        if abs(first.middle - then.middle) < 1:
            written.append(_text("l", (start + end - ARROW) / 2, first.middle - 6, label, anchor="middle"))
        elif then is not last:
            written.append(_text("l", then.x + 4, then.middle - 6, label))
        elif into[edge.target] == 1 or out[edge.source] > 1:
            written.append(_text("l", end - ARROW - 5, last.middle - 6, label, anchor="end"))
        else:
            written.append(_text("l", start + 6, first.middle - 6, label))
    return written


def _text(kind: str, x: float, y: float, text: str, *, anchor: str = "", bold: bool = False) -> str:
    where = f' text-anchor="{anchor}"' if anchor else ""
    weight = ' font-weight="600"' if bold else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}{weight}>{escape(text)}</text>'


def _box(card: _Card, spot: Spot) -> str:
    box, x, y = card.box, spot.x, spot.y
    rounded = min(spot.height / 2, 27) if box.kind in ENDS else 8
    frame = f'x="{x:.1f}" y="{y:.1f}" width="{spot.width:.1f}" height="{spot.height:.1f}" rx="{rounded:.1f}"'
    tip = "\n".join([*([box.does] if box.does else []), *box.settings, *box.columns])
    name = f'data-node="{escape(box.title)}" data-kind="{box.kind}"'
    parts = [f'<g {name}><title>{escape(tip)}</title><rect class="b {box.kind}" {frame}/>']
    for place, line in enumerate(card.lines):
        parts.append(_text("d" if place else "t", x + PAD, y + PAD + LINE * place + 9, line, bold=not place))
    top = y + PAD + LINE * len(card.lines) + 1
    for place, chip in enumerate(box.chips):
        parts.append(_chip(chip, x + PAD - 4, top + place * (CHIP_HEIGHT + CHIP_GAP), spot.width - 2 * PAD + 8))
    return "".join([*parts, "</g>"])


def _chip(chip: Chip, x: float, y: float, width: float) -> str:
    frame = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{CHIP_HEIGHT}" rx="5"'
    tip = escape(" ".join(each for each in (chip.uri or f"graph {chip.uses}", chip.note) if each))
    note = _text("d", x + width - 7, y + 15, _note(chip), anchor="end") if chip.note else ""
    return f'<rect class="c" {frame}><title>{tip}</title></rect>{_text("t", x + 7, y + 15, chip.label)}{note}'


def _legend(kinds: Sequence[str], y: float) -> tuple[str, float]:
    x, parts = MARGIN, []
    for kind in kinds:
        parts.append(f'<rect class="b {kind}" x="{x:.1f}" y="{y - 9:.1f}" width="12" height="12" rx="3"/>')
        parts.append(_text("d", x + 18, y + 1, kind))
        x += 18 + len(kind) * CHAR + 20
    return "".join(parts), x
