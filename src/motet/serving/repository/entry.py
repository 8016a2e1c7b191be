"""What is served under a name: a graph, or one of its models as a graph of one node."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from motet.facade import Graph
from motet.graph.check import CheckedGraph, outer_outputs
from motet.graph.input import Input
from motet.graph.node import Inputs
from motet.nodes.model import ModelNode
from motet.runtime.host import ModelRuntime
from motet.runtime.resolve import ModelResolver
from motet.runtime.stored import number_of
from motet.serving.batching.graph_batcher import GraphBatcher
from motet.types import ANY, ColumnType, Signature

__all__ = ["GOES_ON", "STOPS", "UNLOADED", "Numbers", "RepositoryEntry", "State", "as_declared", "hosted", "models_of"]

State = Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]
UNLOADED = "unloaded"
GOES_ON = "goes on with what it has"
STOPS = "the server is about to stop"


@dataclass(eq=False)
class RepositoryEntry:
    """A graph, or one of its models, under a name.

    Attributes:
        name: what clients call it.
        kind: `graph` or `model`.
        platform: `motet_graph`, or `motet_` and the model's handler.
        graph: what is played; for a model a graph of that one node.
        batcher: plays it; None until it is loaded.
        versions: the versions that can be asked for.
        state, reason: whether it can be called, and why not; the reason may name files and addresses.
        error: the class of the error that the reason is the message of; empty for none.
        path: the graph's file; empty for a graph made in Python.
        parent: for a model the graph that it is of.
    """

    name: str
    kind: Literal["graph", "model"]
    platform: str
    graph: Graph
    batcher: GraphBatcher | None = None
    versions: tuple[str, ...] = ("1",)
    state: State = "LOADING"
    reason: str = ""
    error: str = ""
    path: str = ""
    parent: RepositoryEntry | None = None
    models: list[RepositoryEntry] = field(default_factory=list)

    @property
    def unloaded(self) -> bool:
        """Whether it was unloaded on purpose, or the graph that it is of."""
        return (self.parent or self).reason == UNLOADED

    @property
    def inputs(self) -> Mapping[str, Input]:
        """What it takes."""
        return self.graph.inputs

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.graph.checked.signature

    @property
    def told(self) -> str:
        """The reason as everybody may know it: of an error its class, and which model cannot be loaded."""
        if not self.error:
            return self.reason or {"LOADING": "it is being loaded", "UNLOADING": "it is being unloaded"}.get(
                self.state, ""
            )
        graph = self.graph if self.parent is None else self.parent.graph
        named = (name for name in re.findall(r"model '([^']*)'", self.reason) if name in graph.models)
        what = next((f"model {name!r}" for name in named), "it")
        goes_on = f"{GOES_ON}: " if self.state == "READY" else ""
        return f"{goes_on}{what} cannot be loaded ({self.error})"

    def why(self, *, administers: bool) -> str:
        """The reason as somebody may know it."""
        return (self.reason if administers else "") or self.told

    @property
    def digest(self) -> str:
        """What its answers depend on: the versions of its models."""
        if self.batcher is None:
            return ""
        versions = [f"{model.model.name}={model.located.version}" for model in self.batcher.models]
        return ",".join(versions + [f"{key.name}={key.version}" for key in self.batcher.executor.lazy_keys])


Numbers = Callable[[RepositoryEntry], Mapping[str, Any]]
"""The numbers of a served graph: `last_inference` (ms since 1970), `inference_count` (rows), `execution_count` (batches),
and by the names of Triton's durations (`success`, `fail`, `queue`, `compute_infer`, ...) pairs of a count and ns."""


def hosted(served: RepositoryEntry) -> Sequence[ModelRuntime]:
    """Its models; none where it is not loaded."""
    return served.batcher.models if served.batcher is not None else ()


def as_declared(served: RepositoryEntry) -> CheckedGraph:
    """What is played of a graph that nothing was decided about since."""
    return served.graph.checked


class _Alone(Graph):
    """A model as a graph: its inputs and outputs have the names that the model gives them, whatever they are."""

    def _check_names(self) -> None:
        """There is nothing that a file could have named wrongly."""


def models_of(served: RepositoryEntry, resolver: ModelResolver) -> list[RepositoryEntry]:
    """Each model that a graph's nodes call, as a graph of one node; those of keys are only called by their route."""
    checked = served.graph.checked
    graph = checked.graph
    called = [member.uses for node in graph.nodes.values() for member in node.members]
    of_keys = {f"{model}.{key}" for model, keys in checked.keys.items() for key in keys}
    found = []
    for name, model in graph.models.items():
        if name not in called or name in of_keys:
            continue
        kinds = _outer_inputs(checked, name)
        outputs = outer_outputs(model, checked.signatures[name])
        alone = _Alone(
            name,
            {output: f"model_.{output}" for output in outputs},
            inputs={each: Input(kind) for each, kind in kinds.items()},
            models={name: model},
            nodes={"model_": ModelNode("model_", Inputs(tuple(kinds)), name)},
            folder=graph.folder,
        )
        platform = f"motet_{resolver.locate(model, graph.folder).handler.name}"
        versions = (str(number_of(model.uri) or 1),)
        found.append(
            RepositoryEntry(
                f"{graph.name}.{name}", "model", platform, alone, versions=versions, parent=served, path=served.path
            )
        )
    return found


def _outer_inputs(checked: CheckedGraph, name: str) -> Mapping[str, ColumnType]:
    """What a model takes; where there are functions before it, what the first of them is given in the graph."""
    model, graph = checked.graph.models[name], checked.graph
    if not model.before:
        return checked.signatures[name].inputs
    wanted = model.before[0].parameters()
    for node in graph.nodes.values():
        for member in node.members:
            given = member.inputs or node.inputs
            if member.uses == name and len(given.columns) == len(wanted):
                names = given.names or wanted
                return {
                    each: checked.columns[checked.canonical[c]] for each, c in zip(names, given.columns, strict=True)
                }
    return dict.fromkeys(wanted, ANY)
