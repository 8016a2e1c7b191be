"""One pass over rows, in which every member of every cascade and ensemble answers each of them, and what it said is kept.

source ──► nodes before ──► EveryMember: each member on each row ──► Recording: answers, faults, seconds
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from motet.batch import Batch, Column, Indices, column_bytes, concat_columns, empty_column, take_rows
from motet.errors import Failure, GraphError, InputError, ModelFailedError, ModelUnavailableError
from motet.graph.check import CheckedGraph
from motet.graph.fields import Fields
from motet.graph.node import Answer, Fault, Inputs, Member, Node, NodeOutputs, Scope
from motet.graph.player import Player
from motet.planning.parts import KeptNode, ReplayParts
from motet.runtime.executor import Executor, drive
from motet.runtime.host import Host
from motet.runtime.resolve import ModelResolver
from motet.runtime.turns import Call
from motet.types import ColumnType, Signature

__all__ = ["MemberAnswers", "PlayedNode", "Recorder", "Recording"]

MOST_BYTES = 2 << 30
"""The most that is kept of answers."""
WARM_ROWS = 32
"""Rows that are played before times are taken, where no call costs money: the first call of a model is not like the others."""


@dataclass(frozen=True)
class PlayedNode(Node):
    """A node that stands for another one while it is recorded or played again; no graph file has it.

    Attributes:
        inner: the node.
    """

    inner: KeptNode

    kind = "recorded"
    keys = {}

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """What the node gives."""
        return self.inner.infer(types, scope)

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Node:
        """Refused: it is not among the kinds that files have.

        Raises:
            GraphError: always.
        """
        raise GraphError("stands for a node while it is recorded, and is in no file", where=f"node {name!r}")

    def write(self) -> dict[str, Any]:
        """As the node is written."""
        return self.inner.write()


@dataclass(frozen=True)
class EveryMember(PlayedNode):
    """Calls every member of a node on every row, and gives nothing; who looks on has the answers.

    Attributes:
        needed: the columns of the node that somebody needs, by full name.
    """

    needed: frozenset[str]

    @property
    def members(self) -> tuple[Member, ...]:
        """Those of the node."""
        return self.inner.members

    def needs(self, outputs: Mapping[str, Sequence[str]], gives: Container[str]) -> Mapping[str, Collection[str]]:
        """What the node needs."""
        return self.inner.needs(outputs, self.needed)

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call every member."""
        for member in self.members:
            inputs = (member.inputs or self.inner.inputs).pick(columns)
            try:
                await player.call(member.uses, inputs, rows, None, member.name)
            except (ModelUnavailableError, ModelFailedError):
                continue  # whoever looks on is told why each row failed
        return Answer({})


@dataclass(frozen=True)
class MemberAnswers:
    """What one member of a node answered.

    Attributes:
        node, member, uses, version: who.
        rows: the ids of the rows it answered, ascending.
        columns: its answers, by its own names; empty where it never answered.
        faults: why it did not answer others, by id.
        seconds: how long its calls took.
        asked: how many rows they had.
    """

    node: str
    member: str
    uses: str
    version: str
    rows: Indices
    columns: Mapping[str, Column]
    faults: Mapping[int, Fault]
    seconds: float
    asked: int

    def of(self, ids: Indices) -> Answer:
        """Its answer to these rows, as it gave it: rows that it failed on are faults."""
        if len(ids) == len(self.rows) and np.array_equal(ids, self.rows):
            return Answer(dict(self.columns))
        places = np.searchsorted(self.rows, ids)
        found = np.zeros(len(ids), dtype=bool)
        within = places < len(self.rows)
        found[within] = self.rows[places[within]] == ids[within]
        columns = {name: take_rows(column, places[found]) for name, column in self.columns.items()}
        if found.all():
            return Answer(columns)
        faults = tuple(self.faults[int(ids[place])].at(int(place)) for place in np.flatnonzero(~found))
        return Answer(columns, faults, np.flatnonzero(found))


@dataclass(frozen=True)
class Recording:
    """What was kept of a pass over rows.

    Attributes:
        checked: the graph.
        parts: which of its nodes were kept.
        ids: the rows that reached those nodes, ascending.
        passed: the columns of these rows that the nodes behind need.
        answers: by node and member.
        failures: rows that failed before.
        seconds_before: what the nodes before took.
        num_rows: all rows, those that failed too.
    """

    checked: CheckedGraph
    parts: ReplayParts
    ids: Indices
    passed: Mapping[str, Column]
    answers: Mapping[str, Mapping[str, MemberAnswers]]
    failures: tuple[Failure, ...]
    seconds_before: float
    num_rows: int

    @cached_property
    def batch(self) -> Batch:
        """The rows that reached the kept nodes."""
        return Batch.of(dict(self.passed), self.ids)


@dataclass
class Recorder:
    """Plays batches, and keeps what every member said.

    Args:
        checked: the graph.
        parts: which of its nodes are kept.
        resolver: finds its models.
    """

    checked: CheckedGraph
    parts: ReplayParts
    resolver: ModelResolver
    _trace: list[Call] = field(default_factory=list)
    _batches: list[Batch] = field(default_factory=list)
    _failures: list[Failure] = field(default_factory=list)
    _num_rows: int = 0
    _bytes: int = 0

    def __post_init__(self) -> None:
        self._executor = Executor(_recorded(self.checked, self.parts), Host(self.resolver))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.close()

    def add(self, batch: Batch, failures: Sequence[Failure], rows: int) -> None:
        """Play a batch.

        Args:
            batch: the rows that fit.
            failures: why the others do not.
            rows: how many rows these are together.

        Raises:
            InputError: when more would be kept than fits.
        """
        if not self._num_rows and len(batch) and not self._executor.paid:
            with self._executor.warming():
                drive(self._executor.play(batch.take(np.arange(min(len(batch), WARM_ROWS))), []))
        self._num_rows += rows
        self._failures += failures
        if len(batch):
            first = len(self._trace)
            played = drive(self._executor.play(batch, self._trace))
            self._failures += played.failures
            self._batches.append(played.outputs)
            self._bytes += played.outputs.nbytes
            self._bytes += sum(column_bytes(c) for call in self._trace[first:] for c in call.outputs.values())
        if self._bytes > MOST_BYTES:
            what = f"the answers to {self._num_rows:,} rows take {self._bytes:,} bytes; at most {MOST_BYTES:,} are kept"
            raise InputError(what, where="evaluate", hint="read fewer rows: limit (--limit)")

    def finish(self) -> Recording:
        """What was kept."""
        stats = self._executor.stats
        ids = np.concatenate([batch.ids for batch in self._batches] or [np.empty(0, np.int64)])
        passed = {name: self._column(name) for name in self.parts.passed}
        answers = {
            name: {member.name: self._member(name, member) for member in node.members}
            for name, node in self.parts.kept.items()
        }
        before = sum(stats[name].seconds for name in self.parts.before if name in stats)
        return Recording(self.checked, self.parts, ids, passed, answers, tuple(self._failures), before, self._num_rows)

    def _column(self, name: str) -> Column:
        found = [batch.columns[name] for batch in self._batches if len(batch)]
        return concat_columns(found) if found else empty_column(self.checked.columns[name])

    def _member(self, node: str, member: Member) -> MemberAnswers:
        calls = [each for each in self._trace if each.node == node and each.member == member.name]
        answered = [each for each in calls if each.outputs]
        names = list(answered[0].outputs) if answered else []
        columns = {name: concat_columns([each.outputs[name] for each in answered]) for name in names}
        rows = np.concatenate([each.answered for each in answered] or [np.empty(0, np.int64)])
        return MemberAnswers(
            node, member.name, member.uses, next((each.version for each in answered), ""), rows, columns,
            dict(_faults(calls)), sum(each.seconds for each in calls), sum(each.rows for each in calls),
        )  # fmt: skip


def _faults(calls: Sequence[Call]) -> Iterator[tuple[int, Fault]]:
    for call in calls:
        for fault in call.faults:
            yield int(fault.position if call.ids is None else call.ids[fault.position]), fault


def _recorded(checked: CheckedGraph, parts: ReplayParts) -> CheckedGraph:
    """The graph that is played for a recording."""
    graph = checked.graph
    every = {
        name: EveryMember(name, node.inputs, node, _given(checked, name, parts)) for name, node in parts.kept.items()
    }
    nodes = {**{name: graph.nodes[name] for name in parts.before}, **every}
    outputs = {name: name for name in parts.passed}
    signature = Signature(checked.signature.inputs, {name: checked.columns[name] for name in parts.passed})
    order = tuple(name for name in checked.order if name in nodes)
    return replace(checked, graph=graph.changed(nodes=nodes, outputs=outputs), order=order, signature=signature)


def _given(checked: CheckedGraph, node: str, parts: ReplayParts) -> frozenset[str]:
    """The columns of a node that somebody needs, by full name."""
    needed = {checked.canonical[each] for name in parts.after for each in checked.graph.nodes[name].references()}
    return frozenset(column for column in {*needed, *parts.wanted} if column.split(".")[0] == node)
