"""Who has borrowed what from a pool, as people are shown it: from what each process writes for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from motet.runtime.resources.lease import RANKS
from motet.runtime.resources.need import Need

__all__ = ["Holder", "holders_of"]

_PRIORITIES = {rank: priority for priority, rank in RANKS.items()}


@dataclass(frozen=True)
class Holder:
    """What one of those holds that share a pool, or waits for.

    Attributes:
        who: what it is called: `motet serve`, `motet run`, a model whose replicas borrowed it.
        pid: the process.
        priority: `urgent`, `live` or `bulk`.
        held: what it holds.
        waiting: what it waits for.
    """

    who: str
    pid: int
    priority: str
    held: Need = Need()  # noqa: RUF009 (frozen)
    waiting: Need = Need()  # noqa: RUF009 (frozen)


def holders_of(pages: Iterable[Mapping[str, Any]]) -> list[Holder]:
    """Everybody, in the order of priorities.

    Args:
        pages: what processes have written: `pid`, and lists of amounts with `who` and `rank` under `held` and `waiting`.
    """
    found: dict[tuple[int, str, int], dict[str, Need]] = {}
    for page in pages:
        for kind in ("held", "waiting"):
            for each in page[kind]:
                sums = found.setdefault((each["rank"], each["who"], page["pid"]), {})
                sums[kind] = sums.get(kind, Need()) + Need.read(each["need"])
    return [Holder(who, pid, _PRIORITIES[rank], **sums) for (rank, who, pid), sums in sorted(found.items())]
