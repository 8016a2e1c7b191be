"""What a step may ask for, and how times and sizes are written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from motet.errors import InputError

__all__ = ["StepOptions", "StepResources", "read_duration_s", "read_memory_bytes"]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNITS_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
MOST_RETRIES = 100


@dataclass(frozen=True, slots=True)
class StepResources:
    """What a step needs while it runs; nothing by default.

    Attributes:
        cpu: cores of each worker.
        memory_bytes: memory of each worker.
        accelerator: accelerators of each worker.
        workers: processes that the step itself starts, such as those of a distributed training.
    """

    cpu: float = 0.0
    memory_bytes: int = 0
    accelerator: int = 0
    workers: int = 1

    @property
    def asked(self) -> bool:
        """Whether it needs anything."""
        return self != StepResources()

    @property
    def total_cpu(self) -> float:
        """Cores of all workers together; a step of several workers that names no cores takes one each."""
        return (self.cpu or (1.0 if self.workers > 1 else 0.0)) * self.workers

    @property
    def total_memory_bytes(self) -> int:
        """Memory of all workers together."""
        return self.memory_bytes * self.workers

    @property
    def total_accelerator(self) -> int:
        """Accelerators of all workers together."""
        return self.accelerator * self.workers


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How a step is run.

    Attributes:
        retries: how often it is tried again after an error, a timeout, or the end of its process.
        backoff_s: seconds before the first new try; they double each time, up to ten minutes.
        timeout_s: seconds that a try may take; None is no limit.
        resources: what it needs while it runs.
        process: whether it runs in a process of its own; None is where it asks for resources, has a timeout, or may run
            beside others and sets what its process has once.
    """

    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None
    resources: StepResources = StepResources()
    process: bool | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= MOST_RETRIES:
            raise InputError(f"retries={self.retries!r}", where="step", hint=f"from 0 to {MOST_RETRIES}")
        if self.backoff_s < 0 or (self.timeout_s is not None and self.timeout_s <= 0):
            raise InputError(
                f"backoff_s={self.backoff_s!r}, timeout_s={self.timeout_s!r}", where="step", hint="above 0"
            )
        found = self.resources
        if found.cpu < 0 or found.memory_bytes < 0 or found.accelerator < 0 or found.workers < 1:
            raise InputError(f"{found}", where="step", hint="resources are not negative, and workers at least 1")
        if self.process is False and self.timeout_s is not None:
            raise InputError(
                "timeout_s needs a process that can be ended, and process=False forbids one",
                where="step",
                hint="leave one of the two out",
            )

    @property
    def own_process(self) -> bool:
        """Whether the step runs in a process of its own."""
        return self.process if self.process is not None else self.resources.asked or self.timeout_s is not None


def read_duration_s(value: Any, where: str) -> float:
    """Seconds: a number, or a number and a unit (`90s`, `15m`, `12h`, `14d`, `2w`)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _UNITS_S:
        raise InputError(f"{value!r} is no time", where=where, hint=f"a number and a unit: {', '.join(_UNITS_S)}")
    return float(found[1]) * _UNITS_S[found[2]]


def read_memory_bytes(value: Any, where: str) -> int:
    """Bytes: a whole number, or a number and a unit (`512MiB`, `2GB`)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _UNITS_BYTES:
        hint = f"a number and a unit: {', '.join(filter(None, _UNITS_BYTES))}"
        raise InputError(f"{value!r} is no amount of memory", where=where, hint=hint)
    return int(float(found[1]) * _UNITS_BYTES[found[2]])
