"""The hints of a plan in a graph: what its models ask for, and replicas of those in processes.

Rows of calls are none: each machine finds its own, and what was found where the plan was made would bound them elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from motet.graph.capacity import Resources
from motet.graph.fields import write_bytes
from motet.graph.graph import GraphSpec
from motet.graph.model import Model
from motet.planning.capacity.pools import PoolPlan, StagePool

__all__ = ["Hints", "hinted", "hints_of"]

Hints = Mapping[str, Mapping[str, Any]]
"""By model the keys of a graph file that are set, each as a whole."""


def hints_of(graph: GraphSpec, plan: PoolPlan, memory: Mapping[str, Resources]) -> dict[str, dict[str, Any]]:
    """What a plan has to say of models that say nothing themselves.

    Args:
        graph: the graph.
        plan: the plan to go by.
        memory: by model what it is to ask for.
    """
    asked: dict[str, dict[str, Any]] = {
        name: {"memory": write_bytes(each.memory_bytes)} for name, each in memory.items()
    }
    found: dict[str, dict[str, Any]] = {}
    for pool in plan.pools:
        models = _models_of(graph, pool)
        for name in _most_asking(models, memory) if pool.threads > 1 else ():
            asked.setdefault(name, {})["cpu"] = pool.threads
        for name, model in models.items():
            if model.has_process and model.replicas == 1 and pool.threads > 1:
                found.setdefault(name, {})["replicas"] = pool.threads
    for name, resources in asked.items():
        found.setdefault(name, {})["resources"] = {**graph.models[name].resources.written(), **resources}
    return found


def hinted(graph: GraphSpec, hints: Hints) -> dict[str, Model]:
    """The models of a graph with hints, as a file with them would have them."""
    return {
        name: replace(model, **_parts(name, hints[name])) if name in hints else model
        for name, model in graph.models.items()
    }


def _parts(name: str, hints: Mapping[str, Any]) -> dict[str, Any]:
    readers: dict[str, Any] = {"resources": Resources.read}
    return {
        key: readers[key](value, f"model {name!r}: {key}") if key in readers else value for key, value in hints.items()
    }


def _models_of(graph: GraphSpec, pool: StagePool) -> dict[str, Model]:
    uses = [member.uses for name in pool.work.nodes for member in graph.nodes[name].members]
    return {name: graph.models[name] for name in dict.fromkeys(uses) if name in graph.models}


def _most_asking(models: Mapping[str, Model], memory: Mapping[str, Resources]) -> list[str]:
    """The models for which processes have several cores: those that ask for most of accelerators and memory, and say no cores."""

    def asks(name: str) -> tuple[float, int]:
        said = models[name].resources
        return said.accelerator, said.memory_bytes or (memory[name].memory_bytes if name in memory else 0)

    free = [name for name, model in models.items() if model.resources.cpu == 1.0 and max(asks(name))]
    most = max(map(asks, free), default=None)
    return [name for name in free if asks(name) == most]
