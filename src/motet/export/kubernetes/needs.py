"""What a container needs, from the hints of models and steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from motet.errors import MotetError
from motet.graph.graph import GraphSpec
from motet.graph.model import Model
from motet.models.fetch import is_remote, resolve
from motet.models.registry import find_handler, is_address
from motet.runtime.resources.memory import file_bytes

__all__ = ["Needs", "cores", "local_file", "memory", "models_of", "needs_of_graph"]

BASE_BYTES = 512 << 20
"""The server itself, with ONNX Runtime."""
UNKNOWN_BYTES = 256 << 20
"""A model that says nothing of its memory, and whose file is not here."""
FILE_FACTOR = 4
"""A model that says nothing of its memory takes a few times the bytes of its file."""


@dataclass(frozen=True)
class Needs:
    """What a container is to have.

    Attributes:
        cpu: cores.
        memory_bytes: memory.
        accelerators: whole GPUs.
    """

    cpu: float = 0.0
    memory_bytes: int = 0
    accelerators: int = 0

    def quantities(self) -> dict[str, str]:
        """As Kubernetes writes them; what is 0 is left out."""
        found = {
            "cpu": cores(self.cpu) if self.cpu else "",
            "memory": memory(self.memory_bytes) if self.memory_bytes else "",
            "nvidia.com/gpu": str(self.accelerators) if self.accelerators else "",
        }
        return {name: value for name, value in found.items() if value}

    def resources(self, most: Needs | None = None) -> dict[str, dict[str, str]]:
        """Requests, and limits: these, or what it may take at most."""
        given = self.quantities()
        return {"requests": given, "limits": most.quantities() if most else given} if given else {}


def cores(cpu: float) -> str:
    """Cores as a quantity: `2`, `500m`."""
    thousandths = math.ceil(round(cpu * 1000, 6))
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def memory(size_bytes: int) -> str:
    """Bytes as a quantity, in whole Mi, rounded up."""
    return f"{math.ceil(size_bytes / (1 << 20))}Mi"


def models_of(graph: GraphSpec) -> Iterator[tuple[Model, str]]:
    """The models of a graph and of the graphs inside it, each once, with the folder that its URI is relative to."""
    seen: list[tuple[Model, str]] = []
    graphs = [graph]
    while graphs:
        each = graphs.pop()
        graphs += each.graphs.values()
        for model in each.models.values():
            if (model, each.folder) not in seen:
                seen.append((model, each.folder))
                yield model, each.folder


def needs_of_graph(graph: GraphSpec) -> tuple[Needs, Needs]:
    """What a graph's server needs at first, and with as many replicas as its models may have.

    Models in the server's own process share its cores, so the one that asks for most counts; each replica in a process
    of its own adds its own. Models behind addresses need nothing here. A model that says nothing of its memory counts
    with a few times the size of its file.
    """
    local = [(model, folder) for model, folder in models_of(graph) if not is_address(model.uri)]
    first = _sum([(model, folder, max(model.num_replicas, 1)) for model, folder in local])
    most = _sum([(model, folder, model.max_replicas) for model, folder in local])
    return Needs(first.cpu, first.memory_bytes, most.accelerators), most  # GPUs cannot be given beyond a request


def _sum(models: list[tuple[Model, str, int]]) -> Needs:
    shared = max((model.resources.cpu for model, _, _ in models if not model.has_process), default=1.0)
    own = sum(model.resources.cpu * count for model, _, count in models if model.has_process)
    accelerators = sum(model.resources.accelerator * count for model, _, count in models)
    if not accelerators and any(model.device != "cpu" for model, _, _ in models):
        accelerators = 1.0
    used = sum(_memory_bytes(model, folder) * count for model, folder, count in models)
    return Needs(shared + own, BASE_BYTES + used, math.ceil(round(accelerators, 6)))


def _memory_bytes(model: Model, folder: str) -> int:
    if model.resources.memory_bytes:
        return model.resources.memory_bytes
    path = local_file(model, folder)
    return FILE_FACTOR * file_bytes(path) if path is not None else UNKNOWN_BYTES


def local_file(model: Model, folder: str) -> str | None:
    """The path of a model that is on this machine's disk; None for others."""
    try:
        handler, location = find_handler(model.uri)
    except MotetError:
        return None
    if not handler.has_file:
        return None
    path = resolve(location, folder or None)
    return None if is_remote(path) else path
