"""By how much the memory of this process grows: at most, as Linux counts it; elsewhere what it has grown by.

What libraries bring along counts for the model that is loaded first, and a model in a process of its own counts by what that has. So
these are numbers of a process that plays this graph, and no exact sizes of models.
"""

from __future__ import annotations

import time
from pathlib import Path

from motet.engines.local.report import peak_memory_bytes
from motet.engines.needs import models_of
from motet.graph.check import CheckedGraph
from motet.models.registry import is_address
from motet.planning.capacity.profile import ModelProfile
from motet.runtime.host import Host
from motet.runtime.resources.memory import resident_bytes, trim

__all__ = ["MemoryWatch", "load_models"]

MOST_LAZY = 8
"""Models that come and go of which so many are loaded to see what they take; of the others it is not known."""


class MemoryWatch:
    """Memory of this process.

    Attributes:
        base: when it was made.
    """

    def __init__(self) -> None:
        trim()
        self.base = self._begun = max(resident_bytes(), _resident())
        self._resets = False
        self.begin()

    def begin(self) -> None:
        """Count anew from here."""
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._resets = True
        except OSError:
            self._resets = False
        self._begun = _resident()

    def grown(self) -> int:
        """By how much it grew at most since it began."""
        now = peak_memory_bytes() if self._resets else _resident()
        return max(0, now - self._begun)


def _resident() -> int:
    """Memory that is in use, what is shared with files included."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return peak_memory_bytes()
    _, found, after = status.partition("\nVmRSS:")
    return int(after.split(maxsplit=1)[0]) * 1024 if found else peak_memory_bytes()


def load_models(checked: CheckedGraph, host: Host) -> dict[str, ModelProfile]:
    """Load the models of a graph one after another, and see what each takes; of those that come and go a few, which go again."""
    found: dict[str, ModelProfile] = {}
    lazy = 0
    for model, folder in models_of(checked, checked.order):
        said = model.resources.written()
        if is_address(model.uri):
            found[model.name] = ModelProfile(model.name, declared=_numbers(said), elsewhere=True)
            continue
        comes_and_goes = host.lazy_key(model, folder) is not None and not model.resident
        lazy += comes_and_goes
        if comes_and_goes and lazy > MOST_LAZY:
            found[model.name] = ModelProfile(model.name, declared=_numbers(said))
            continue
        watch, begun = MemoryWatch(), time.perf_counter()
        hosted = host.model(model, folder)
        seconds = time.perf_counter() - begun
        elsewhere = sum(each.memory_bytes for each in hosted.replicas.status())
        found[model.name] = ModelProfile(model.name, elsewhere or watch.grown(), seconds, declared=_numbers(said))
        if comes_and_goes:
            host.drop(hosted)
    return found


def _numbers(said: dict[str, object]) -> dict[str, float]:
    from motet.graph.fields import read_bytes

    return {
        name: float(read_bytes(value, name)) if name == "memory" else float(str(value)) for name, value in said.items()
    }
