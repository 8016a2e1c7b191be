"""What was borrowed from a pool, and places in its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from motet.runtime.resources.need import Need

if TYPE_CHECKING:
    from motet.runtime.resources.pool import Pool

__all__ = ["RANKS", "Claim", "Lease", "Priority", "Waiting"]

Priority = Literal["urgent", "live", "bulk"]
RANKS: dict[str, int] = {"urgent": -1, "live": 0, "bulk": 1}


@dataclass(eq=False)
class Waiting:
    """Somebody in the line."""

    need: Need
    rank: int
    since: float
    who: str = ""

    def before(self, rank: int, since: float) -> bool:
        """Whether it stands in front of somebody else."""
        return (self.rank, self.since) < (rank, since)


class Lease:
    """What was borrowed; a context manager that gives it back. Any thread may use it."""

    def __init__(self, pool: Pool, need: Need, priority: Priority, who: str) -> None:
        self._pool, self.need, self.priority, self.who = pool, need, priority, who
        self._held = False

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether it was lent, and not given back yet."""
        return self._held

    @property
    def wanted(self) -> bool:
        """Whether work that goes before this waits for something that this holds."""
        return self._pool._wanted(self)

    def release(self) -> None:
        """Give it back. Doing so again does nothing."""
        self._pool._release(self)

    def resize(self, need: Need) -> bool:
        """Hold another amount from now on; whether there was enough. Less is always possible, more only where nobody waits."""
        return self._pool._resize(self, need)

    def join(self, other: Lease) -> None:
        """Hold what another lease of the same pool holds, too; that one is over."""
        self._pool._join(self, other)

    def breathe(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Give way to work that goes before this: where some waits, give all back, and wait in turn to have it again.

        Args:
            stopped: ends the wait when it says so.

        Returns:
            whether it is held now.
        """
        if self._held and not self.wanted:
            return True
        self.release()
        return self._pool._take(self, None, stopped)


class Claim:
    """A place in the line that no thread stands in: whoever has it looks now and then whether it is their turn."""

    def __init__(self, pool: Pool, lease: Lease) -> None:
        self._pool, self._lease = pool, lease
        self._waiting = pool._stand(lease)

    def take(self) -> Lease | None:
        """What was asked for, where it can be had now; the claim is over then."""
        return self._lease if self._pool._took(self._lease, self._waiting) else None

    def leave(self) -> None:
        """Ask no more. Doing so again does nothing."""
        self._pool._leave(self._waiting)
