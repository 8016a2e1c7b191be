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
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Array
from motet.nodes.split import choose_arms
from motet.runtime.replicas.slot import Slot

__all__ = ["BALANCERS", "Balancer", "least_loaded", "power_of_two", "rendezvous", "round_robin"]


Balancer = Callable[[Sequence[Slot]], Slot]
"""Chooses one of at least one."""


def least_loaded(slots: Sequence[Slot]) -> Slot:
    """The one with the fewest calls under way, of equals the one that has waited longest."""
    return min(slots, key=lambda each: (each.in_flight, each.turn))


def round_robin(slots: Sequence[Slot]) -> Slot:
    """The one that has waited longest."""
    return min(slots, key=lambda each: each.turn)


def power_of_two(slots: Sequence[Slot], chance: Callable[[], float] = random.random) -> Slot:
    """Of two different ones by chance, where there are two, the one with fewer calls.

    Args:
        slots: the replicas.
        chance: a number from 0 to 1, 1 left out.
    """
    count = len(slots)
    first = int(chance() * count)
    if count == 1:
        return slots[first]
    second = (first + 1 + int(chance() * (count - 1))) % count
    return min(slots[first], slots[second], key=lambda each: each.in_flight)


BALANCERS: Mapping[str, Balancer] = {
    "least_loaded": least_loaded,
    "round_robin": round_robin,
    "power_of_two": power_of_two,
    "hash": least_loaded,  # for rows without a key; the others' replica is told by `rendezvous`
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
