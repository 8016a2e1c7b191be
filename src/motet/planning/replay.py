"""A graph played again from what its members said: other settings, the nodes' own code, and no model called."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from motet.batch import Batch, Column, Indices
from motet.errors import Failure
from motet.graph.check import CheckedGraph
from motet.graph.node import Answer
from motet.graph.player import Player
from motet.nodes.cascade import Cascade
from motet.planning.parts import KeptNode
from motet.planning.recording import MemberAnswers, PlayedNode, Recording
from motet.runtime.executor import Executor, drive
from motet.runtime.host import Host
from motet.runtime.resolve import ModelResolver
from motet.types import Signature

__all__ = ["Replayed", "Replayer", "alone"]

ROW = "motet.row"
"""The column that says which row is played."""


@dataclass(frozen=True)
class Replayed:
    """What a setting came to.

    Attributes:
        outputs: the rows that were answered, by the full names of the columns that are wanted.
        failures: the rows that were not.
        asked: by node and member how many rows it was asked for.
        seconds_after: what the nodes behind the kept ones took.
    """

    outputs: Batch
    failures: Sequence[Failure]
    asked: Mapping[str, Mapping[str, int]]
    seconds_after: float


class Replayer:
    """Plays a recording with other settings.

    Args:
        recording: what was kept.
        resolver: finds models of nodes behind the kept ones, which are really called.
    """

    def __init__(self, recording: Recording, resolver: ModelResolver) -> None:
        self.recording, self._host = recording, Host(resolver)

    def close(self) -> None:
        """Let models go."""
        self._host.close()

    def play(
        self,
        changed: Mapping[str, KeptNode] | None = None,
        rows: Indices | None = None,
        checked: CheckedGraph | None = None,
    ) -> Replayed:
        """Play rows.

        Args:
            changed: kept nodes with other settings, by name.
            rows: places among the recording's rows, ascending; None for all.
            checked: the graph with these nodes, where types or the order of classes may be others than those of the recording.
        """
        recording, parts = self.recording, self.recording.parts
        batch = recording.batch if rows is None else recording.batch.take(rows)
        batch = Batch.of({**batch.columns, ROW: batch.ids}, batch.ids)
        asked: dict[str, dict[str, int]] = {name: {} for name in parts.kept}
        nodes = {**parts.kept, **(changed or {})}
        replays = {
            name: Replay(name, node.inputs, node, recording.answers[name], asked[name]) for name, node in nodes.items()
        }
        executor = Executor(_replayed(checked or recording.checked, recording, replays), self._host)
        played = drive(executor.play(batch)) if len(batch) else executor.nothing([])
        after = sum(executor.stats[name].seconds for name in parts.after)
        return Replayed(played.outputs, played.failures, asked, after)


def _replayed(checked: CheckedGraph, recording: Recording, replays: Mapping[str, Replay]) -> CheckedGraph:
    parts, graph = recording.parts, checked.graph
    nodes = {**replays, **{name: graph.nodes[name] for name in parts.after}}
    order = tuple(name for name in recording.checked.order if name in nodes)
    outputs = {name: name for name in parts.wanted}
    signature = Signature(checked.signature.inputs, {name: checked.columns[name] for name in parts.wanted})
    return replace(
        checked, graph=graph.changed(nodes=nodes, outputs=outputs), order=order, signature=signature,
        canonical={**checked.canonical, ROW: ROW},
    )  # fmt: skip


@dataclass(frozen=True)
class Replay(PlayedNode):
    """A node whose members say again what they said.

    Attributes:
        answers: what each member said.
        asked: is told how many rows each member is asked for.
    """

    answers: Mapping[str, MemberAnswers]
    asked: dict[str, int]

    def references(self) -> tuple[str, ...]:
        """Which rows these are."""
        return (ROW,)

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Play the node."""
        ids: Any = columns[ROW]
        return await self.inner.play(_NoColumns(rows), rows, _KeptPlayer(player, self.answers, self.asked, ids))


class _NoColumns(Mapping[str, Column]):
    """Stands for the columns that members were given, which nobody looks at any more."""

    def __init__(self, rows: int) -> None:
        self._column = np.broadcast_to(np.zeros(1, dtype=bool), (rows,))

    def __getitem__(self, name: str) -> Column:
        return self._column

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _KeptPlayer:
    """Asks members nothing: gives what they said. All else is asked of the player of the turn."""

    def __init__(
        self, player: Player, answers: Mapping[str, MemberAnswers], asked: dict[str, int], ids: Indices
    ) -> None:
        self._player, self._answers, self._asked, self._ids = player, answers, asked, ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self._player, name)

    async def call(
        self, name: str, columns: Any, rows: int, chosen: Indices | None = None, member: str = "", spread: Any = None
    ) -> Answer:
        """What a member said of these rows."""
        self._asked[member] = self._asked.get(member, 0) + rows
        return self._answers[member].of(self._ids if chosen is None else self._ids[chosen])

    async def gather(
        self, calls: Sequence[Awaitable[Answer]], uses: Sequence[str], rows: Sequence[int] = ()
    ) -> list[Answer]:
        """What several said."""
        return [await call for call in calls]


def alone(node: KeptNode, member: str) -> KeptNode | None:
    """A node that answers by one member; None where the others must answer too, as with `stack` and functions."""
    if isinstance(node, Cascade):
        only = tuple(each for each in node.players if each.name == member)
        return replace(node, players=only, confidence=())
    if not isinstance(node.combine, str) or node.combine == "stack":
        return None
    weights = tuple(float(each.name == member) for each in node.players)
    return replace(node, weights=weights, require=None)
