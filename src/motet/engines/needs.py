"""What a worker that plays a graph must have: what its models ask for, put together."""

from __future__ import annotations

from collections.abc import Iterable

from motet.graph.check import CheckedGraph
from motet.graph.model import Model
from motet.models.registry import is_address
from motet.runtime.resources.need import Need

__all__ = ["PLAIN", "models_of", "need_of", "said"]

PLAIN = Need(cpu=1.0)
"""What a worker has whose models ask for nothing."""
_Placed = dict[tuple[Model, str], None]
"""Models, each once, with the folder that its URI is relative to."""


def need_of(checked: CheckedGraph, names: Iterable[str] | None = None) -> Need:
    """What a process must have that plays nodes of a graph; those that its models do not ask for are 0, but for one core.

    Models of this process share its cores, so the one that asks for most counts, and replicas in processes of their own add
    theirs. Of models that share places as many count as may be loaded, the largest. Models behind addresses need nothing here.

    Args:
        checked: the graph.
        names: of the nodes; None for all that its outputs need.
    """
    graph = checked.graph
    order = checked.order if names is None else list(names)
    found = models_of(checked, order, at_once=True)
    here = [(model, max(1, model.num_replicas)) for model, _ in found if not is_address(model.uri)]
    shared = max((model.resources.cpu for model, _ in here if not model.has_process), default=PLAIN.cpu)
    own = sum(model.resources.cpu * count for model, count in here if model.has_process)
    memory = sum(model.resources.memory_bytes * count for model, count in here)
    if graph.pool is not None and graph.pool.memory_bytes:
        memory = min(memory, graph.pool.memory_bytes)
    accelerators = sum(model.resources.accelerator * count for model, count in here)
    if not accelerators and any(model.device != "cpu" for model, _ in here):
        accelerators = 1.0
    return Need(cpu=shared + own, memory_bytes=memory, accelerator=accelerators)


def said(need: Need) -> str:
    """What a worker must have, as people read it."""
    parts = [f"{need.cpu:g} core{'s' if need.cpu != 1 else ''}"]
    if need.memory_bytes:
        parts.append(f"{need.memory_bytes / 2**20:,.4g} MiB")
    if need.accelerator:
        parts.append(f"{need.accelerator:g} accelerator{'s' if need.accelerator > 1 else ''}")
    return ", ".join(parts)


def models_of(checked: CheckedGraph, names: Iterable[str], *, at_once: bool = False) -> _Placed:
    """The models of nodes, those of graphs inside included, each once; or only as many as may be loaded at the same time."""
    graph, found = checked.graph, _Placed()
    for name in names:
        node, inside = graph.nodes[name], _Placed()
        for uses in dict.fromkeys(member.uses for member in node.members):
            if uses in checked.graphs:
                inside |= models_of(checked.graphs[uses], checked.graphs[uses].order, at_once=at_once)
            else:
                inside[graph.models[uses], graph.folder] = None
        found |= _largest(inside, getattr(node, "max_loaded", None)) if at_once else inside
    return _largest(found, graph.pool.max_loaded) if at_once and graph.pool is not None else found


def _largest(models: _Placed, places: int | None) -> _Placed:
    """As many models as have a place, those that ask for most."""
    if places is None or places >= len(models):
        return models
    asked = sorted(models, key=lambda each: (each[0].resources.accelerator, each[0].resources.memory_bytes))
    return dict.fromkeys(reversed(asked[-places:]))
