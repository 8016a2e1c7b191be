"""What a node's turn is made of: its step, the calls that it makes, how they are made, and who is told of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from motet.batch import Column, Indices
from motet.graph.node import Answer, Fault, Member, Node
from motet.models.handler import TokenUsage
from motet.runtime.model_runtime import ModelRuntime

__all__ = ["NOTHING_NOTED", "Call", "Calls", "NodeStep", "Trace"]

NOTHING_NOTED: Mapping[str, Column] = {}
"""Shared by all calls, which write nothing into it; a dict, since explanations pickle."""


class Call(NamedTuple):
    """One call of a model or graph, for explanations.

    Attributes:
        node: the node that called, with the graphs it stands in: `outer/inner`.
        uses: the model or graph.
        version: the model's version.
        rows: how many rows were asked for.
        seconds: how long it took.
        outputs: what it answered, by output name; rows that failed are left out.
        faults: why rows failed.
        member: the member that was called, empty where the node has one.
        ids: for each row asked for the id of the row of the batch that it stands for.
        kept: the places of the rows that `outputs` holds; None for all.
        used: what it used of language models.
        noted: of a graph that was called the columns that it gives beside what it is asked for, of the rows that `outputs` holds:
            for those who look on alone.
    """

    node: str
    uses: str
    version: str
    rows: int
    seconds: float
    outputs: Mapping[str, Column]
    faults: tuple[Fault, ...]
    member: str = ""
    ids: Indices | None = None
    kept: Indices | None = None
    used: TokenUsage = TokenUsage()
    noted: Mapping[str, Column] = NOTHING_NOTED

    @property
    def answered(self) -> Indices:
        """For each row that `outputs` holds the id of the row of the batch that it stands for."""
        ids = np.arange(self.rows) if self.ids is None else self.ids
        return ids if self.kept is None else ids[self.kept]


class Trace(Protocol):
    """Is given every call of a model or graph when it is done; a list is one.

    Calls of shadows end when the batch has been answered: they go to what its `afterwards` is, where it has one. Where it has
    `listeners(path, uses)`, that says by output what takes the text of a call while it is written; see `motet.system.pieces`.
    """

    def append(self, call: Call, /) -> None:
        """Take a call."""
        ...


class Calls(Protocol):
    """How the calls of a graph's nodes are made, where they may wait; in the thread that asks where none is given."""

    async def model(
        self, model: ModelRuntime, columns: Sequence[Column] | Mapping[str, Column], rows: int, replica: str = ""
    ) -> Answer:
        """Play rows through a model: through the replica of that name where it is ready, if one is named."""
        ...

    async def function(
        self, runner: Callable[[Sequence[Column], int], Answer], columns: Sequence[Column], rows: int
    ) -> Answer:
        """Play rows through a function."""
        ...

    async def gather(self, calls: Sequence[Awaitable[Answer]]) -> list[Answer]:
        """Await several calls."""
        ...


class NodeStep(NamedTuple):
    """A node's turn: which columns it is given, by reference, which nobody needs after it, and which of its own are needed.

    Attributes:
        needs: the outputs of its models that it needs, where it does not need all.
        played: the node of those members that are on the way of its answer.
        asides: the others.
    """

    name: str
    node: Node
    columns: tuple[tuple[str, str], ...]
    drops: tuple[str, ...]
    path: str
    gives: frozenset[str]
    needs: Mapping[str, Collection[str]]
    played: Node
    asides: tuple[Member, ...] = ()
