"""What a task or an actor asks of the cluster, and whether it has that: Ray lets wait for ever what it has no room for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from motet.errors import InputError
from motet.runtime.resources.need import Need

__all__ = ["TaskRoom", "is_amount"]

PRECISION = 10_000
"""Ray counts in parts of this many."""
THERE = "those that an autoscaler would start count once they are there"


@dataclass(frozen=True)
class TaskRoom:
    """What one task or actor has to itself.

    Attributes:
        num_cpus, num_gpus: of these; below 1 a part, above it whole ones.
        memory_bytes: memory that is counted.

    Raises:
        InputError: when one is no such number.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_bytes: float = 0

    @classmethod
    def of(cls, need: Need, num_cpus: float | None = None, num_gpus: float | None = None) -> TaskRoom:
        """What is needed, where nothing else is said."""
        cpus = _countable(need.cpu) if num_cpus is None else num_cpus
        return cls(cpus, _countable(need.accelerator) if num_gpus is None else num_gpus, need.memory_bytes)

    def __post_init__(self) -> None:
        for name in ("num_cpus", "num_gpus"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not is_amount(value):
                hint = "such as 2, 1, 0.5 or 0"
                what = f"{name} must be a part of 1, or a whole number; got {value!r}"
                raise InputError(what, where="motet.ray", hint=hint)

    @property
    def options(self) -> dict[str, float]:
        """What Ray's tasks and actors take."""
        room = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        return {**room, "memory": self.memory_bytes} if self.memory_bytes else room

    def check_task(self, ray: Any, where: str = "engine ray") -> None:
        """See that a node has room for one: else it would wait for ever.

        Args:
            where: what asks, for the message.

        Raises:
            InputError: when none has.
        """
        if not any(self._room(node) for node in _nodes(ray)):
            hint = f"ask for less with --num-cpus and --num-gpus, or resources of the models, or start a node that has it; {THERE}"
            raise InputError(f"no node has what a task asks for: {self}", where=where, hint=hint)

    def check_pool(self, ray: Any, actors: int) -> None:
        """See that actors, which keep what they have, find room, and leave a whole CPU to what reads and writes.

        Raises:
            InputError: when they do not, wherever Ray may put them.
        """
        self.check_room(ray, actors, "actors")
        taking = sum(self._taking(node) for node in _nodes(ray))
        if actors >= taking:
            what = (
                f"{actors} actors with {self} each may leave no CPU to read and write with, and all would wait for ever"
            )
            fewer = f"at most {taking - 1:g} actors, or " if taking > 1 else ""
            raise InputError(what, where="motet.ray", hint=f"{fewer}ask for a smaller part of a CPU: num_cpus=0.25")

    def check_room(self, ray: Any, count: int, of: str) -> None:
        """See that so many find room on the nodes that there are.

        Args:
            of: what they are, for the message.

        Raises:
            InputError: when they do not.
        """
        room = sum(self._room(node) for node in _nodes(ray))
        if count > room:
            hint = f"at most {room:g}, or ask for less with num_cpus and num_gpus, or start more nodes; {THERE}"
            raise InputError(f"there is no room for {count} {of} with {self} each", where="motet.ray", hint=hint)

    def _room(self, node: dict[str, float]) -> float:
        """How many a node has room for."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory_bytes}
        return min(_times(node.get(name, 0.0), count) for name, count in wanted.items())

    def _taking(self, node: dict[str, float]) -> float:
        """How many leave a node no whole CPU; infinite where none do, 0 where it has none to begin with."""
        cpus = node.get("CPU", 0.0)
        if cpus < 1:
            return 0
        needed = _times(cpus - 1, self.num_cpus) + 1
        return needed if needed <= self._room(node) else math.inf

    def __str__(self) -> str:
        memory = f", {self.memory_bytes:,.10g} bytes of memory" if self.memory_bytes else ""
        return f"{self.num_cpus:g} CPU, {self.num_gpus:g} GPU{memory}"


def _countable(amount: float) -> float:
    """So much, or the next that Ray can count."""
    return amount if amount <= 1 else math.ceil(amount)


def is_amount(number: float) -> bool:
    """Whether Ray can count so many: a part of one, or whole ones."""
    return number == 0 or 1 / PRECISION <= number <= 1 or (1 < number < math.inf and number == int(number))


def _nodes(ray: Any) -> Iterator[dict[str, float]]:
    """What each node that lives has in all."""
    return (node["Resources"] for node in ray.nodes() if node["Alive"])


def _times(there: float, each: float) -> float:
    """How often something goes into what is there."""
    return math.inf if each == 0 else math.floor(round(there * PRECISION) / round(each * PRECISION))
