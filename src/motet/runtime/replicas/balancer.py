"""Which replica answers next. A balancer chooses among those that can be called now; it has no lock of its own.

least_loaded   the one with the fewest calls under way; of equals the one that has waited longest
round_robin    one after the other
power_of_two   two by chance, of which the one with fewer calls (Mitzenmacher 2001)
hash           the same key meets the same replica: rendezvous hashing (Thaler and Ravishankar 1998), so that when a
               replica goes only its own keys move, and when one comes only those that move to it
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from motet.batch import Array
from motet.nodes.split import choose_arms
from motet.runtime.replicas.slot import Slot

__all__ = ["BALANCERS", "Balancer", "rendezvous"]


class Balancer(Protocol):
    """Chooses a replica."""

    def choose(self, candidates: Sequence[Slot]) -> Slot:
        """One of at least one."""
        ...


class LeastLoaded:
    """The one with the fewest calls under way."""

    def choose(self, candidates: Sequence[Slot]) -> Slot:
        """Of equals the one that has waited longest."""
        return min(candidates, key=lambda each: (each.in_flight, each.turn))


class RoundRobin:
    """One after the other."""

    def choose(self, candidates: Sequence[Slot]) -> Slot:
        """The one that has waited longest."""
        return min(candidates, key=lambda each: each.turn)


class PowerOfTwo:
    """The better of two by chance.

    Args:
        chance: a number from 0 to 1, 1 left out.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance

    def choose(self, candidates: Sequence[Slot]) -> Slot:
        """Two different ones where there are two, of which the one with fewer calls."""
        count = len(candidates)
        first = int(self._chance() * count)
        if count == 1:
            return candidates[first]
        second = (first + 1 + int(self._chance() * (count - 1))) % count
        return min(candidates[first], candidates[second], key=lambda each: each.in_flight)


BALANCERS: Mapping[str, Callable[[], Balancer]] = {
    "least_loaded": LeastLoaded,
    "round_robin": RoundRobin,
    "power_of_two": PowerOfTwo,
    "hash": LeastLoaded,  # for rows without a key; the others' replica is told by `rendezvous`
}
"""Balancers by the name that a graph gives them."""


def rendezvous(keys: Array, names: Sequence[Hashable], salt: str) -> npt.NDArray[np.int64]:
    """The replica of each key.

    Args:
        keys: texts, bytes or numbers, shape `[rows]`; see `nodes.split.canonical_bytes`.
        names: of the replicas that can be called, at least one.
        salt: names the model, so that several models do not send the same keys to the same places.

    Returns:
        The place of each row's replica in `names`, shape `[rows]`; -1 where the key is missing.
    """
    weights: dict[Any, float] = dict.fromkeys(map(str, names), 1.0)
    return choose_arms(keys, weights, salt)
