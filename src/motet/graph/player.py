"""What nodes may ask of the runtime while they play: protocols, which `motet.runtime.node_context` fulfils."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from motet.batch import Column, Indices
from motet.errors import DeadlineError
from motet.graph.function import Function
from motet.graph.node import Answer, AtOnce, Fault, Member
from motet.types import ColumnType

__all__ = ["NodePlayer", "Player", "ReplicaShares", "StraightPlayer"]

T = TypeVar("T")


class NodePlayer(Protocol):
    """What every node may ask of the runtime."""

    @property
    def gives(self) -> Collection[str]:
        """The columns of the node that somebody needs, by full name."""
        ...

    def incomplete(self) -> None:
        """Say that rows are answered without a member that failed on them or was late, which may be otherwise another time."""
        ...

    def isolate(
        self, run: Callable[[int, int], T], rows: int, name: str
    ) -> tuple[list[tuple[int, int, T]], list[Fault]]:
        """Run a function of the rows from one place to another; where it raises, halve until the rows at fault stand alone.

        Returns:
            What it gave for each stretch of rows, in order, as (first, end, result), and why the others failed.
        """
        ...

    @property
    def places(self) -> Mapping[str, Mapping[str, Indices]]:
        """How the node places its members' answers; see `NodeOutputs`."""
        ...

    @property
    def types(self) -> Mapping[str, ColumnType]:
        """The types of the graph's columns, by full name."""
        ...


class StraightPlayer(NodePlayer, Protocol):
    """What a node may ask that plays as a plain function, before its first batch."""

    def model(self, name: str) -> AtOnce | None:
        """What plays rows through a model; None where that may wait, or is a graph."""
        ...

    @property
    def gather(self) -> Callable[[Sequence[Callable[[], T]], Sequence[str]], list[T]]:
        """Makes several calls, each of a model, at the same time where they wait; what each gave, in their order."""
        ...

    def function(self, function: Function, *, each: bool = False) -> AtOnce:
        """What plays rows through a function; a single array it returns is the column `""`."""
        ...


class ReplicaShares(Protocol):
    """Which replica answers which row."""

    def shares(self, names: Sequence[str], salt: str) -> list[tuple[str, Indices]]:
        """Each replica that has rows, of those of these names, and their places; an empty name lets the balancer choose."""
        ...


class Player(NodePlayer, Protocol):
    """What a node that plays may ask of the runtime."""

    async def call(
        self,
        name: str,
        columns: Sequence[Column] | Mapping[str, Column],
        rows: int,
        chosen: Indices | None = None,
        member: str = "",
        spread: ReplicaShares | None = None,
    ) -> Answer:
        """Play rows through a model or graph.

        Args:
            name: the model or graph.
            columns: by position or by its input names.
            rows: how many.
            chosen: which of the node's rows they are, for whoever looks on; None for all of them, in order.
            member: the member that is called, where the node has several.
            spread: which replica of a model answers which row; None lets the balancer choose.
        """
        ...

    async def apply(self, function: Function, columns: Sequence[Column], rows: int, *, each: bool = False) -> Answer:
        """Play rows through a function; a single array it returns is the column `""`."""
        ...

    async def gather(
        self, calls: Sequence[Awaitable[Answer]], uses: Sequence[str], rows: Sequence[int] = ()
    ) -> list[Answer]:
        """Await several calls, at the same time where that pays.

        Args:
            calls: the calls.
            uses: for each the model or graph it calls.
            rows: for each how many rows it has, where models may share a few places: calls of models that are loaded are made
                first.
        """
        ...

    async def together(self, columns: Mapping[str, Column], chosen: Indices) -> list[tuple[Indices, Answer]]:
        """Play rows through several models as one call, where their structure allows it.

        Args:
            columns: those of the node, by reference.
            chosen: for each row the place of its member among the node's, -1 for none.

        Returns:
            The places of the rows that are answered, ascending, with their answers, none of which has a fault. All others are to be
            asked of their models.
        """
        ...

    async def in_time(
        self, calls: Mapping[Member, Callable[[Player], Coroutine[Any, Any, Answer]]], rows: int, seconds: float
    ) -> list[Answer | DeadlineError]:
        """What members answer within some time, which begins now; of one that is late, that it is.

        Args:
            calls: for each member its call, of the player that it is given.
            rows: how many rows each of them has.
            seconds: the time; in a bulk run so much for each row.
        """
        ...
