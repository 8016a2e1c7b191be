"""Temperatures that suit members: those at which labels are most likely, each by itself.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On calibration of modern neural networks, ICML 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from motet.batch import Array, Indices
from motet.errors import ModelFailedError
from motet.ops.scores import temper
from motet.planning.evaluate import Evidence
from motet.planning.parts import KeptNode
from motet.planning.replay import alone
from motet.planning.standings import Marked

__all__ = ["best_temperature", "temperatures_for"]

LOWEST, HIGHEST = 0.1, 10.0
STEPS = 40
SURE = 3.841458820694124
"""The 95th percentile of chi-squared with one degree of freedom: a temperature that helps less may do so by chance."""


def temperatures_for(seen: Evidence, node: KeptNode, others: Mapping[str, KeptNode], rows: Indices) -> dict[str, float]:
    """For each member of a node the temperature at which the labels are most likely, where it makes them surely more so.

    Args:
        seen: what was kept.
        node: the node; its own temperatures are left out of account.
        others: the other kept nodes.
        rows: places among the labelled rows to fit by.

    Returns:
        By member; empty where the node does not give the scores of the answer.
    """
    scores = seen.reader.of if seen.reader.kind == "scores" else seen.reader.scores
    if scores is None or scores.split(".")[0] != node.name:
        return {}
    found: dict[str, float] = {}
    for member in node.players:
        single = alone(replace(node, temperature={}), member.name)
        if single is None:
            return {}
        try:
            marked = seen.mark(seen.replayer.play({**others, node.name: single}))
        except ModelFailedError:
            continue
        best = _of(seen, marked, rows)
        if best != 1:
            found[member.name] = best
    return found


def _of(seen: Evidence, marked: Marked, rows: Indices) -> float:
    """The temperature of a member whose answers these are."""
    places = marked.places[rows]
    there = places >= 0
    scores = marked.judged.scores
    if scores is None or not there.any():
        return 1.0
    truth = seen.reader.truth[seen.assessor.labelled][rows[there]]
    return best_temperature(np.asarray(scores[places[there]], dtype=np.float64), truth)


def best_temperature(scores: Array, truth: Indices) -> float:
    """The temperature at which labels are most likely, in three digits; 1 where none is surely better, or these are no probabilities.

    Args:
        scores: probabilities, `[rows, classes]`.
        truth: the places of the right classes, `[rows]`. Rows whose right class has none count for nothing, at any temperature.
    """
    right = np.arange(len(truth)), truth
    if not ((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3)):
        return 1.0
    possible = scores[right] > 0
    scores, right = scores[possible], (np.arange(int(possible.sum())), truth[possible])

    def likelihood(heat: float) -> float:
        return float(np.log(np.maximum(temper(scores, temperature=heat)[right], 1e-300)).sum())

    low, high, golden = np.log(LOWEST), np.log(HIGHEST), (np.sqrt(5) - 1) / 2
    for _ in range(STEPS):  # the likelihood has one peak
        left, above = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, above) if likelihood(np.exp(left)) > likelihood(np.exp(above)) else (left, high)
    best = float(f"{np.exp((low + high) / 2):.3g}")
    return best if 2 * (likelihood(best) - likelihood(1.0)) > SURE else 1.0
