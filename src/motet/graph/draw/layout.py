"""Where boxes stand and which way edges take: layers from left to right (Sugiyama, Tagawa and Toda 1981).

layers ──► ways through the layers in between ──► order in each layer, few crossings ──► places
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Arrangement", "Spot", "arrange", "curve"]

GAP_X, GAP_Y, GAP_EDGE, MARGIN = 56.0, 22.0, 14.0, 24.0
SWEEPS = 12
Pair = tuple[str, str]


@dataclass
class Spot:
    """A place for a box, or for an edge that passes a layer, which is as high as a line of text.

    Attributes:
        width, height: its size.
        x, y: its upper left corner.
    """

    width: float
    height: float
    x: float = 0.0
    y: float = 0.0

    @property
    def middle(self) -> float:
        """Half way down."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Arrangement:
    """Where everything is.

    Attributes:
        spots: places by the names of boxes.
        ways: for each edge the places that it goes by, those of its ends included.
        width, height: the size of it all, with a margin.
    """

    spots: Mapping[str, Spot]
    ways: Sequence[Sequence[Spot]]
    width: float
    height: float


def curve(way: Sequence[Spot], tip: float) -> tuple[str, float, float]:
    """A line from box to box, level where it passes a layer, as SVG writes a path; and where it ends.

    Args:
        way: the places that it goes by.
        tip: how long the arrow's tip is, before which it ends.
    """
    x, y = way[0].x + way[0].width, way[0].middle
    path = f"M{x:.1f},{y:.1f}"
    for stop in way[1:]:
        end = stop.x - (tip if stop is way[-1] else 0)
        bend = (end - x) / 2
        path += f" C{x + bend:.1f},{y:.1f} {end - bend:.1f},{stop.middle:.1f} {end:.1f},{stop.middle:.1f}"
        x, y = end, stop.middle
        if stop is not way[-1]:
            x += stop.width
            path += f" H{x:.1f}"
    return path, x, y


def arrange(
    sizes: Mapping[str, tuple[float, float]],
    edges: Sequence[Pair],
    last: Collection[str],
    room: Callable[[int], float],
) -> Arrangement:
    """Arrange boxes.

    Args:
        sizes: widths and heights by name, in an order in which each box stands behind those it needs.
        edges: pairs of names.
        last: the boxes that stand in the last layer, whatever they need.
        room: how much room an edge, by its place in `edges`, needs before the first box that it comes to.
    """
    layers = _layers(list(sizes), edges, last)
    ways = _ways(layers, edges)
    spots = {name: Spot(*size) for name, size in sizes.items()}
    spots |= {stop: Spot(0.0, GAP_EDGE) for way in ways for stop in way[1:-1]}
    pairs = [pair for way in ways for pair in pairwise(way)]
    _untangle(layers, pairs)
    width = _columns(layers, spots, {way[0]: [] for way in ways}, ways, room)
    height = _rows(layers, spots, pairs)
    return Arrangement(
        {name: spots[name] for name in sizes}, [[spots[name] for name in way] for way in ways], width, height
    )


def _layers(names: Sequence[str], edges: Sequence[Pair], last: Collection[str]) -> list[list[str]]:
    """Each box right behind the last of those that it needs."""
    depth: dict[str, int] = {}
    for name in names:
        depth[name] = 1 + max((depth[source] for source, target in edges if target == name), default=-1)
    deepest = max(depth.values())
    layers: list[list[str]] = [[] for _ in range(deepest + 1)]
    for name in names:
        layers[deepest if name in last else depth[name]].append(name)
    return layers


def _ways(layers: list[list[str]], edges: Sequence[Pair]) -> list[list[str]]:
    """What each edge goes by; in the layers that it passes it is given a stop, so that no box stands in its way."""
    depth = {name: place for place, layer in enumerate(layers) for name in layer}
    ways = []
    for number, (source, target) in enumerate(edges):
        between = range(depth[source] + 1, depth[target])
        stops = [f"{number} in {place}" for place in between]
        for place, stop in zip(between, stops, strict=True):
            layers[place].append(stop)
        ways.append([source, *stops, target])
    return ways


def _untangle(layers: list[list[str]], pairs: Sequence[Pair]) -> None:
    """Order each layer by the middle of its neighbours, forth and back, and keep the order with the fewest crossings."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers, pairs)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        for place in range(1, len(layers)) if forth else range(len(layers) - 2, -1, -1):
            order = _order(layers)
            middles = {name: _middle(name, pairs, order, forth) for name in layers[place]}
            layers[place].sort(key=lambda name: (middles[name], order[name]))
        if (crossings := _crossings(layers, pairs)) < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _order(layers: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: place for layer in layers for place, name in enumerate(layer)}


def _middle(name: str, pairs: Sequence[Pair], order: Mapping[str, int], forth: bool) -> float:
    near = [source if forth else target for source, target in pairs if (target if forth else source) == name]
    return sum(order[each] for each in near) / len(near) if near else float(order[name])


def _crossings(layers: Sequence[Sequence[str]], pairs: Sequence[Pair]) -> int:
    order, depth = _order(layers), {name: place for place, layer in enumerate(layers) for name in layer}
    found = 0
    for place in range(len(layers) - 1):
        ends = [(order[one], order[other]) for one, other in pairs if depth[one] == place]
        found += sum((a - c) * (b - d) < 0 for number, (a, b) in enumerate(ends) for c, d in ends[:number])
    return found


def _columns(
    layers: Sequence[Sequence[str]],
    spots: Mapping[str, Spot],
    leaving: dict[str, list[float]],
    ways: Sequence[Sequence[str]],
    room: Callable[[int], float],
) -> float:
    """Place the layers beside each other, with room for what is written between them. Returns the width of it all."""
    for number, way in enumerate(ways):
        leaving[way[0]].append(room(number))
    x = right = MARGIN
    for layer in layers:
        widest = max(spots[name].width for name in layer)
        for name in layer:
            spots[name].x = x
            spots[name].width = spots[name].width or widest
        right = x + widest
        x = right + max([GAP_X, *(each for name in layer for each in leaving.get(name, ()))])
    return right + MARGIN


def _rows(layers: Sequence[Sequence[str]], spots: Mapping[str, Spot], pairs: Sequence[Pair]) -> float:
    """Place each box as near as it may be to the middle of its neighbours. Returns the height of it all."""
    near: dict[str, list[str]] = {name: [] for name in spots}
    for source, target in pairs:
        near[source].append(target)
        near[target].append(source)
    for layer in layers:
        _set_middles(layer, spots, [0.0] * len(layer))
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [
                sum(spots[each].middle for each in near[name]) / len(near[name]) if near[name] else spots[name].middle
                for name in layer
            ]
            _set_middles(layer, spots, wanted)
    top = min(spot.y for spot in spots.values())
    for spot in spots.values():
        spot.y += MARGIN - top
    return max(spot.y + spot.height for spot in spots.values()) + MARGIN


def _set_middles(layer: Sequence[str], spots: Mapping[str, Spot], wanted: Sequence[float]) -> None:
    apart = [(spots[one].height + spots[other].height) / 2 + GAP_Y for one, other in pairwise(layer)]
    for name, middle in zip(layer, nearest(wanted, apart), strict=True):
        spots[name].y = middle - spots[name].height / 2


def nearest(wanted: Sequence[float], apart: Sequence[float]) -> list[float]:
    """The places nearest to those wanted, by least squares, that keep their order and are so far apart.

    Pools neighbours that would be too near (Barlow and others 1972).
    """
    offsets = [0.0]
    for distance in apart:
        offsets.append(offsets[-1] + distance)
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=False):
        total, count = want - offset, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    found = [total / count for total, count in pools for _ in range(count)]
    return [place + offset for place, offset in zip(found, offsets, strict=True)]
