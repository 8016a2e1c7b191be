"""Amounts of what can be borrowed: processors, memory, accelerators and their memory, scratch disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motet.errors import InputError
from motet.system.limits import memory_bytes, num_cores
from motet.system.places import free_bytes

__all__ = ["Need", "machine"]

KINDS = {  # in the order of the fields of `Need`
    "cpu": "cores",
    "memory_bytes": "bytes of memory",
    "accelerator": "accelerators",
    "accelerator_bytes": "bytes of accelerator memory",
    "scratch_bytes": "bytes of scratch disk",
}
UNCOUNTED = float("inf")


@dataclass(frozen=True)
class Need:
    """An amount of each resource.

    Attributes:
        cpu: cores.
        memory_bytes: memory.
        accelerator: accelerators, or a part of one.
        accelerator_bytes: memory of accelerators.
        scratch_bytes: disk for what is only needed for a while.
    """

    cpu: float = 0.0
    memory_bytes: float = 0
    accelerator: float = 0.0
    accelerator_bytes: float = 0
    scratch_bytes: float = 0

    def __post_init__(self) -> None:
        for name in KINDS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise InputError(f"{name} must be a number of at least 0; got {value!r}", where="need")

    def amounts(self) -> dict[str, float]:
        """Each resource's amount, by name."""
        return {name: getattr(self, name) for name in KINDS}

    def __add__(self, other: Need) -> Need:
        """Both together."""
        return Need(*(getattr(self, name) + getattr(other, name) for name in KINDS))

    def __sub__(self, other: Need) -> Need:
        """What is left of this; at least 0."""
        return Need(*(max(0.0, getattr(self, name) - getattr(other, name)) for name in KINDS))

    def within(self, other: Need) -> bool:
        """Whether another one has as much of everything."""
        return all(getattr(self, name) <= getattr(other, name) + 1e-9 for name in KINDS)

    def beyond(self, other: Need) -> str:
        """What of this another one does not have, for messages; empty where it has all."""
        theirs = other.amounts()
        found = [
            f"{value:g} {KINDS[name]} (there are {theirs[name]:g})"
            for name, value in self.amounts().items()
            if value > theirs[name] + 1e-9
        ]
        return ", ".join(found)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Need:
        """The inverse of `amounts`."""
        return cls(**{name: float(value.get(name, 0.0)) for name in KINDS})


def machine(scratch: str = "") -> Need:
    """What this machine has, as far as this process may use it: accelerators' memory is not counted.

    Args:
        scratch: the folder whose free disk counts; the system's folder for temporary files when empty.
    """
    try:
        accelerators = len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        accelerators = 0
    return Need(num_cores(), memory_bytes(), accelerators, UNCOUNTED, free_bytes(scratch))
