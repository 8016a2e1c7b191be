"""Checking a graph: every mistake is found here, before a model is loaded for use.

What a model takes and gives is asked of a resolver, so that this module knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from motet.batch import Indices
from motet.errors import GraphError, MotetError, NotPublishedError, TypeMismatchError, UnknownNameError
from motet.graph.bind import bound
from motet.graph.function import chain_outputs
from motet.graph.graph import GraphSpec
from motet.graph.keyed import with_keys
from motet.graph.labels import labelled
from motet.graph.model import Model
from motet.graph.node import Inputs, Node, NodeOutputs
from motet.graph.order import needed_nodes, order_of
from motet.graph.pool import check_places
from motet.numbers import may_be_given
from motet.types import ANY, ColumnType, Signature

__all__ = ["CheckedGraph", "Resolver", "check"]

MAX_DEPTH = 16
"""How deep graphs may stand inside graphs."""


class Resolver(Protocol):
    """Tells what models take and give."""

    def keys(self, model: Model, folder: str) -> Mapping[str, str]:
        """For each key that has a model the URI of it, where `{key}` in a model's URI stands for the key.

        Raises:
            MotetError: when they cannot be listed.
        """
        ...

    def current(self, model: Model, folder: str) -> Model:
        """A model as it is now: one of a store pinned to a version, with what was published with it; others as they are.

        Raises:
            NotPublishedError: when the store has no such version.
        """
        ...

    def signature(self, model: Model, folder: str) -> Signature:
        """What a model itself takes and gives, without `before` and `after`.

        Raises:
            MotetError: when there is no such model, or its signature cannot be known.
        """
        ...


@dataclass(frozen=True)
class CheckedGraph:
    """A graph without mistakes, and what was found out about it.

    Attributes:
        graph: the graph, its models of stores pinned to versions, without members that are not published yet.
        order: the nodes that its outputs need, each behind those it needs.
        columns: the types of all columns, by full name.
        canonical: the full name of every reference that its nodes and outputs make.
        signatures: what each model takes and gives, without `before` and `after`.
        graphs: its member graphs, checked.
        signature: what the graph takes and gives.
        left_out: models that no store has yet, whose members are left out; those of graphs inside as `GRAPH/MODEL`.
        places: for nodes how they place the answers of their members; see `NodeOutputs`.
        warnings: what may be wrong with nodes.
        keys: for models that stand for one a key their keys.
    """

    graph: GraphSpec
    order: tuple[str, ...]
    columns: Mapping[str, ColumnType]
    canonical: Mapping[str, str]
    signatures: Mapping[str, Signature]
    graphs: Mapping[str, CheckedGraph]
    signature: Signature
    left_out: tuple[str, ...] = ()
    places: Mapping[str, Mapping[str, Mapping[str, Indices]]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """What the places of its outputs stand for, of those where that is known: classes, in the order of the last axis."""
        return {name: kind.labels for name, kind in self.signature.outputs.items() if kind.labels}


@dataclass
class _Scope:
    """Answers what nodes ask while they are checked."""

    where: str
    graph: GraphSpec
    signatures: Mapping[str, Signature]
    graphs: Mapping[str, CheckedGraph]

    def call(
        self, uses: str, inputs: Inputs | None, types: Mapping[str, ColumnType], where: str
    ) -> Mapping[str, ColumnType]:
        if uses in self.graphs:
            signature = self.graphs[uses].signature
            if inputs is not None:
                self._bind(uses, signature.inputs, inputs, types, where)
            return signature.outputs
        if uses not in self.graph.models:
            raise UnknownNameError("model or graph", uses, [*self.graph.models, *self.graph.graphs], where=where)
        model, signature = self.graph.models[uses], self.signatures[uses]
        if inputs is not None and model.before:
            inputs, types = self._before(model, inputs, types, where)
        if inputs is not None:
            self._bind(uses, signature.inputs, inputs, types, where)
        return outer_outputs(model, signature, f"{where}: after of {uses!r}")

    def _before(
        self, model: Model, inputs: Inputs, types: Mapping[str, ColumnType], where: str
    ) -> tuple[Inputs | None, Mapping[str, ColumnType]]:
        """The columns that a model itself is given, behind its `before` functions; None where they do not say."""
        where = f"{where}: before of {model.name!r}"
        if inputs.names:
            wanted = dict.fromkeys(model.before[0].parameters(), ANY)
            self._bind(str(model.before[0]), wanted, inputs, types, where)
        outputs = chain_outputs(model.before, model.before_values(inputs.pick(types)), where)
        if outputs is None or outputs == ANY:
            return None, {}
        if isinstance(outputs, ColumnType):
            return Inputs(("before",)), {"before": outputs}
        by_name = set(outputs) == set(self.signatures[model.name].inputs)
        return Inputs(tuple(outputs), tuple(outputs) if by_name else ()), dict(outputs)

    def is_graph(self, uses: str) -> bool:
        return uses in self.graphs

    def _bind(
        self, uses: str, wanted: Mapping[str, ColumnType], inputs: Inputs, types: Mapping[str, ColumnType], where: str
    ) -> None:
        """Check that the columns given are those wanted."""
        names = inputs.names or tuple(wanted)
        takes = ", ".join(f"{name}: {kind}" for name, kind in wanted.items())
        for name in inputs.names:
            if name not in wanted:
                raise UnknownNameError(f"input of {uses!r}", name, list(wanted), where=where)
        if len(inputs.columns) != len(wanted) or (inputs.names and set(inputs.names) != set(wanted)):
            given = ", ".join(inputs.names or inputs.columns) or "none"
            raise GraphError(
                f"{uses!r} takes {len(wanted)} inputs ({takes}); got {len(inputs.columns)} ({given})",
                where=where,
                hint=_as_one(len(wanted), [types[column] for column in inputs.columns]),
            )
        for name, column in zip(names, inputs.columns, strict=True):
            if not may_be_given(types[column], wanted[name]):
                raise TypeMismatchError(
                    f"{uses!r} takes {name}: {wanted[name]}; column {column!r} is {types[column]}",
                    where=where,
                    hint=_mend(wanted[name], types[column]),
                )


def _as_one(wanted: int, given: Sequence[ColumnType]) -> str:
    if len(given) == 1 and given[0].shape == (wanted,):
        return f"to give all in one column, in the model's order, declare the model's inputs: {{features: {given[0]}}}"
    return ""


def _mend(wanted: ColumnType, got: ColumnType) -> str:
    if wanted.shape == got.shape:
        return f"put a map node motet.ops.columns.cast with {{dtype: {wanted.dtype}}} in between"
    if got.varies and len(wanted.shape) == len(got.shape):
        return "the column varies from row to row where the model wants a fixed size: resize, pad or crop it first"
    return "reshape the column in a map node, or wire another one"


def check(graph: GraphSpec, resolver: Resolver, *, depth: int = 0) -> CheckedGraph:
    """Check a graph.

    Raises:
        GraphError: the first mistake found; says what, where, what was got, and how to mend it.
    """
    where = f"graph {graph.name!r}"
    if depth > MAX_DEPTH:
        raise GraphError(
            f"graphs stand inside graphs more than {MAX_DEPTH} deep", where=where, hint="does a graph contain itself?"
        )
    try:
        return _check(graph, resolver, depth)
    except MotetError as error:
        if error.where != where and not error.where.startswith(f"{where}: "):
            error.located(where)
        raise


def _check(graph: GraphSpec, resolver: Resolver, depth: int) -> CheckedGraph:
    declared, keys = with_keys(graph, resolver.keys)
    graph = _current(declared, resolver)
    order_of(graph)
    _check_uses(graph)
    check_places(graph.models, graph.nodes, graph.pool)
    graph, graphs = _inside(graph, resolver, depth)
    signatures = {name: _signature(model, graph.folder, resolver) for name, model in graph.models.items()}
    graph = bound(
        graph, partial(_takes, graph, signatures), lambda uses: uses in graph.models and bool(graph.models[uses].before)
    )
    order = order_of(graph)
    scope = _Scope("", graph, signatures, graphs)
    columns: dict[str, ColumnType] = {name: each.type for name, each in graph.inputs.items()}
    table = _Columns(columns, {name: name for name in columns}, set())
    given: dict[str, NodeOutputs] = {}
    settled: dict[str, Node] = {}
    for name in order:
        node = graph.nodes[name]
        types = {reference: table.type(reference, node.where) for reference in node.references()}
        settled[name] = node.settled(types)
        given[name] = settled[name].infer(types, scope)
        table.add(name, given[name])
    if any(settled[name] is not graph.nodes[name] for name in order):
        graph = graph.changed(nodes={name: settled.get(name, node) for name, node in graph.nodes.items()})
    outputs = {name: table.type(reference, f"output {name!r}") for name, reference in graph.outputs.items()}
    signature = Signature({name: each.type for name, each in graph.inputs.items()}, outputs)
    needed = needed_nodes(graph, order)
    left_out = [name for name in declared.models if name not in graph.models]
    left_out += [f"{inner}/{name}" for inner, each in graphs.items() for name in each.left_out]
    places = {name: outputs.places for name, outputs in given.items() if outputs.places}
    warnings = (
        *(warning for outputs in given.values() for warning in outputs.warnings),
        *_waited_for(graph, needed, table.names),
    )
    return CheckedGraph(
        graph, needed, dict(table.types), dict(table.names), signatures, graphs, signature, tuple(left_out), places,
        warnings, keys,
    )  # fmt: skip


def _waited_for(graph: GraphSpec, needed: Sequence[str], names: Mapping[str, str]) -> Iterator[str]:
    """Shadows that every answer waits for, since outputs need what they say."""
    wanted = {names[reference] for name in needed for reference in graph.nodes[name].references()}
    wanted |= {names[reference] for reference in graph.outputs.values()}
    for name in needed:
        node = graph.nodes[name]
        for member in sorted(node.shadows(()) - node.shadows(wanted)):
            yield f"{node.where}: outputs need what {member!r} says, whose weight is 0: every answer waits for it"


def _current(graph: GraphSpec, resolver: Resolver) -> GraphSpec:
    """The graph as it is now: models of a store pinned to versions, members that are not published yet left out."""
    models: dict[str, Model] = {}
    missing: dict[str, NotPublishedError] = {}
    for name, model in graph.models.items():
        try:
            models[name] = resolver.current(model, graph.folder)
        except NotPublishedError as error:
            missing[name] = error
    if not missing and all(models[name] is model for name, model in graph.models.items()):
        return graph
    nodes = {name: node.without(missing) for name, node in graph.nodes.items()}
    for node in nodes.values():
        for member in node.members:
            if member.uses in missing:
                raise missing[member.uses].located(f"model {member.uses!r}")
    return graph.changed(models=models, nodes=nodes)


def _inside(graph: GraphSpec, resolver: Resolver, depth: int) -> tuple[GraphSpec, dict[str, CheckedGraph]]:
    """The graphs inside, checked, and the graph with what they are now."""
    found = {name: check(each, resolver, depth=depth + 1) for name, each in graph.graphs.items()}
    if all(found[name].graph is each for name, each in graph.graphs.items()):
        return graph, found
    return graph.changed(graphs={name: each.graph for name, each in found.items()}), found


def _takes(graph: GraphSpec, signatures: Mapping[str, Signature], uses: str) -> Sequence[str]:
    """The names of what a model or graph is given: of a model with functions before it what the first of them takes."""
    if uses in graph.graphs:
        return list(graph.graphs[uses].inputs)
    before = graph.models[uses].before
    return before[0].parameters() if before else list(signatures[uses].inputs)


def _signature(model: Model, folder: str, resolver: Resolver) -> Signature:
    try:
        return resolver.signature(model, folder)
    except MotetError as error:
        place = f"model {model.name!r}"
        raise (error if error.where.startswith(place) else error.located(place)) from error.__cause__


@dataclass
class _Columns:
    """The columns found so far: types by full name, full names by reference, and nodes that may give more."""

    types: dict[str, ColumnType]
    names: dict[str, str]
    open: set[str] = field(default_factory=set)

    def add(self, node: str, outputs: NodeOutputs) -> None:
        for name, kind in {**outputs.columns, **outputs.extra}.items():
            self.types[name] = kind
            self.names[name] = name
        if len(outputs.columns) == 1:
            self.names[node] = next(iter(outputs.columns))
        if outputs.open:
            self.open.add(node)

    def type(self, reference: str, where: str) -> ColumnType:
        if reference not in self.names:
            node = reference.split(".")[0]
            if node in self.open:
                self.types[reference] = ANY
                self.names[reference] = reference
                return ANY
            given = [name for name in self.types if name.startswith(f"{node}.")]
            if reference == node and given:
                raise GraphError(
                    f"{node!r} gives several columns: {', '.join(given)}",
                    where=where,
                    hint=f"name the one you mean, for example {given[0]}",
                )
            raise UnknownNameError("column", reference, given or list(self.types), where=where)
        return self.types[self.names[reference]]


def _check_uses(graph: GraphSpec) -> None:
    for node in graph.nodes.values():
        for member in node.members:
            if member.uses not in graph.models and member.uses not in graph.graphs:
                raise UnknownNameError("model or graph", member.uses, [*graph.models, *graph.graphs], where=node.where)


def outer_outputs(model: Model, signature: Signature, where: str = "") -> Mapping[str, ColumnType]:
    """What a model gives to the outside: its own outputs, or those of the last function behind it."""
    outputs = chain_outputs(model.after, list(signature.outputs.values()), where)
    if outputs is None:
        outputs = signature.outputs
    return labelled(model, {"output": outputs} if isinstance(outputs, ColumnType) else outputs)


def _shared(graph: GraphSpec, inner: GraphSpec) -> set[str]:
    """The models of a graph that one inside it has too, or one inside that."""
    found = {name for name, each in inner.models.items() if graph.models.get(name) == each}
    return found.union(*(_shared(graph, each) for each in inner.graphs.values()))


def unused(checked: CheckedGraph) -> dict[str, list[str]]:
    """The parts that no output needs: inputs, nodes, models."""
    graph = checked.graph
    nodes: list[Node] = [graph.nodes[name] for name in checked.order]
    referenced = {reference.split(".")[0] for node in nodes for reference in node.references()}
    referenced |= {reference.split(".")[0] for reference in graph.outputs.values()}
    used = {member.uses for node in nodes for member in node.members}
    used |= {name for each in used & set(checked.graphs) for name in _shared(graph, graph.graphs[each])}
    found = {
        "inputs": [name for name in graph.inputs if name not in referenced],
        "nodes": [name for name in graph.nodes if name not in checked.order],
        "models": [name for name in graph.models if name not in used],
        "graphs": [name for name in graph.graphs if name not in used],
    }
    return {what: names for what, names in found.items() if names}
