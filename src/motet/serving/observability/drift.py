"""Drift of a served graph: a sample of its rows is counted into the bins of a reference, beside the way of the answers.

trace, played (event loop, each batch) ──► the sampled rows alone, copied ──► held, at most MOST_ROWS
count (every half second, in a thread) ──► cells of the process, one a bin
DriftWindow: totals of all processes now, less those of a while ago ──► compare, as a report of files does
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from motet.batch import Array, Batch, Column, Indices, concat_columns, take_rows
from motet.graph.check import CheckedGraph
from motet.nodes.ensemble import Ensemble
from motet.planning.drift.compare import ColumnDrift, compare, count
from motet.planning.drift.features import DriftSample, MemberRows
from motet.planning.drift.reference import DriftReference
from motet.runtime.executor import Call, Played
from motet.serving.batching.request import Request
from motet.serving.observability.counters import Counters
from motet.serving.observability.totals import Numbers
from motet.system.incidents import INCIDENTS

__all__ = ["DRIFT_SERIES", "DriftWindow", "GraphDrift"]

_LOG = logging.getLogger("motet.serving")
MOST_ROWS = 16
"""Rows of a graph that are held until they are counted, twice a second: beyond it none is taken, so that cost has a bound."""
SHADOWS_S = 1.0
"""How long rows wait for members that do not count."""
STEPS = 12
"""Parts of a window: as it moves along it is longer by at most one of them."""
FRESH_S = 1.0
"""How old numbers may be that are shown."""
DRIFT_SERIES = "drift_rows"
"""What cells of bins are called; they are no metric."""


class _MemberCalls:
    """Of the calls of a batch what members answered to the sampled rows; a trace, for any thread."""

    __slots__ = ("calls", "places", "wanted")

    def __init__(self, places: Indices, wanted: Mapping[tuple[str, str], frozenset[str]]) -> None:
        self.places, self.wanted = places, wanted
        self.calls: list[tuple[tuple[str, str], Indices, dict[str, Column]]] = []

    @property
    def afterwards(self) -> _MemberCalls:
        """What takes calls that end when the batch has been answered."""
        return self

    def append(self, call: Call, /) -> None:
        """Take a call."""
        key = call.node, call.member
        names = self.wanted.get(key)
        if names is None or not call.outputs:
            return
        try:
            ids = call.answered
            at = np.flatnonzero(np.isin(ids, self.places))
            if len(at):
                columns = {name: take_rows(column, at) for name, column in call.outputs.items() if name in names}
                self.calls.append((key, np.searchsorted(self.places, ids[at]), columns))
        except Exception:  # noqa: BLE001 (rows are answered all the same)
            _LOG.exception("a call of %s is not looked at for drift", call.uses)


@dataclass(slots=True)
class _Sampled:
    """Rows that are to be counted."""

    time: float
    rows: int
    inputs: dict[str, Column]
    outputs: dict[str, Column]
    answered: Indices
    failed: int
    members: _MemberCalls | None


@dataclass(slots=True)
class _Playing:
    """A batch that sampled rows are in: the request that it is known by, which must not go meanwhile."""

    first: Request
    places: Indices
    members: _MemberCalls | None


class GraphDrift:
    """Counts a sample of what one graph is given and answers. All but `count` is for the thread of the event loop.

    Args:
        cells: where it is counted.
        graph: the graph's name.
        checked: the graph.
        reference: as it fits the graph.
        sample: the share of rows that is looked at.
        clock: seconds, monotonic.
        draw: a number from 0 to 1 by chance.
        most_rows: rows that are held until they are counted.
    """

    def __init__(
        self,
        cells: Counters,
        graph: str,
        checked: CheckedGraph,
        reference: DriftReference,
        sample: float,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self.graph, self.reference = graph, reference
        self._cells, self._clock, self._draw, self._most_rows = cells, clock, draw, most_rows
        self._log = math.log1p(-sample) if sample < 1 else -math.inf
        features = [each.feature for each in reference.columns]
        self._inputs = tuple({each.of: None for each in features if each.side == "input"})
        self._outputs = tuple({each.of: None for each in features if each.side == "output"})
        self._members = _wanted(reference)
        nodes = [checked.graph.nodes[node] for node in dict.fromkeys(node for node, _ in self._members)]
        self._shadows = any(isinstance(node, Ensemble) and 0 in node.weights for node in nodes)
        self._places = {
            each.feature.name: cells.at(
                "counter", DRIFT_SERIES, each.bins.size, **_labels(reference, graph, each.feature.name)
            )
            for each in reference.columns
        }
        self._rows = cells.at("counter", "motet_drift_sampled_rows", graph=graph)
        self._playing: dict[int, _Playing] = {}
        self._held: list[_Sampled] = []
        self._held_rows = 0
        self._skip = self._gap()

    def _gap(self) -> int:
        """How many rows are left out before the next one: each is taken with the same chance, whatever came before."""
        return int(math.log(1.0 - self._draw()) / self._log) if self._log > -math.inf else 0

    def trace(self, requests: Sequence[Request]) -> _MemberCalls | None:
        """A batch is about to be played: draw rows of it. Is given its calls where members are looked at."""
        rows = requests[0].rows if len(requests) == 1 else sum([request.rows for request in requests])
        if self._skip >= rows:
            self._skip -= rows
            return None
        if self._held_rows >= self._most_rows:
            return None  # the same row is the next to be taken: chance knows no past
        places: list[int] = []
        while self._skip < rows and self._held_rows + len(places) < self._most_rows:
            places.append(self._skip)
            self._skip += 1 + self._gap()
        self._skip = self._skip - rows if self._skip >= rows else self._gap()
        drawn = np.array(places, dtype=np.int64)
        members = _MemberCalls(drawn, self._members) if self._members else None
        self._playing[id(requests[0])] = _Playing(requests[0], drawn, members)
        return members

    def played(self, requests: Sequence[Request], played: Played) -> None:
        """A batch was played: hold the rows of it that were drawn."""
        if not self._playing:
            return
        found = self._playing.pop(id(requests[0]), None)
        if found is None:
            return
        drawn, ids = found.places, played.outputs.ids
        at = np.searchsorted(ids, drawn)
        there = at < len(ids)
        there[there] = ids[at[there]] == drawn[there]
        failed = {each.row for each in played.failures} & set(drawn.tolist()) if played.failures else ()
        outputs = {name: take_rows(played.outputs.columns[name], at[there]) for name in self._outputs}
        inputs = self._of_requests(requests, drawn) if self._inputs else {}
        self._held.append(
            _Sampled(self._clock(), len(drawn), inputs, outputs, np.flatnonzero(there), len(failed), found.members)
        )
        self._held_rows += len(drawn)

    def _of_requests(self, requests: Sequence[Request], drawn: Indices) -> dict[str, Column]:
        """The inputs of the rows that were drawn."""
        if len(requests) == 1:
            return {name: take_rows(requests[0].columns[name], drawn) for name in self._inputs}
        parts: dict[str, list[Column]] = {name: [] for name in self._inputs}
        first = low = 0
        for request in requests:
            end = first + request.rows
            high = int(np.searchsorted(drawn, end))
            if high > low:
                columns = request.columns
                for name, part in parts.items():
                    part.append(take_rows(columns[name], drawn[low:high] - first))
            first, low = end, high
        return {name: concat_columns(part) for name, part in parts.items()}

    def refused(self, request: Request) -> None:
        """A request is not answered: rows that were drawn of a batch that is known by it are not looked at."""
        self._playing.pop(id(request), None)

    def take(self, *, all: bool = False) -> list[_Sampled]:
        """What is to be counted now, which is held no more; what waits for members that do not count stays a while."""
        until = self._clock() - SHADOWS_S
        wait = self._shadows and not all
        due = [each for each in self._held if not wait or each.time <= until]
        self._held = self._held[len(due) :]
        self._held_rows = sum(each.rows for each in self._held)
        return due

    def count(self, due: Sequence[_Sampled]) -> dict[str, Array]:
        """Where these rows lie, by feature; in any thread."""
        return count(self.reference, _sample(due)) if due else {}

    def add(self, counted: Mapping[str, Array], rows: int) -> None:
        """Add counts to the cells."""
        self._cells.values[self._rows] += rows
        for name, counts in counted.items():
            place = self._places[name]
            for cell in np.flatnonzero(counts).tolist():
                self._cells.values[place + cell] += counts[cell]

    async def look(self) -> None:
        """Count what is held, in a thread."""
        due = self.take()
        if due:
            self.add(await asyncio.to_thread(self.count, due), sum(each.rows for each in due))

    def close(self) -> None:
        """Count what is held, here."""
        due = self.take(all=True)
        self.add(self.count(due), sum(each.rows for each in due))


def _wanted(reference: DriftReference) -> dict[tuple[str, str], frozenset[str]]:
    """By node and member the outputs that are looked at."""
    found: dict[tuple[str, str], set[str]] = {}
    for each in reference.columns:
        for member, output in zip(each.feature.members, each.feature.outputs, strict=True):
            found.setdefault((each.feature.of, member), set()).add(output)
    return {key: frozenset(names) for key, names in found.items()}


def _sample(due: Sequence[_Sampled]) -> DriftSample:
    """Rows of several batches as one sample, numbered from 0."""
    firsts = np.cumsum([0, *(each.rows for each in due)]).tolist()
    total = firsts[-1]
    inputs = {name: concat_columns([each.inputs[name] for each in due]) for name in due[0].inputs}
    outputs = {name: concat_columns([each.outputs[name] for each in due]) for name in due[0].outputs}
    answered = np.concatenate([each.answered + first for each, first in zip(due, firsts, strict=False)])
    members: dict[tuple[str, str], list[tuple[Indices, dict[str, Column]]]] = {}
    for each, first in zip(due, firsts, strict=False):
        for key, places, columns in list(each.members.calls) if each.members is not None else ():
            members.setdefault(key, []).append((places + first, columns))
    return DriftSample(
        Batch.of(inputs, np.arange(total)), Batch.of(outputs, answered),
        {key: MemberRows.of_calls(calls) for key, calls in members.items()},
        len(answered), sum(each.failed for each in due),
    )  # fmt: skip


def _labels(reference: DriftReference, graph: str, column: str) -> dict[str, str]:
    return {"graph": graph, "column": column, "reference": reference.digest}


@dataclass
class DriftWindow:
    """What all processes of a server have counted of one graph lately, beside its reference. Used by one thread.

    Args:
        reference: as it fits the graph.
        graph: the graph's name.
        window_s: how long back it looks, in seconds.
        at_most: the population stability index above which a column is said to have drifted.
        clock: seconds, monotonic.
    """

    reference: DriftReference
    graph: str
    window_s: float
    at_most: float
    clock: Callable[[], float] = time.monotonic
    _kept: deque[tuple[float, dict[str, Array]]] = field(default_factory=deque)
    _found: tuple[float, list[ColumnDrift]] | None = None
    _said: frozenset[str] = frozenset()

    def note(self, numbers: Numbers) -> None:
        """Remember the totals of this moment, where it is time to; to be called about once a second."""
        now = self.clock()
        while len(self._kept) > 1 and self._kept[1][0] <= now - self.window_s:
            self._kept.popleft()
        if not self._kept or now - self._kept[-1][0] >= self.window_s / STEPS:
            self._kept.append((now, self._counts(numbers)))

    def columns(self, numbers: Numbers) -> list[ColumnDrift]:
        """How far each column has drifted."""
        self.note(numbers)
        if self._found is None or self.clock() - self._found[0] >= FRESH_S:
            before, now = self._kept[0][1], self._counts(numbers)
            lately = {name: counts - before[name] if name in before else counts for name, counts in now.items()}
            none = {each.feature.name: np.zeros(each.bins.size) for each in self.reference.columns}
            self._found = self.clock(), compare(self.reference, {**none, **lately}, self.at_most)
        return self._found[1]

    def _counts(self, numbers: Numbers) -> dict[str, Array]:
        return {
            labels["column"]: np.array(values)
            for labels, values in numbers.of(DRIFT_SERIES)
            if labels["graph"] == self.graph and labels["reference"] == self.reference.digest
        }

    def look(self, numbers: Numbers) -> None:
        """Say which columns have drifted, and which have come back."""
        found = {each.name: each for each in self.columns(numbers)}
        drifted = frozenset(name for name, each in found.items() if each.drifted)
        for name in sorted(drifted - self._said):
            each = found[name]
            text = "graph %s: %s has drifted: an index of %.3f, by chance at most %.3f, on %d rows"
            fields = {"graph": self.graph, "column": name, "psi": each.psi, "rows": each.rows}
            of = f"{self.graph} {name}"
            INCIDENTS.say(_LOG, "drifted", text, self.graph, name, each.psi, each.by_chance, each.rows, of=of, **fields)
        for name in sorted(self._said - drifted):
            text = "graph %s: %s is spread as it was"
            INCIDENTS.say(
                _LOG, "drift_over", text, self.graph, name, of=f"{self.graph} {name}", graph=self.graph, column=name
            )
        self._said = drifted

    def snapshot(self, numbers: Numbers) -> dict[str, Any]:
        """What the page shows: `of`, `made`, `reference_rows`, `at_most`, `window_s` (what was seen of it), and `columns`."""
        columns = self.columns(numbers)
        return {
            "of": self.reference.of, "made": self.reference.made, "reference_rows": self.reference.rows, "at_most": self.at_most,
            "window_s": self.clock() - self._kept[0][0], "columns": [asdict(each) for each in columns],
        }  # fmt: skip

    def metrics(self, numbers: Numbers) -> dict[str, list[tuple[dict[str, str], float]]]:
        """The gauges of each column, by the names of metrics."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for each in self.columns(numbers):
            values = {
                "rows": each.rows, "psi": each.psi, "psi_by_chance": each.by_chance, "total_variation": each.total_variation,
                "missing": each.missing, "drifted": float(each.drifted), "ks": each.ks,
            }  # fmt: skip
            for name, value in values.items():
                if value is not None:
                    found.setdefault(f"motet_drift_{name}", []).append(
                        ({"graph": self.graph, "column": each.name}, value)
                    )
        return found
