"""Resources that the steps of a run may use together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from motet.errors import InputError
from motet.system import limits
from motet.workflow.options import StepResources

__all__ = ["Budget", "Machine"]

_POLL_S = 0.2


class Budget(Protocol):
    """Who lends resources."""

    def check(self, wanted: StepResources, where: str) -> None:
        """Refuse what can never be lent."""

    @contextmanager
    def borrow(self, wanted: StepResources, stopped: Callable[[], bool]) -> Iterator[bool]:
        """Wait for resources, and hold them; gives False, and holds nothing, when `stopped` came true first."""


class Machine:
    """The cores and the memory of this machine, lent first come, first served.

    A step that asks for more cores than there are gets all of them.

    Args:
        cpu: cores; None is as many as this process may use.
        memory_bytes: memory; None is that of the machine.
        accelerator: accelerators; None is not counted.
    """

    def __init__(
        self, cpu: float | None = None, memory_bytes: int | None = None, accelerator: int | None = None
    ) -> None:
        self.cpu = cpu if cpu is not None else float(limits.num_cores())
        self.memory_bytes = memory_bytes if memory_bytes is not None else limits.memory_bytes()
        self.accelerator = accelerator
        self._cpu, self._memory, self._accelerator = 0.0, 0, 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def check(self, wanted: StepResources, where: str) -> None:
        """Refuse what this machine does not have.

        Raises:
            InputError: names what is asked for and what there is.
        """
        if wanted.total_memory_bytes > self.memory_bytes:
            raise InputError(
                f"asks for {wanted.total_memory_bytes / 2**20:,.0f} MiB of memory, this machine has "
                f"{self.memory_bytes / 2**20:,.0f} MiB",
                where=where,
                hint="ask for less, or run it on a larger machine",
            )
        if self.accelerator is not None and wanted.total_accelerator > self.accelerator:
            raise InputError(
                f"asks for {wanted.total_accelerator} accelerators, there are {self.accelerator}", where=where
            )

    @contextmanager
    def borrow(self, wanted: StepResources, stopped: Callable[[], bool]) -> Iterator[bool]:
        """Wait for resources, and hold them; gives False, and holds nothing, when `stopped` came true first."""
        me = object()
        cpu = min(wanted.total_cpu, self.cpu)
        with self._changed:
            self._queue.append(me)
            while not (self._queue[0] is me and self._fits(cpu, wanted)) and not stopped():
                self._changed.wait(_POLL_S)
            held = self._queue[0] is me and self._fits(cpu, wanted)
            self._queue.remove(me)
            if held:
                self._add(cpu, wanted, 1)
            self._changed.notify_all()
        try:
            yield held
        finally:
            if held:
                with self._changed:
                    self._add(cpu, wanted, -1)
                    self._changed.notify_all()

    def _fits(self, cpu: float, wanted: StepResources) -> bool:
        return (
            self._cpu + cpu <= self.cpu + 1e-9
            and self._memory + wanted.total_memory_bytes <= self.memory_bytes
            and (self.accelerator is None or self._accelerator + wanted.total_accelerator <= self.accelerator)
        )

    def _add(self, cpu: float, wanted: StepResources, sign: int) -> None:
        self._cpu += sign * cpu
        self._memory += sign * wanted.total_memory_bytes
        self._accelerator += sign * wanted.total_accelerator
