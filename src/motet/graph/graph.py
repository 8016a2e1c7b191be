"""The graph: nodes wired by the names of columns, with declared inputs and outputs. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypedDict

from motet.errors import GraphError
from motet.graph.build import GraphContents, collect
from motet.graph.fields import check_name
from motet.graph.forms import NAME
from motet.graph.input import Input
from motet.graph.model import Model
from motet.graph.node import Node
from motet.graph.pool import Places
from motet.types import ColumnType

__all__ = ["GraphParts", "GraphSpec"]

_PARTS = ("name", "inputs", "models", "graphs", "nodes", "outputs", "folder", "pool", "serving")


class GraphParts(TypedDict, total=False):
    """The keywords of a `GraphSpec`, beside its name and outputs, which says what they mean."""

    inputs: Mapping[str, Input] | None
    models: Mapping[str, Model] | None
    graphs: Mapping[str, GraphSpec] | None
    nodes: Mapping[str, Node] | None
    folder: str
    serving: Mapping[str, Any] | None
    pool: Places | None


class GraphSpec:
    """Nodes wired by the names of columns. Nothing of it changes once it is made.

    Args:
        name: its name, for messages, files and addresses.
        outputs: output names and the columns they show: what the builder functions (`motet.map`, `motet.ensemble`, ...)
            returned, one of its columns (`top.index`), or, with `nodes`, the name of a column.
        inputs, models, graphs, nodes: the parts by name, as a graph file has them; leave them out to have them found
            from the outputs.
        folder: what relative model URIs are relative to; the working directory when empty.
        pool: the places that all its models share; None where each is loaded and stays.
        serving: how a server is set up that serves it, as its file says; the graph itself makes nothing of it.
    """

    def __init__(
        self,
        name: str,
        outputs: Mapping[str, Any],
        *,
        inputs: Mapping[str, Input] | None = None,
        models: Mapping[str, Model] | None = None,
        graphs: Mapping[str, GraphSpec] | None = None,
        nodes: Mapping[str, Node] | None = None,
        folder: str = "",
        serving: Mapping[str, Any] | None = None,
        pool: Places | None = None,
    ) -> None:
        self.name = check_name(name, "a graph", f"graph {name!r}")
        if not isinstance(outputs, Mapping) or not outputs:
            raise GraphError(
                f"outputs must map names to columns, at least one; got {outputs!r}",
                where=f"graph {name!r}",
                hint='write outputs={"label": top.index}',
            )
        if nodes is None:
            parts = collect(outputs, f"graph {name!r}", GraphSpec)
        else:
            parts = GraphContents(
                dict(inputs or {}), dict(models or {}), dict(graphs or {}), dict(nodes), dict(outputs)
            )
        self.inputs: Mapping[str, Input] = MappingProxyType(dict(parts.inputs))
        self.models: Mapping[str, Model] = MappingProxyType(dict(parts.models))
        self.graphs: Mapping[str, GraphSpec] = MappingProxyType(dict(parts.graphs))
        self.nodes: Mapping[str, Node] = MappingProxyType(dict(parts.nodes))
        self.outputs: Mapping[str, str] = MappingProxyType(dict(parts.outputs))
        self.folder = folder
        self.pool = pool
        self.serving: Mapping[str, Any] = MappingProxyType(dict(serving or {}))
        self._check_names()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PARTS and name in vars(self):
            raise AttributeError(f"the {name} of a graph cannot be changed; make another graph")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: dict(part) if isinstance(part, MappingProxyType) else part for name, part in vars(self).items()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        vars(self).update({name: MappingProxyType(state[name]) for name in _PARTS if isinstance(state[name], dict)})

    def changed(self, **parts: Any) -> GraphSpec:
        """A graph like this one but for these of its parts (`models`, `nodes`, ...), as data: not checked, nor callable."""
        made, own = GraphSpec.__new__(GraphSpec), vars(self)
        made.__setstate__({**{name: own[name] for name in _PARTS}, **parts})
        return made

    @property
    def stored(self) -> dict[str, str]:
        """For each input what its column is called where it is stored."""
        return {name: name if each.column is None else each.column for name, each in self.inputs.items()}

    @property
    def stored_types(self) -> dict[str, ColumnType]:
        """For each column that an input is stored in the input's type."""
        return {column: self.inputs[name].type for name, column in self.stored.items()}

    def _check_names(self) -> None:
        where = f"graph {self.name!r}"
        for what, names in (
            ("an input", self.inputs),
            ("a node", self.nodes),
            ("a model", self.models),
            ("a graph", self.graphs),
        ):
            for name in names:
                check_name(name, what, where)
        inputs: dict[str, str] = {}
        for name, column in self.stored.items():
            if inputs.setdefault(column, name) != name:
                what = f"the inputs {inputs[column]!r} and {name!r} are both stored in the column {column!r}"
                raise GraphError(what, where=where, hint="use one input twice")
        for name in self.outputs:
            if not NAME.fullmatch(name):
                check_name(name, "an output", where)
        for name in self.nodes:
            if name in self.inputs:
                raise GraphError(f"{name!r} is both an input and a node", where=where, hint="rename one of them")
        for name in self.models:
            if name in self.graphs:
                raise GraphError(f"{name!r} is both a model and a graph", where=where, hint="rename one of them")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GraphSpec):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.inputs), frozenset(self.outputs.items())))

    def _parts(self) -> tuple[Any, ...]:
        return (
            self.name,
            dict(self.inputs),
            dict(self.models),
            dict(self.graphs),
            dict(self.nodes),
            dict(self.outputs),
            dict(self.serving),
            self.pool,
        )

    def __repr__(self) -> str:
        columns = f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"
        return f"<Graph {self.name!r}: {columns}; {len(self.nodes)} nodes, {len(self.models)} models>"
