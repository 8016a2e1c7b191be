"""Building graphs in Python: what the builder functions return, and how a graph is collected from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from motet.errors import GraphError
from motet.graph.fields import show, text_of
from motet.graph.input import Input
from motet.graph.members import check_members
from motet.graph.model import Model
from motet.graph.node import Inputs, Member, Node

if TYPE_CHECKING:
    from motet.graph.graph import GraphSpec

__all__ = ["GraphContents", "Handle", "PartNames", "Ref", "Uses", "as_members", "collect", "inputs_of"]


class Ref:
    """A column of a node that is being built; attributes go deeper: `vote.cnn.probabilities`."""

    __slots__ = ("_of", "_output")

    def __init__(self, handle: Handle | None, output: str = "") -> None:
        self._of, self._output = handle, output

    @property
    def _handle(self) -> Handle:
        """The node; a handle is its own, without holding itself."""
        assert self._of is not None
        return self._of

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Ref:
        return Ref(self._handle, f"{self._output}.{name}" if self._output else name)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __iter__(self) -> Any:
        raise TypeError(
            f"{self!r} is a column of a graph that is being built, and holds no values; did you mean to call the graph?"
        )

    def __repr__(self) -> str:
        return f"<column {self._output or 'of'} {self._handle}>"


class Handle(Ref):
    """A node or an input that is being built.

    Args:
        base: what its default name is made from.
        name: its name, None for the default one.
        make: makes the node, or the input, given its name and what names the other parts.
        needs: the handles that it takes columns of.
    """

    __slots__ = ("_base", "_make", "_name", "_needs")

    def __init__(
        self, base: str, name: str | None, make: Callable[[str, PartNames], Any], needs: Sequence[Ref]
    ) -> None:
        super().__init__(None)
        self._base, self._name, self._make = base, name, make
        self._needs = tuple(need._handle for need in needs)

    @property
    def _handle(self) -> Handle:
        return self

    def __repr__(self) -> str:
        return f"<{self._name or self._base}>"


Uses = Model | Any
"""A model, or a graph."""


@dataclass
class GraphContents:
    """The parts of a graph by name."""

    inputs: dict[str, Input]
    models: dict[str, Model]
    graphs: dict[str, GraphSpec]
    nodes: dict[str, Node]
    outputs: dict[str, str]


@dataclass
class PartNames:
    """Gives every part of a graph that is being built its name, the same for the same program."""

    where: str
    graph_type: type[GraphSpec]
    handles: dict[int, str] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    graphs: dict[str, GraphSpec] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    """What models and graphs would be named if nothing else had the name."""

    def ref(self, ref: Ref | str) -> str:
        """The name of a column."""
        if isinstance(ref, str):
            return ref
        name = self.handles[id(ref._handle)]
        return f"{name}.{ref._output}" if ref._output else name

    def inputs(self, inputs: Sequence[Ref] | Mapping[str, Ref]) -> Inputs:
        """The names of columns by position or by name."""
        if isinstance(inputs, Mapping):
            return Inputs(tuple(self.ref(each) for each in inputs.values()), tuple(inputs))
        return Inputs(tuple(self.ref(each) for each in inputs))

    def uses(self, value: Uses) -> str:
        """The name of a model or graph; two that differ never share one."""
        if isinstance(value, Model):
            known: dict[str, Any] = self.models
            base = value.name or value.stem
        elif isinstance(value, self.graph_type):
            known, base = self.graphs, value.name
        else:
            raise GraphError(
                f"expected a model or a graph; got {show(value)}",
                where=self.where,
                hint='write motet.Model("path/to/model.onnx")',
            )
        for name, each in known.items():
            if each is value or (isinstance(value, Model) and self.bases[name] == base and each == value.named(name)):
                return name
        name, number = base, 2
        while name in self.models or name in self.graphs:
            name, number = f"{base}_{number}", number + 1
        known[name] = value.named(name) if isinstance(value, Model) else value
        self.bases[name] = base
        return name

    def member(self, name: str | None, value: Any) -> Member:
        """A member given as a model, a graph, or a `PendingMember`."""
        if isinstance(value, PendingMember):
            uses = self.uses(value.uses)
            inputs = None if value.inputs is None else self.inputs(value.inputs)
            return Member(uses if name is None else name, uses, inputs, value.output)
        uses = self.uses(value)
        return Member(uses if name is None else name, uses)

    def members(
        self, members: Sequence[Any] | Mapping[Any, Any], where: str, *, plain: bool = True
    ) -> tuple[Member, ...]:
        """Members given as a list, or by name; a name that is a number, true or false is what a file would write."""
        pairs = members.items() if isinstance(members, Mapping) else ((None, each) for each in members)
        made = tuple(self.member(None if name is None else text_of(name), each) for name, each in pairs)
        return check_members(made, where, plain=plain)


class PendingMember(NamedTuple):
    """A member with inputs of its own.

    Attributes:
        uses: the model or graph.
        inputs: the columns that it takes, by position or by name; None takes what the node takes.
        output: the one of its outputs that counts.
    """

    uses: Uses
    inputs: Sequence[Ref] | Mapping[str, Ref] | None = None
    output: str | None = None


def as_members(members: Any, what: str) -> tuple[Any, list[Ref]]:
    """Members as a user gave them, and the columns that they need."""
    if isinstance(members, (Model, PendingMember)) or not isinstance(members, (Sequence, Mapping)) or not members:
        raise GraphError(f"{what} needs a list or a mapping of models and graphs; got {show(members)}")
    values = list(members.values()) if isinstance(members, Mapping) else list(members)
    needs: list[Ref] = []
    for value in values:
        if isinstance(value, PendingMember) and value.inputs is not None:
            needs += inputs_of(value.inputs, what)
    return members, needs


def inputs_of(inputs: Sequence[Any] | Mapping[str, Any], what: str) -> list[Ref]:
    """The columns of some inputs, which must be columns."""
    for each in inputs.values() if isinstance(inputs, Mapping) else inputs:
        if not isinstance(each, Ref):
            raise GraphError(
                f"{what} takes columns of the graph; got {show(each)}",
                hint='make an input with motet.input("name", "type"), or pass what motet.map and the others return',
            )
    return list(inputs.values() if isinstance(inputs, Mapping) else inputs)


def collect(outputs: Mapping[str, Any], where: str, graph_type: type[GraphSpec]) -> GraphContents:
    """Find every part of a graph from its outputs and name it; what is of `graph_type` is a graph among them."""
    for name, ref in outputs.items():
        if not isinstance(ref, Ref):
            raise GraphError(
                f"output {name!r} must be a column; got {show(ref)}",
                where=where,
                hint="pass a node, or one of its columns",
            )
    order = _order([ref._handle for ref in outputs.values()])
    names = PartNames(where, graph_type)
    _assign(order, names)
    parts = {names.handles[id(handle)]: handle._make(names.handles[id(handle)], names) for handle in order}
    inputs = {name: part for name, part in parts.items() if isinstance(part, Input)}
    nodes = {name: part for name, part in parts.items() if isinstance(part, Node)}
    return GraphContents(
        inputs, names.models, names.graphs, nodes, {name: names.ref(ref) for name, ref in outputs.items()}
    )


def _order(roots: Sequence[Handle]) -> list[Handle]:
    """Every handle behind the roots, what is needed first; without recursion, since chains can be long."""
    order: list[Handle] = []
    seen: set[int] = set()
    stack: list[tuple[Handle, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        handle, done = stack.pop()
        if done:
            order.append(handle)
        elif id(handle) not in seen:
            seen.add(id(handle))
            stack.append((handle, True))
            stack += [(need, False) for need in reversed(handle._needs)]
    return order


def _assign(order: Sequence[Handle], names: PartNames) -> None:
    taken: set[str] = set()
    for handle in order:
        if handle._name is not None:
            if handle._name in taken:
                raise GraphError(
                    f"two parts are named {handle._name!r}", where=names.where, hint="give one another name="
                )
            taken.add(handle._name)
            names.handles[id(handle)] = handle._name
    for handle in order:
        if handle._name is None:
            number = 1
            while f"{handle._base}_{number}" in taken:
                number += 1
            taken.add(f"{handle._base}_{number}")
            names.handles[id(handle)] = f"{handle._base}_{number}"
