"""What several searches have found, as one list: reciprocal rank fusion.

G. V. Cormack, C. L. A. Clarke, S. Büttcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods, SIGIR 2009. Each list gives an id 1 / (60 + its rank), ranks from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["CONSTANT", "fused"]

CONSTANT = 60


def fused(lists: Sequence[Sequence[Any]], k: int) -> list[tuple[Any, float]]:
    """The k ids with the highest sums, each with its sum; of equal ones that which the lists have first.

    Args:
        lists: ids, the best first.
        k: how many are wanted at most.
    """
    scores: dict[Any, float] = {}
    for ids in lists:
        for rank, each in enumerate(ids, 1):
            scores[each] = scores.get(each, 0.0) + 1 / (CONSTANT + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])[:k]
