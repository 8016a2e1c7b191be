"""What graphs can ask for, and which engines do it: declared as data, from which the table in the docs is made.

A graph may be run by an engine that lacks something it asks for where that changes only speed, never answers; `motet
check` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import motet.nodes  # noqa: F401  (the kinds register themselves)
from motet.engines.engine import ENGINES
from motet.graph.capacity import Batching, Resources
from motet.graph.graph import GraphSpec
from motet.graph.model import Model
from motet.graph.node import KINDS, Node

__all__ = ["FEATURES", "GraphFeature", "lacking"]


@dataclass(frozen=True)
class GraphFeature:
    """Something that a graph can ask for.

    Attributes:
        name: how a graph file writes it.
        meaning: what it asks for.
        lacks: why an engine does not do it, by the engine's name; an engine that is not named does.
        asked_by_model: whether a model asks for it.
        asked_by_node: whether a node asks for it.
    """

    name: str
    meaning: str
    lacks: dict[str, str]
    asked_by_model: Callable[[Model], bool] = lambda model: False
    asked_by_node: Callable[[Node], bool] = lambda node: False


_NOT_COUNTED = {"local": "not yet: it has one process, and does not count them"}

FEATURES: tuple[GraphFeature, ...] = (
    *(GraphFeature(f"{kind} nodes", "", {}, asked_by_node=lambda node, kind=kind: node.kind == kind) for kind in KINDS),  # type: ignore[misc]
    GraphFeature("batch.rows", "how many rows a call has", {}, lambda model: model.batch.rows is not None),
    GraphFeature("batch.max_rows", "the most rows a call may have", {}, lambda model: model.batch.max_rows is not None),
    GraphFeature(
        "batch.max_cost",
        "the most that the rows of a call may cost",
        {},
        lambda model: model.batch.max_cost is not None or model.batch.cost is not None,
    ),
    GraphFeature("batch.pad", "rows of different shapes in one call", {}, lambda model: model.batch.pad is not None),
    GraphFeature(
        "batch.max_wait_ms",
        "how long rows may wait to fill a call",
        dict.fromkeys(ENGINES, "never: in bulk there are always more rows, so none waits"),
        lambda model: model.batch.max_wait_ms != Batching().max_wait_ms,
    ),
    GraphFeature(
        "replicas",
        "copies of a model that share its calls",
        {},
        lambda model: model.max_replicas > 1 or bool(model.uris),
    ),
    GraphFeature(
        "placement", "copies in processes of their own, or in one that all share", {}, lambda model: model.has_process
    ),
    GraphFeature("balance", "which replica answers", {}, lambda model: model.balance != "least_loaded"),
    GraphFeature("resources.cpu", "threads of a call", {}, lambda model: model.resources.cpu != Resources().cpu),
    GraphFeature(
        "resources.memory",
        "memory that a replica needs",
        _NOT_COUNTED,
        lambda model: bool(model.resources.memory_bytes) and not model.has_process,
    ),
    GraphFeature(
        "resources.accelerator",
        "accelerators that a replica needs",
        _NOT_COUNTED,
        lambda model: bool(model.resources.accelerator),
    ),
    GraphFeature("device", "where a model is", {}, lambda model: model.device != "cpu"),
    GraphFeature(
        "spread",
        "which replica answers which piece of a shard",
        {},
        asked_by_node=lambda node: getattr(node, "spread", None) is not None,
    ),
)
"""Everything that a graph can ask for."""


def lacking(graph: GraphSpec, engine: str, path: str = "") -> list[str]:
    """What a graph asks for that an engine does not do: where, what, and why; graphs inside included."""
    found: list[str] = []
    for feature in FEATURES:
        reason = feature.lacks.get(engine)
        if reason is None:
            continue
        asking = [f"model {path}{name}" for name, model in graph.models.items() if feature.asked_by_model(model)]
        asking += [f"node {path}{name}" for name, node in graph.nodes.items() if feature.asked_by_node(node)]
        found += [
            f"{who} asks for {feature.name} ({feature.meaning}); the engine {engine} does that {reason}"
            for who in asking
        ]
    for name, inner in graph.graphs.items():
        found += lacking(inner, engine, f"{path}{name}/")
    return found
