"""What a worker must have, as Beam's resource hints."""

from __future__ import annotations

import math

from motet.engines.needs import PLAIN
from motet.runtime.resources.need import Need

__all__ = ["hints_of"]


def hints_of(need: Need) -> dict[str, str]:
    """The hints by name: `cpu_count`, `min_ram` and `accelerator`; what nobody asks for is left out."""
    hints: dict[str, str] = {}
    if need.cpu > PLAIN.cpu:
        hints["cpu_count"] = str(math.ceil(need.cpu))
    if need.memory_bytes:
        hints["min_ram"] = f"{math.ceil(need.memory_bytes)}B"
    if need.accelerator:
        hints["accelerator"] = f"count:{math.ceil(need.accelerator)}"
    return hints
