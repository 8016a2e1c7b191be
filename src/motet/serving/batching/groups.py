"""Which requests go together where models come and go: those that wait for the same models, or for none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from motet.batch import Column
from motet.serving.batching.request import Request

__all__ = ["RequestGroups"]


class RequestGroups:
    """Keeps requests apart that wait for different models, so that a row whose model is loaded waits for no other one.

    Args:
        missing: the models that rows have to wait for, by the columns of their request; None where only playing them tells,
            and each request goes alone.
    """

    def __init__(self, missing: Callable[[Mapping[str, Column]], frozenset[str]] | None) -> None:
        self._missing = missing
        self._groups: dict[int, frozenset[str]] = {}

    def in_order(self, waiting: deque[Request]) -> deque[Request]:
        """Requests that wait, those that go together side by side; groups in the order of their first request."""
        if self._missing is None or len(waiting) < 2:
            return waiting
        self._groups = groups = {id(request): self._missing(request.columns) for request in waiting}
        order = _places(groups.values())
        if len(order) < 2:
            return waiting
        return deque(sorted(waiting, key=lambda request: order[groups[id(request)]]))

    def together(self, one: Request, other: Request) -> bool:
        """Whether two requests go together, as far as is known."""
        found = self._groups.get(id(one))
        return found is not None and found == self._groups.get(id(other))


def _places(groups: Iterable[frozenset[str]]) -> dict[frozenset[str], int]:
    order: dict[frozenset[str], int] = {}
    for group in groups:
        order.setdefault(group, len(order))
    return order
