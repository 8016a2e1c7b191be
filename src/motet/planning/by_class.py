"""Thresholds of single classes, where they help: found on one half of the rows that choose, and kept where the other half gains too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from motet.batch import Indices
from motet.nodes.cascade import Cascade
from motet.planning.replay import alone
from motet.planning.search import LEVELS, Goal, SettingSearch, TriedSetting

__all__ = ["with_class_thresholds"]

MOST_CLASSES = 12
"""Classes of a member that are looked at, those that it says most often first."""
FEWEST_ROWS = 500
"""Rows of each half, below which such thresholds are those of chance."""
FEWEST = 30
"""Rows in which a member must say a class, for it to be looked at."""


def with_class_thresholds(search: SettingSearch, node: Cascade, goal: Goal) -> Cascade:
    """A cascade with thresholds of its own for classes for which that suits the goal better; itself where there are none.

    Args:
        search: tries settings by the rows that choose.
        node: the cascade, its other settings chosen.
        goal: what is wanted.
    """
    if search.seen.reader.kind not in ("scores", "places", "names") or not _gives_scores(search, node):
        return node
    first, second = (replace(search, rows=rows, tried={}) for rows in _halves(search))
    if min(len(first.rows), len(second.rows)) < FEWEST_ROWS:
        return node
    for member in node.players[:-1]:
        for name in _said_often(first, node, member.name):
            now, then = first.tried_as(node), second.tried_as(node)
            if now is None or then is None:
                return node
            found = [first.tried_as(made) for made in _levels(node, member.name, name)]
            better = [each for each in found if each is not None and _dominates(search, each, now)]
            best = first.best([now, *better], goal)
            again = second.tried_as(best.node)
            if best is now or again is None or not _dominates(search, again, then):
                continue
            if _is_surely_no_worse(second, again, then):
                assert isinstance(best.node, Cascade)
                node = best.node
    return node


def _dominates(search: SettingSearch, one: TriedSetting, other: TriedSetting) -> bool:
    """Whether a setting is better than another, or as good for less, and fails on no more rows."""
    metric = search.seen.assessor.metrics[0]
    if one.failed > other.failed or metric.is_better(other.metric, one.metric):
        return False
    return one.cost < other.cost or metric.is_better(one.metric, other.metric)


def _is_surely_no_worse(search: SettingSearch, one: TriedSetting, other: TriedSetting) -> bool:
    """Whether the metric of a setting is not below another's in 97.5 % of resamples; many classes are tried, and some fit by chance."""
    metric = search.seen.assessor.metrics[0]
    marked = [search.marked(each.node)[0] for each in (one, other)]
    _, less = replace(search.seen.assessor, metrics=[metric]).measure(marked, search.rows)[1]
    return less.high <= 0 if metric.lower_is_better else less.low >= 0


def _gives_scores(search: SettingSearch, node: Cascade) -> bool:
    """Whether the classes of the answer are those of the node's scores."""
    reader = search.seen.reader
    scores = reader.of if reader.kind == "scores" else reader.scores
    kind = None if scores is None else search.seen.recording.checked.columns[scores]
    return kind is not None and scores is not None and scores.split(".")[0] == node.name and len(kind.shape) == 1


def _halves(search: SettingSearch) -> tuple[Indices, Indices]:
    """The rows in two halves by chance, units whole."""
    assessor, rows = search.seen.assessor, search.rows
    units = rows if assessor.units is None else assessor.units[assessor.labelled][rows]
    known = np.random.default_rng(2).permutation(np.unique(units))
    first = np.isin(units, known[: len(known) // 2])
    return rows[first], rows[~first]


def _said_often(search: SettingSearch, node: Cascade, member: str) -> list[str]:
    """The classes that a member says most often, as the graph names them."""
    single = alone(node, member)
    assert single is not None
    marked = search.seen.mark(search.seen.replayer.play({**search.others, node.name: single}))
    places = marked.places[search.rows]
    if marked.judged.classes is None:
        return []
    counts = np.bincount(marked.judged.classes[places[places >= 0]], minlength=1)
    often = [place for place in np.argsort(-counts, kind="stable").tolist() if counts[place] >= FEWEST]
    reader = search.seen.reader
    labels = search.seen.recording.checked.columns[
        reader.of if reader.kind == "scores" else reader.scores or reader.of
    ].labels
    return [labels[place] if labels else str(place) for place in often[:MOST_CLASSES]]


def _levels(node: Cascade, member: str, name: str) -> Iterator[Cascade]:
    """The cascade with other thresholds for a class of a member."""
    for level in LEVELS[2]:
        classes = {**node.by_class.get(member, {}), name: level}
        yield replace(node, by_class={**node.by_class, member: classes})
