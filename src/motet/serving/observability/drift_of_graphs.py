"""Which graphs of a process are watched for drift, and what is shown of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from motet.errors import GraphError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.planning.drift.reference import DriftReference
from motet.serving.config.observability import DriftConfig
from motet.serving.observability.counters import Counters
from motet.serving.observability.drift import DriftWindow, GraphDrift
from motet.serving.observability.totals import Numbers

__all__ = ["DriftOfGraphs", "WatchedGraph"]


@dataclass(frozen=True)
class WatchedGraph:
    """A graph that is watched: what counts, and what is shown."""

    drift: GraphDrift
    window: DriftWindow


class DriftOfGraphs:
    """The graphs of a process that are watched. Used by the thread of its event loop.

    Args:
        config: which.
        cells: where it is counted.

    Raises:
        InputError: when a reference cannot be read.
        GraphError: when two are of one graph.
    """

    def __init__(self, config: DriftConfig, cells: Counters) -> None:
        self.config, self._cells = config, cells
        self._references: dict[str, tuple[DriftReference, str]] = {}
        self._watched: dict[str, WatchedGraph] = {}
        for path in config.reference:
            read = DriftReference.read(path)
            if read.graph in self._references:
                other = self._references[read.graph][1]
                what = f"{path!r} and {other!r} are both of graph {read.graph!r}"
                raise GraphError(what, where="observability.drift.reference", hint="name one a graph")
            self._references[read.graph] = read, path

    def check(self, graphs: Sequence[str]) -> None:
        """See that the references are of graphs that exist.

        Raises:
            UnknownNameError: when one is not.
        """
        for name, (_, path) in self._references.items():
            if name not in graphs:
                raise UnknownNameError("graph", name, graphs, where=path)

    def watch(self, name: str, checked: CheckedGraph) -> None:
        """Watch a graph that was loaded, or loaded anew, where it has a reference.

        Raises:
            InputError: when its reference does not fit it; says what differs.
        """
        found = self._references.get(checked.graph.name)
        if found is None:
            return
        reference = found[0].fitted(checked, found[1])
        before = self._watched.get(name)
        if before is not None:
            before.drift.close()
        drift = GraphDrift(self._cells, name, checked, reference, self.config.sample)
        window = DriftWindow(reference, name, self.config.window_s, self.config.at_most)
        if before is not None and before.window.reference.digest == reference.digest:
            window = before.window
        self._watched[name] = WatchedGraph(drift, window)

    def of(self, name: str) -> GraphDrift | None:
        """What counts rows of this graph; None where it is not watched."""
        found = self._watched.get(name)
        return None if found is None else found.drift

    async def count(self) -> None:
        """Count what is held."""
        for each in list(self._watched.values()):
            await each.drift.look()

    def note(self, numbers: Numbers, *, say: bool) -> None:
        """Have windows move along; and say what has drifted."""
        for each in self._watched.values():
            each.window.note(numbers)
            if say:
                each.window.look(numbers)

    def snapshot(self, numbers: Numbers) -> dict[str, Any]:
        """By graph what the page shows."""
        return {name: each.window.snapshot(numbers) for name, each in self._watched.items()}

    def metrics(self, numbers: Numbers) -> Mapping[str, list[tuple[dict[str, str], float]]]:
        """Gauges by the names of metrics."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for each in self._watched.values():
            for name, values in each.window.metrics(numbers).items():
                found.setdefault(name, []).extend(values)
        return found

    def close(self) -> None:
        """Count what is held."""
        for each in self._watched.values():
            each.drift.close()
