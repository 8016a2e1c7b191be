"""Between a batcher and the sinks: notes which arm each row met, and gives answers the ids that feedback names."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from motet.batch import Column, Indices, objects
from motet.errors import DeadlineError, ModelError, MotetError
from motet.nodes.split import canonical_bytes, choose_arms, is_missing_key
from motet.runtime.executor import Call, Played, Trace
from motet.serving.batching.hooks import AnswerHook, Both, FollowedRequests, give_later
from motet.serving.batching.request import Reply, Request
from motet.serving.experiments.answer_ids import AnswerId, IdSigner, Met
from motet.serving.experiments.arms import ArmColumns
from motet.serving.experiments.tables import Exposure, exposure_id

__all__ = ["ExperimentHook"]

log = logging.getLogger("motet.serving.experiments")
Keep = Callable[[Sequence[Exposure]], Awaitable[object] | None]
"""Keeps exposures; gives what an answer is to wait for, or None."""


@dataclass(slots=True, eq=False)
class _Calls:
    """What the calls of a batch tell of its experiments; a trace for the executor.

    Attributes:
        paths: the routes of the experiments.
        hidden: the columns that graphs inside note.
        calls: those of the routes.
        noted: of the graphs inside: by column and row of the batch.
    """

    paths: frozenset[str]
    hidden: frozenset[str]
    calls: list[Call] = field(default_factory=list)
    noted: dict[str, dict[int, Any]] = field(default_factory=dict)
    _seconds: dict[str, dict[int, float]] | None = None

    def append(self, call: Call, /) -> None:
        """Take a call, in any thread."""
        if call.node in self.paths:
            self.calls.append(call)
        if call.noted and not self.hidden.isdisjoint(call.noted):
            rows = call.answered.tolist()
            for name in self.hidden & call.noted.keys():
                column = call.noted[name]
                assert isinstance(column, np.ndarray)
                found = self.noted.setdefault(name, {})
                for row, value in zip(rows, column.tolist(), strict=True):
                    found.setdefault(row, value)  # a row that asks a graph several times counts once

    def seconds(self, path: str) -> dict[int, float]:
        """For each row of the batch how long the calls of a route took that it was in; when the batch has been played."""
        if self._seconds is None:
            self._seconds = {each: {} for each in self.paths}
            for call in self.calls:
                _add(self._seconds[call.node], call, call.answered.tolist())
        return self._seconds[path]


def _add(found: dict[int, float], call: Call, rows: Sequence[int]) -> None:
    for row in set(rows):
        found[row] = found.get(row, 0.0) + call.seconds


class ExperimentHook:
    """Notes the exposures of one graph. All but the traces it gives is for the thread of the event loop.

    Args:
        graph: the graph's name.
        columns: its experiments.
        signer: makes ids.
        new_key: gives a name for a request that no other has, in any process.
        keep: keeps exposures.
        inner: keeps answers beside; None where nobody does.
    """

    def __init__(
        self,
        graph: str,
        columns: tuple[ArmColumns, ...],
        signer: IdSigner,
        new_key: Callable[[], str],
        keep: Keep,
        inner: AnswerHook | None = None,
    ) -> None:
        self._graph, self._columns, self._signer, self._new_key = graph, columns, signer, new_key
        self._keep, self._inner = keep, inner
        self._hidden = frozenset(name for each in columns for name in each.outputs)
        self._paths = frozenset(each.path for each in columns)
        self._noted = frozenset(name for each in columns if each.inside for name in each.outputs)
        self._followed = FollowedRequests[_Calls]()

    def trace(self, requests: Sequence[Request]) -> Trace | None:
        """See `AnswerHook.trace`."""
        calls = _Calls(self._paths, self._noted)
        self._followed.follow(requests, [calls] * len(requests))
        return Both(calls, None if self._inner is None else self._inner.trace(requests))

    def completed(
        self, requests: Sequence[Request], played: Played, calls: Sequence[Sequence[Call]]
    ) -> Mapping[str, Column]:
        """See `AnswerHook.completed`: with what graphs inside have noted."""
        columns = played.outputs.columns if self._inner is None else self._inner.completed(requests, played, calls)
        if not self._noted:
            return columns
        trace = next((known for each in requests if (known := self._followed.known(each)) is not None), None)
        if trace is None:  # all were answered, or refused, meanwhile
            return columns
        for call in (each for row in calls for each in row):  # of rows that were played one by one
            trace.append(call)
        rows = played.outputs.ids.tolist()
        found = {name: trace.noted.get(name, {}) for name in self._noted}
        return {**columns, **{name: objects([each.get(row) for row in rows]) for name, each in found.items()}}

    def refused(self, request: Request, error: MotetError) -> None:
        """A request is not answered; where its arm may be why, its rows count as failed."""
        self._followed.take(request)
        try:
            if isinstance(error, (DeadlineError, ModelError)):
                key = self._new_key()
                found = [each for row in range(request.rows) for each in self._failed(request, row, key)]
                if found:
                    self._keep(found)
        except Exception:
            log.exception("graph %s: exposures of a request that failed are not kept", self._graph)
        if self._inner is not None:
            self._inner.refused(request, error)

    def answer(self, request: Request, reply: Reply) -> None:
        """Give an answer the ids of its rows, and to the request: now, or when its exposures are safe."""
        columns = reply.columns
        own = replace(reply, columns={name: columns[name] for name in columns if name not in self._hidden})
        wait = None
        try:
            exposures, ids = self._exposures(request, reply)
            wait = self._keep(exposures) if exposures else None
            own.feedback_ids = ids
        except Exception:  # what cannot be kept is answered all the same
            log.exception("graph %s: the exposures of an answer are not kept", self._graph)
        give_later(wait, lambda: self._give(request, own))

    def _give(self, request: Request, reply: Reply) -> None:
        if self._inner is None:
            request.answered(reply)
        else:
            self._inner.answer(request, reply)

    def _exposures(self, request: Request, reply: Reply) -> tuple[list[Exposure], list[str]]:
        """The exposures of a request, and the id of each row that was answered; empty where it met no arm."""
        calls, first = self._followed.take(request)
        key, now = self._new_key(), time.time()
        kept = range(request.rows) if reply.kept is None else reply.kept.tolist()
        met = [list(self._met(each, reply)) for each in self._columns]
        exposures, ids = [], []
        for place, row in enumerate(kept):
            found = tuple(each for each in (rows[place] for rows in met) if each is not None)
            answer = AnswerId(self._graph, key, row, int(now * 1000), found)
            ids.append(self._signer.sign(answer) if found else "")
            for each, columns in zip((rows[place] for rows in met), self._columns, strict=True):
                if each is not None:
                    seconds = _seconds(calls, reply, columns.path, first, row)
                    segments = _segments(columns, reply, place)
                    name = exposure_id(answer, each)
                    epoch = columns.experiment.epoch
                    exposures.append(Exposure(name, now, self._graph, *each, seconds, False, segments, epoch))
        for failure in reply.failures:
            exposures += self._failed(request, failure.row, key, failure.node, calls, first)
        return exposures, ids

    def _met(self, each: ArmColumns, reply: Reply) -> Iterator[Met | None]:
        """Which arm each row met that was answered; None for one without a unit."""
        if reply.end == reply.first:  # of no row, where not all columns may be there
            return
        arms, units = reply.columns[each.arm], reply.columns[each.unit]
        node = each.experiment.node
        for arm, unit in zip(_listed(arms, reply), _listed(units, reply), strict=True):
            if arm is None or is_missing_key(unit):
                yield None
            else:
                yield Met(node, arm, self._signer.unit(canonical_bytes(unit)))

    def _failed(
        self, request: Request, row: int, key: str, where: str = "", calls: _Calls | None = None, first: int = 0
    ) -> Iterator[Exposure]:
        """The exposures of a row that failed, to the arm that it met, or that its split says; none where that cannot be known.

        Args:
            request: whose row it is.
            row: its place there.
            key: names the request.
            where: the path of the node that it failed in.
            calls: of its batch.
            first: where the request's rows begin in that.
        """
        for each in self._columns:
            met = self._arm_of_failed(each, request, row, where, {} if calls is None else calls.noted, first + row)
            if met is not None:
                name = f"{key}:{row}:{met.node}"
                yield Exposure(name, time.time(), self._graph, *met, None, True, None, each.experiment.epoch)

    def _arm_of_failed(
        self, each: ArmColumns, request: Request, row: int, where: str, noted: Mapping[str, dict[int, Any]], place: int
    ) -> Met | None:
        node = each.experiment.node
        arm, unit = noted.get(each.arm, {}).get(place), noted.get(each.unit, {}).get(place)
        if arm is None:
            if each.inside and not where.startswith(f"{'/'.join(each.inside)}/"):
                return None  # who knows whether it came as far
            column = request.columns.get(each.asked or "")
            if not isinstance(column, np.ndarray) or row >= len(column):
                return None
            unit = column[row : row + 1].tolist()[0]
            if not is_missing_key(unit):
                chosen = choose_arms(column[row : row + 1], each.split, each.experiment.salt)
                arm = list(each.split)[int(chosen[0])]
        return None if arm is None or is_missing_key(unit) else Met(node, arm, self._signer.unit(canonical_bytes(unit)))


def _listed(column: Column, reply: Reply) -> list[Any]:
    assert isinstance(column, np.ndarray)
    found: list[Any] = column[reply.first : reply.end].tolist()
    return found


def _seconds(calls: _Calls | None, reply: Reply, path: str, first: int, row: int) -> float | None:
    if reply.calls:  # played row by row, by itself
        found = [call.seconds for call in reply.calls[row] if call.node == path]
        return sum(found) if found else None
    return None if calls is None else calls.seconds(path).get(first + row)


def _segments(columns: ArmColumns, reply: Reply, place: int) -> dict[str, object] | None:
    if not columns.segments:
        return None
    row: Indices = np.array([reply.first + place])
    found: dict[str, object] = {}
    for name, hidden in columns.segments.items():
        column = reply.columns[hidden]
        assert isinstance(column, np.ndarray)
        found[name] = column[row].tolist()[0]
    return found
