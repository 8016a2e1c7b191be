"""What every kind of node has: a name, inputs, the types it gives, and how it plays a batch.

The kinds themselves are in `motet.nodes`, one a file; each registers itself here under the key that graph files use.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from motet.batch import Column, Indices
from motet.errors import GraphError
from motet.graph.fields import Fields
from motet.graph.forms import Form
from motet.tracebacks import describe, kept
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.graph.player import Player, StraightPlayer

__all__ = [
    "KINDS",
    "NO_ANSWER",
    "Answer",
    "AtOnce",
    "Fault",
    "Inputs",
    "Member",
    "Node",
    "NodeOutputs",
    "Scope",
    "kind",
]  # fmt: skip


NO_ANSWER = "no_answer"
"""The key of a dataclass field's metadata that says that no answer changes with it: runs go on when it is another."""


@dataclass(frozen=True)
class Inputs:
    """The columns that a node takes, by position or by the names of what it calls.

    Attributes:
        columns: references: the name of an input, `node`, or `node.output`.
        names: the name of each column inside; empty for inputs by position.
    """

    columns: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def pick(self, columns: Mapping[str, Any]) -> Sequence[Any] | dict[str, Any]:
        """What these references stand for, in order, or by name."""
        if self.names:
            return {name: columns[column] for name, column in zip(self.names, self.columns, strict=True)}
        return [columns[column] for column in self.columns]

    def values(self, columns: Mapping[str, Any]) -> list[Any]:
        """What these references stand for, in order."""
        return [columns[column] for column in self.columns]


@dataclass(frozen=True)
class Member:
    """One of the models or graphs of a node.

    Attributes:
        name: its name inside the node.
        uses: the name of the model or graph.
        inputs: what it takes; None takes what the node takes.
        output: the one of its outputs that counts, where it has several.
    """

    name: str
    uses: str
    inputs: Inputs | None = None
    output: str | None = None


@dataclass(frozen=True)
class NodeOutputs:
    """What a node gives.

    Attributes:
        columns: types by full column name, the main ones.
        extra: further columns, which the node's own name never stands for: `node.member` and the members' answers.
        open: whether there may be more, because a function does not say what it gives.
        places: by member and output for each place of the answer the one in what the member gives, where they differ.
        warnings: what may be wrong with it.
    """

    columns: Mapping[str, ColumnType]
    extra: Mapping[str, ColumnType] = field(default_factory=dict)
    open: bool = False
    places: Mapping[str, Mapping[str, Indices]] = field(default_factory=dict)
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one row could not be answered.

    Attributes:
        position: the row's place in what was played, from 0.
        error: the class of the exception.
        message: what it said.
        model: the model or function it happened in.
        version: the version of that model.
        node: the node inside a member graph it happened in, empty otherwise.
        exception: itself, where exceptions are kept (see `motet.tracebacks.keeping`).
    """

    position: int
    error: str
    message: str
    model: str = ""
    version: str = ""
    node: str = ""
    exception: BaseException | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, position: int, error: BaseException, model: str = "", version: str = "") -> Fault:
        """Of what a row's own call raised, or would have."""
        return cls(position, type(error).__name__, describe(error), model, version, exception=kept(error))

    def at(self, position: int) -> Fault:
        """The same for the row at another place."""
        return replace(self, position=position)


@dataclass(slots=True)
class Answer:
    """What playing some rows gave.

    Attributes:
        columns: the answers of the rows that did not fail, in order.
        faults: why the others failed.
        kept: the places of the rows that did not fail; None for all.
    """

    columns: dict[str, Column]
    faults: tuple[Fault, ...] = ()
    kept: Indices | None = None


AtOnce: TypeAlias = Callable[[Any, int], Answer]
"""Plays columns, in order or by name, of so many rows, and returns the answer."""


class Scope(Protocol):
    """What a node that is checked may ask about models, graphs and columns."""

    where: str

    def call(
        self, uses: str, inputs: Inputs | None, types: Mapping[str, ColumnType], where: str
    ) -> Mapping[str, ColumnType]:
        """The outputs of a model or graph given these columns; None where they are only known when rows flow.

        Raises:
            GraphError: when they do not fit.
        """
        ...

    def is_graph(self, uses: str) -> bool:
        """Whether that is a graph, and no model."""
        ...


@dataclass(frozen=True)
class Node(ABC):
    """A function from some columns of a batch to new columns of the same rows."""

    name: str
    inputs: Inputs

    kind: ClassVar[str]
    """The key that says the kind in a graph file."""
    keys: ClassVar[Mapping[str, Form]]
    """The keys that a graph file may give, and the forms of what they say: its kind, `inputs`, and others."""
    required: ClassVar[tuple[str, ...]] = ()
    """Those of them that must be there, besides the kind."""

    @property
    def where(self) -> str:
        """The node, for messages."""
        return f"node {self.name!r}"

    @property
    def members(self) -> tuple[Member, ...]:
        """The models and graphs it calls."""
        return ()

    def references(self) -> tuple[str, ...]:
        """Every column it needs, as written, in order and once."""
        needed = [*self.inputs.columns]
        for member in self.members:
            needed += member.inputs.columns if member.inputs else ()
        return tuple(dict.fromkeys([*needed, *self.more_references()]))

    def more_references(self) -> Iterable[str]:
        """Columns it needs besides its inputs and its members' inputs."""
        return ()

    def bound(self, bind: Callable[[Member, Inputs], Inputs]) -> Node:
        """The node whose members say what they are given, as `bind` says for each of them and what it is given now."""
        return self

    def needs(self, outputs: Mapping[str, Sequence[str]], gives: Container[str]) -> Mapping[str, Collection[str]]:
        """The outputs of its models that must be computed; all of them, where a kind of node does not say otherwise.

        Args:
            outputs: what each model that it calls gives, by its name in the graph.
            gives: the columns of the node that somebody needs, by full name.
        """
        return outputs

    def shadows(self, gives: Collection[str]) -> frozenset[str]:
        """The names of members that no answer needs, if somebody needs these columns of the node, by full name."""
        return frozenset()

    def beside(self, members: Collection[str]) -> Node:
        """The node of the other members, these being played off the way of its answer."""
        return self

    def keyed(self, models: Mapping[str, Mapping[str, str]], uris: Mapping[str, str]) -> Node:
        """The node with a member for each key of the models that stand for one a key.

        Args:
            models: for each of these the model of every key that has one.
            uris: for each of these its URI, for messages.

        Raises:
            GraphError: when it goes by no key.
        """
        name, uri = next(iter(uris.items()))
        hint = "write {route: {'*': MODEL}, key: COLUMN}"
        raise GraphError(
            f"{name!r} is a model for each key ({uri}); only a route by key can use it", where=self.where, hint=hint
        )

    def without(self, uses: Container[str]) -> Node:
        """The node without the members that use these, where it may do without; else as it is."""
        return self

    def settled(self, types: Mapping[str, ColumnType]) -> Node:
        """The node with what only the types of its columns tell, by reference; most know all themselves."""
        return self

    @abstractmethod
    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """What it gives for columns of these types, by reference.

        Raises:
            GraphError: when they do not fit.
        """

    @abstractmethod
    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Play rows: columns by reference in, columns by full name out."""

    def straight(self, player: StraightPlayer) -> AtOnce | None:
        """What plays rows as `play` does, as a plain function, where no call waits; columns that nobody needs may be missing.

        None for a node that only plays as a coroutine.
        """
        return None

    @classmethod
    @abstractmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Node:
        """Make the node that a graph file describes; `value` is what the kind's key says."""

    @abstractmethod
    def write(self) -> dict[str, Any]:
        """The inverse of `read`: the kind's key and the others, without `inputs`."""


KINDS: dict[str, type[Node]] = {}
"""The kinds of nodes by the key that graph files use."""


def kind(cls: type[Node]) -> type[Node]:
    """Register a kind of node."""
    KINDS[cls.kind] = cls
    return cls
