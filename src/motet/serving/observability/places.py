"""The places that models share, in all processes of a server, and the pool that the server shares with its machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from motet.runtime.residency.cache import ResidencyCache
from motet.runtime.resources.need import Need
from motet.runtime.resources.pool import Pool
from motet.serving.observability.board import Board
from motet.serving.observability.counters import Counters, Followed, Gauges

__all__ = ["Lender", "PlacesBoard", "pool_status"]

SUFFIX = ".places"
RESOURCES = ("cpu", "memory_bytes", "accelerator", "accelerator_bytes", "scratch_bytes")
Seen = Mapping[str, Any]


class Lender(Protocol):
    """What is read of a repository."""

    pool: Pool | None

    @property
    def busy(self) -> bool:
        """Whether it loads or ends, which may hold the event loop for long."""
        ...

    @property
    def residency(self) -> ResidencyCache[Any]:
        """The models that share places."""
        ...


class PlacesBoard(Board):
    """Shows the places of this process, and knows those of the others; counts what is lent.

    Args:
        folder: what the processes of the server share.
        cells: of this process.
    """

    def __init__(self, folder: Path, cells: Counters) -> None:
        super().__init__(folder, cells.id, SUFFIX)
        self._cells, self._loads, self._gauges = cells, Followed(cells), Gauges(cells)

    def look(self, lender: Lender) -> tuple[list[Seen], Need | None]:
        """The places of this process, written down for the others, and what it has borrowed. Any thread."""
        found = places(lender.residency)
        self.show(found)
        if lender.pool is None:
            return found, None
        mine = [each.held for each in lender.pool.holders() if each.pid == os.getpid()]
        return found, sum(mine, Need())

    def count(self, found: Sequence[Seen], borrowed: Need | None, capacity: Need | None) -> None:
        """Put what was seen into the cells, in the thread of their process's event loop."""
        gauges: dict[int, float] = {}
        for each in found:
            labels = {"places": each["name"]}
            gauges[self._cells.at("gauge", "motet_places_loaded", **labels)] = each["loaded"]
            gauges[self._cells.at("gauge", "motet_places_waiting_rows", **labels)] = each["waiting_rows"]
            self._loads.follow(self._cells.at("counter", "motet_places_loads", **labels), each["loads"])
        if borrowed is not None and capacity is not None:
            for name in RESOURCES:
                have = getattr(capacity, name)
                if 0 < have < float("inf"):
                    gauges[self._cells.at("gauge", "motet_pool_borrowed", resource=name)] = getattr(borrowed, name)
                    self._cells.values[self._cells.at("latest", "motet_pool_capacity", resource=name)] = have
        self._gauges.show(gauges)

    def close(self) -> None:
        """Show nothing any more."""
        self.count((), None, None)
        super().close()


def places(residency: ResidencyCache[Any]) -> list[Seen]:
    """Which models share places, and which of them are loaded.

    Returns:
        for each group of places `name`, `max_loaded`, `memory_bytes` (None and 0 for any), `loaded` (models), `loads` (in all),
        `waiting_rows`, `models_known`, and under `models` those that are loaded, were, or are waited for: `name`, `state`
        (`in`, `out`, `loading`, `leaving`), `users`, `memory_bytes`, `waiting_rows`, `loads`, `error`.
    """
    held = {each.key: each for each in residency.held()}
    found: list[Seen] = []
    for group in residency.groups:
        mine = [held[key] for key in list(group.members) if key in held]
        models = [
            {
                "name": each.key.name,  # type: ignore[attr-defined]
                "state": each.state,
                "users": each.users,
                "memory_bytes": each.memory_bytes,
                "waiting_rows": each.waiting_rows,
                "loads": each.loads,
                "error": "" if each.error is None else str(each.error),
            }
            for each in mine
            if each.loads or each.waiting_rows or each.state != "out" or each.error
        ]
        found.append(
            {
                "name": group.name,
                "max_loaded": group.max_loaded,
                "memory_bytes": group.memory_bytes,
                "loaded": sum(each.state in ("in", "leaving") for each in mine),
                "loads": sum(each.loads for each in mine),
                "waiting_rows": sum(each.waiting_rows for each in mine),
                "models_known": len(mine),
                "models": sorted(models, key=lambda each: (-each["loads"], each["name"])),
            }
        )
    return found


def pool_status(pool: Pool) -> Seen:
    """What a pool has, and who has borrowed how much of it: all processes of the machine. Any thread.

    Returns:
        `capacity`: amounts by resource, those that are counted; `holders`: `who`, `pid`, `priority`, and amounts under `held` and
        `waiting`.
    """
    capacity = {name: have for name, have in pool.capacity.amounts().items() if 0 < have < float("inf")}
    holders = [
        {
            "who": each.who,
            "pid": each.pid,
            "priority": each.priority,
            "held": {name: getattr(each.held, name) for name in capacity},
            "waiting": {name: getattr(each.waiting, name) for name in capacity},
        }
        for each in pool.holders()
    ]
    return {"capacity": capacity, "holders": holders}
