"""A graph as an SVG image: boxes in layers from left to right, members as chips inside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from motet.graph.check import CheckedGraph
from motet.graph.draw.parts import OUTPUT, Box, Edge, Picture, picture

__all__ = ["draw_svg"]

CHAR, LINE, PAD, GAP_X, GAP_Y, MARGIN = 7.3, 17.0, 12.0, 78.0, 22.0, 24.0
CHIP_HEIGHT, CHIP_GAP = 22.0, 5.0
TITLE_LENGTH = 40
SWEEPS = 8
KINDS = ("input", "map", "model", "ensemble", "route", "cascade", "shard", "output")

_STYLE = """
.motet{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.motet .page{fill:#fff}.motet .t{fill:#1d2330}.motet .d{fill:#5c6675}
.motet .e{fill:none;stroke:#9aa5b5;stroke-width:1.5}.motet .a{fill:#9aa5b5}
.motet .l{fill:#5c6675;font-size:10.5px;paint-order:stroke;stroke:#fff;stroke-width:4px}
.motet .c{fill:#fff;stroke:#00000022}.motet .b{stroke-width:1.4}
.motet .input{fill:#e8f0fe;stroke:#4a78c2}.motet .output{fill:#e6f4ea;stroke:#3d8b57}
.motet .map{fill:#f3f4f6;stroke:#828c9a}.motet .model{fill:#fff4e0;stroke:#c98a1b}
.motet .ensemble{fill:#fdeaf3;stroke:#b8437f}.motet .route{fill:#efe9fd;stroke:#6f4fc4}
.motet .cascade{fill:#e3f6f8;stroke:#2a8c9a}.motet .shard{fill:#fbeae5;stroke:#b5532f}
@media(prefers-color-scheme:dark){.motet .page{fill:#14171d}.motet .t{fill:#e8ebf0}.motet .d{fill:#a3adbb}
.motet .e{stroke:#657083}.motet .a{fill:#657083}.motet .l{fill:#a3adbb;stroke:#14171d}
.motet .c{fill:#ffffff14;stroke:#ffffff22}.motet .input{fill:#1b2a44}.motet .output{fill:#173324}
.motet .map{fill:#252a33}.motet .model{fill:#3a2d12}.motet .ensemble{fill:#3b1a2c}.motet .route{fill:#2a2047}
.motet .cascade{fill:#12343a}.motet .shard{fill:#3b2117}}
"""


@dataclass
class _Placed:
    """A box and where it is."""

    box: Box
    lines: list[str]
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


def draw_svg(checked: CheckedGraph) -> str:
    """Draw a graph as an image that needs nothing else: no font, script or style sheet; light and dark."""
    drawn = picture(checked)
    layers = _layers(drawn)
    edges = _joined(drawn.edges)
    ways = _ways(layers, edges)
    placed = {box.name: _measure(box) for box in drawn.boxes}
    placed |= {stop: _Placed(_NOTHING, [], 0.0, LINE) for way in ways for stop in way[1:-1]}
    width, height = _place(layers, placed, edges, ways)
    used = [kind for kind in KINDS if any(box.kind == kind for box in drawn.boxes)]
    body = [_edge(edge, [placed[stop] for stop in way]) for edge, way in zip(edges, ways, strict=True)]
    body += [_box(placed[box.name]) for box in drawn.boxes]
    legend, legend_width = _legend(used, height + MARGIN / 2)
    width, height = max(width, legend_width + MARGIN), height + MARGIN + LINE
    return "\n".join(
        [
            f'<svg class="motet" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" role="img" aria-label="{escape(f"The graph {drawn.name}")}">',
            f"<style>{_STYLE.strip()}</style>",
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="10"/>',
            *body,
            legend,
            "</svg>",
        ]
    )


def _layers(drawn: Picture) -> list[list[str]]:
    """The names of the boxes by layer: each right behind the last of those it needs; outputs stand in the last one."""
    depth: dict[str, int] = {}
    for box in drawn.boxes:
        needed = [depth[edge.source] for edge in drawn.edges if edge.target == box.name]
        depth[box.name] = 1 + max(needed, default=-1)
    last = max(depth.values())
    for box in drawn.boxes:
        if box.kind == "output":
            depth[box.name] = last
    layers: list[list[str]] = [[] for _ in range(last + 1)]
    for box in drawn.boxes:
        layers[depth[box.name]].append(box.name)
    return layers


_NOTHING = Box("", "", "", (), {})


def _ways(layers: list[list[str]], edges: Sequence[Edge]) -> list[list[str]]:
    """The boxes that each edge goes by: through layers in between it goes by a place of its own, that it is given here."""
    depth = {name: place for place, layer in enumerate(layers) for name in layer}
    ways = []
    for number, edge in enumerate(edges):
        between = range(depth[edge.source] + 1, depth[edge.target])
        stops = [f"{number} in {place}" for place in between]
        for place, stop in zip(between, stops, strict=True):
            layers[place].append(stop)
        ways.append([edge.source, *stops, edge.target])
    return ways


def _measure(box: Box) -> _Placed:
    title = box.title if len(box.title) <= TITLE_LENGTH else box.title[: TITLE_LENGTH - 1] + "…"
    name = box.name.removeprefix(OUTPUT)
    if box.kind in ("input", "output"):
        lines = [name, box.gives.get("", "")]
    else:
        lines = [f"{name} · {box.kind}", *([title] if title else [])]
    longest = max([len(line) for line in lines] + [len(chip.name) + len(chip.note) + 4 for chip in box.chips])
    height = 2 * PAD + LINE * len(lines) - 4 + (CHIP_HEIGHT + CHIP_GAP) * len(box.chips)
    return _Placed(box, lines, longest * CHAR + 2 * PAD, height)


def _place(
    layers: list[list[str]], placed: Mapping[str, _Placed], edges: Sequence[Edge], ways: Sequence[Sequence[str]]
) -> tuple[float, float]:
    """Give every box its place: few crossings, layers centred. Returns the size of it all."""
    _untangle(layers, [pair for way in ways for pair in pairwise(way)])
    heights = [sum(placed[name].height for name in layer) + GAP_Y * (len(layer) - 1) for layer in layers]
    tallest, x = max(heights), MARGIN
    for layer, height in zip(layers, heights, strict=True):
        y = MARGIN + (tallest - height) / 2
        widest = max(placed[name].width for name in layer)
        for name in layer:
            placed[name].x, placed[name].y = x, y
            placed[name].width = placed[name].width or widest
            y += placed[name].height + GAP_Y
        labels = [
            len(edge.type) * 6.4 + 26
            for edge in edges
            if edge.source in layer and placed[edge.target].box.kind != "output"
        ]
        x += widest + max([GAP_X, *labels])
    return x - GAP_X + MARGIN, tallest + 2 * MARGIN


def _untangle(layers: list[list[str]], pairs: Sequence[tuple[str, str]]) -> None:
    """Order each layer by the middle of its neighbours, forth and back (Sugiyama, Tagawa and Toda 1981)."""
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        for place in range(1, len(layers)) if forth else range(len(layers) - 2, -1, -1):
            order = {name: spot for layer in layers for spot, name in enumerate(layer)}
            middles = {name: _middle(name, pairs, order, forth) for name in layers[place]}
            layers[place].sort(key=lambda name: (middles[name], order[name]))


def _middle(name: str, pairs: Sequence[tuple[str, str]], order: Mapping[str, int], forth: bool) -> float:
    if forth:
        spots = [order[source] for source, target in pairs if target == name]
    else:
        spots = [order[target] for source, target in pairs if source == name]
    return sum(spots) / len(spots) if spots else float(order[name])


def _joined(edges: Sequence[Edge]) -> list[Edge]:
    """One edge for all columns between two boxes."""
    found: dict[tuple[str, str], list[Edge]] = {}
    for edge in edges:
        found.setdefault((edge.source, edge.target), []).append(edge)
    return [
        Edge(
            source,
            target,
            ", ".join(each.column for each in all_),
            ", ".join(dict.fromkeys(each.type for each in all_)),
        )
        for (source, target), all_ in found.items()
    ]


def _edge(edge: Edge, way: Sequence[_Placed]) -> str:
    """A curve from box to box, level where it passes a layer, with the type over its first part."""
    first, last = way[0], way[-1]
    x, y = first.x + first.width, first.y + first.height / 2
    path, x1, y1 = f"M{x:.1f},{y:.1f}", x, y
    for stop in way[1:]:
        x2, y2 = stop.x - (7 if stop is last else 0), stop.y + stop.height / 2
        bend = (x2 - x) / 2
        path += f" C{x + bend:.1f},{y:.1f} {x2 - bend:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
        x, y = x2, y2
        if stop is not last:
            x += stop.width
            path += f" H{x:.1f}"
    arrow = f'<path class="a" d="M{x + 7:.1f},{y:.1f} l-8,-4 v8 z"/>'
    after = way[1]
    middle = (x1 + after.x) / 2, (y1 + after.y + after.height / 2) / 2 - 5
    label = "" if last.box.kind == "output" else _text("l", *middle, edge.type, middle=True)
    return f'<path class="e" d="{path}"/>{arrow}{label}'


def _text(kind: str, x: float, y: float, text: str, *, middle: bool = False, bold: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    weight = ' font-weight="600"' if bold else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{anchor}{weight}>{escape(text)}</text>'


def _box(placed: _Placed) -> str:
    x, y, width = placed.x, placed.y, placed.width
    round_ = placed.height / 2 if placed.box.kind in ("input", "output") else 8
    parts = [
        f'<rect class="b {placed.box.kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{placed.height:.1f}" rx="{round_:.1f}"/>'
    ]
    for place, line in enumerate(placed.lines):
        parts.append(_text("d" if place else "t", x + PAD, y + PAD + LINE * place + 9, line, bold=not place))
    top = y + PAD + LINE * len(placed.lines) - 2
    for place, chip in enumerate(placed.box.chips):
        at = top + place * (CHIP_HEIGHT + CHIP_GAP)
        parts.append(
            f'<rect class="c" x="{x + PAD - 4:.1f}" y="{at:.1f}" width="{width - 2 * PAD + 8:.1f}" height="{CHIP_HEIGHT}" rx="5">'
            f"<title>{escape(chip.uses)}</title></rect>"
        )
        parts.append(_text("t", x + PAD + 3, at + 15, chip.name))
        if chip.note:
            end = x + width - PAD - 3
            parts.append(
                f'<text class="d" x="{end:.1f}" y="{at + 15:.1f}" text-anchor="end">{escape(chip.note)}</text>'
            )
    return "".join(parts)


def _legend(kinds: Sequence[str], y: float) -> tuple[str, float]:
    x, parts = MARGIN, []
    for kind in kinds:
        parts.append(f'<rect class="b {kind}" x="{x:.1f}" y="{y - 9:.1f}" width="12" height="12" rx="3"/>')
        parts.append(_text("d", x + 18, y + 1, kind))
        x += 18 + len(kind) * CHAR + 20
    return "".join(parts), x
