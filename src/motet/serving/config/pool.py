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
from typing import Any

from motet.errors import GraphError
from motet.graph.capacity import read_bytes
from motet.graph.fields import Fields
from motet.graph.pool import Places, read_places
from motet.runtime.resources.need import machine
from motet.runtime.resources.pool import Pool

__all__ = ["PoolConfig"]

_PLACES = ("max_loaded", "memory", "max_swap_wait_ms")
_KEYS = (*_PLACES, "folder", "cpu", "accelerator", "accelerator_memory", "scratch")


@dataclass(frozen=True)
class PoolConfig:
    """What a server says of its pool.

    Attributes:
        places: of its models; None where each is loaded and stays.
        pool: what it shares, and its replicas borrow from; None where there is none.
    """

    places: Places | None = None
    pool: Pool | None = None

    @classmethod
    def read(cls, value: Any, where: str = "pool") -> PoolConfig:
        """The configuration as it was written; None is an empty one.

        Raises:
            GraphError: when a key is unknown, or a value cannot be.
            InputError: when the folder cannot be used.
        """
        if value is None:
            return cls()
        fields = Fields(value, where, _KEYS)
        said = {key: fields.raw(key) for key in _PLACES if key in fields}
        places = read_places(said, where) if "max_loaded" in said or "memory" in said else None
        if places is None and said:
            raise GraphError("max_swap_wait_ms has no meaning without max_loaded or memory", where=where)
        folder = fields.take("folder", str, "")
        amounts: dict[str, float] = {}
        for key in ("cpu", "accelerator"):
            if key in fields:
                amounts[key] = float(fields.take(key, float))
                if not amounts[key] >= 0:
                    raise GraphError(f"must not be negative; got {amounts[key]}", where=fields.place(key))
        for key, name in (("accelerator_memory", "accelerator_bytes"), ("scratch", "scratch_bytes")):
            if key in fields:
                amounts[name] = read_bytes(fields.raw(key), fields.place(key))
        if not folder and not amounts:
            return cls(places)
        return cls(places, Pool(replace(machine(), **amounts), folder=folder or None, name="motet serve"))
