"""`pool:` of a server's configuration: the places of its models, and what it shares with other work of its machine.

pool:
  max_loaded: 8            # models that may be loaded at the same time, of all graphs, in each process
  memory: 4GiB             # what they may take together
  max_swap_wait_ms: 1000   # how long rows whose model is not loaded may be passed over
  folder: /run/motet       # shared with bulk runs (`motet run --pool`), workflows and other servers of the machine
  cpu: 8                   # what there is to share; what the machine has where nothing is said
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from motet.graph.pool import MAX_SWAP_WAIT_MS, Places
from motet.graph.section import Bytes, KeyRule, Section, between
from motet.runtime.resources.need import machine
from motet.runtime.resources.pool import Pool

__all__ = ["PoolConfig"]

_Amount = Annotated[float, between(0)]


@dataclass(frozen=True)
class PoolConfig(Section):
    """What a server says of its pool.

    Attributes:
        max_loaded: models that may be loaded at the same time, of all graphs, in each process; None for any number.
        memory: what they may take together; None for any amount.
        max_swap_wait_ms: how long rows whose model is not loaded may be passed over.
        folder: what is shared with bulk runs, workflows and other servers of the machine; None for nothing.
        cpu: the cores that there are to share; None for those of the machine, like what follows.
        accelerator: accelerators.
        accelerator_memory: their memory.
        scratch: room for files of the moment.
    """

    max_loaded: Annotated[int, between(1)] | None = None
    memory: Annotated[Bytes, between(1)] | None = None
    max_swap_wait_ms: Annotated[float, between(0, above=True), KeyRule(needs=("max_loaded", "memory"))] = (
        MAX_SWAP_WAIT_MS
    )
    folder: str | None = None
    cpu: _Amount | None = None
    accelerator: _Amount | None = None
    accelerator_memory: Bytes | None = None
    scratch: Bytes | None = None

    @property
    def places(self) -> Places | None:
        """Of its models; None where each is loaded and stays."""
        if self.max_loaded is None and self.memory is None:
            return None
        return Places(self.max_loaded, self.memory or 0, self.max_swap_wait_ms)

    @property
    def pool(self) -> Pool | None:
        """What it shares, made anew, and its replicas borrow from; None where there is none.

        Raises:
            InputError: when the folder cannot be used.
        """
        said = {
            "cpu": self.cpu,
            "accelerator": self.accelerator,
            "accelerator_bytes": self.accelerator_memory,
            "scratch_bytes": self.scratch,
        }
        amounts = {name: amount for name, amount in said.items() if amount is not None}
        if not self.folder and not amounts:
            return None
        return Pool(replace(machine(), **amounts), folder=self.folder or None, name="motet serve")
