"""Steps that set what their process has once, in a process where others run: one at a time, and what they set is put back."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from graphlib import TopologicalSorter
from itertools import accumulate
from threading import Condition
from typing import Any

from motet.system.places import current_folder
from motet.workflow.steps import PlannedStep

__all__ = ["Turns", "beside_others", "put_back"]

_POLL_S = 0.1


class Turns:
    """Who runs in this process: any number of steps beside each other, or one alone.

    Args:
        cancelled: whether nobody is to wait any longer.
    """

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled, self._changed = cancelled, Condition()
        self._running, self._alone, self._waiting = 0, False, 0

    @contextmanager
    def beside(self) -> Iterator[bool]:
        """Run beside others; False where the run was cancelled before."""
        with self._changed:
            held = self._wait(lambda: not self._alone and not self._waiting)
            self._running += held
        try:
            yield held
        finally:
            with self._changed:
                self._running -= held
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Run while no other does; False where the run was cancelled before."""
        with self._changed:
            self._waiting += 1
            held = self._wait(lambda: not self._alone and not self._running)
            self._alone = self._alone or held
            self._waiting -= 1
        try:
            yield held
        finally:
            with self._changed:
                self._alone = self._alone and not held
                self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> bool:
        while not ready():
            if self._cancelled():
                return False
            self._changed.wait(_POLL_S)
        return True


def beside_others(nodes: Sequence[PlannedStep]) -> frozenset[int]:
    """The places of the steps of a plan that another one may run beside: one that neither needs it nor is needed by it.

    In an order in which each comes after what it needs, those before a step are all needed by it where each is needed by one
    up to it, and those behind it all need it where each needs one from it on.
    """
    needs = {each.place: [other.place for other in each.needs()] for each in nodes}
    order = [*TopologicalSorter(needs).static_order()]
    at = {place: number for number, place in enumerate(order)}
    first_use, last_need = [len(order)] * len(order), [-1] * len(order)
    for number, place in enumerate(order):
        for other in needs[place]:
            first_use[at[other]] = min(first_use[at[other]], number)
            last_need[number] = max(last_need[number], at[other])
    before = [0, *accumulate(first_use, max)]
    behind = [len(order), *accumulate(reversed(last_need), min)][::-1]
    return frozenset(place for number, place in enumerate(order) if not before[number] <= number <= behind[number + 1])


@contextmanager
def put_back(shared: Iterable[str]) -> Iterator[None]:
    """Meanwhile, what is set of this process holds; then it is as it was, as far as it is known here how to put it back.

    Args:
        shared: what is set. Without a seed among it, generators of random numbers go on from where they are then.
    """
    kept = [*_KEPT, *(_GENERATORS if any(_SEEDS.search(each) for each in shared) else ())]
    found = [(sys.modules[name], get, put) for name, get, put in kept if name in sys.modules]
    before = [(module, put, get(module)) for module, get, put in found]
    try:
        yield
    finally:
        for module, put, value in before:
            put(module, value)


def _put_folder(module: Any, value: str | None) -> None:
    with suppress(OSError):  # it may be gone
        module.chdir(value or os.sep)


def _put_environment(module: Any, value: dict[str, str]) -> None:
    for name in module.environ.keys() - value.keys():
        del module.environ[name]
    module.environ.update(value)
    time.tzset()


def _put_filters(module: Any, value: list[Any]) -> None:
    module.filters[:] = value
    module._filters_mutated()  # what was warned of once may be warned of again


_Kept = tuple[str, Callable[[Any], Any], Callable[[Any, Any], Any]]
_KEPT: tuple[_Kept, ...] = (
    ("os", lambda _: current_folder(), _put_folder),
    ("os", lambda module: dict(module.environ), _put_environment),
    ("sys", lambda module: list(module.path), lambda module, value: module.path.__setitem__(slice(None), value)),
    ("warnings", lambda module: list(module.filters), _put_filters),
    (
        "locale",
        lambda module: module.setlocale(module.LC_ALL),
        lambda module, value: module.setlocale(module.LC_ALL, value),
    ),
    ("numpy", lambda module: module.geterr(), lambda module, value: module.seterr(**value)),
    ("torch", lambda module: module.get_default_dtype(), lambda module, value: module.set_default_dtype(value)),
    ("matplotlib", lambda module: dict(module.rcParams), lambda module, value: module.rcParams.update(value)),
)
"""What is put back of a module: how it is got, and how it is set."""
_GENERATORS: tuple[_Kept, ...] = (
    ("random", lambda module: module.getstate(), lambda module, value: module.setstate(value)),
    ("numpy.random", lambda module: module.get_state(), lambda module, value: module.set_state(value)),
    ("torch", lambda module: module.get_rng_state(), lambda module, value: module.set_rng_state(value)),
)
_SEEDS = re.compile("seed|state|rng")
