"""What others have counted in this process, copied into its cells: nodes, models, answers over HTTP, the process itself.

Those numbers cost the hot path nothing more. They are copied twice a second, and when this process is asked: what another
process shows of them is at most half a second old.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from motet.runtime.executor import NodeStats
from motet.runtime.host import ModelRuntime
from motet.serving.observability.counters import Counters, Gauges

__all__ = ["CountedBatcher", "CountedEntry", "Publisher", "Traffic", "open_files"]

_PAGE_BYTES = resource.getpagesize()


class CountedBatcher(Protocol):
    """What is read of a batcher."""

    waiting_rows: int

    @property
    def in_flight(self) -> int:
        """Requests that wait or are being played."""
        ...

    @property
    def models(self) -> Sequence[ModelRuntime]:
        """Its models."""
        ...

    @property
    def executor(self) -> Any:
        """Plays it: `stats` are those of its nodes, `shadows` its members off the way of the answers, `shared` has those that were late."""
        ...


class CountedEntry(Protocol):
    """What is read of a served graph or model."""

    name: str
    kind: Any
    batcher: Any


class Traffic(Protocol):
    """What is read of the connections of a process."""

    @property
    def connections(self) -> Any:
        """Those that are open."""
        ...

    @property
    def statuses(self) -> Mapping[int, int]:
        """How many answers were given with each HTTP status."""
        ...

    @property
    def received_bytes(self) -> int:
        """Of everything that came."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Of everything that was sent."""
        ...


class _Copied:
    """Numbers that somebody counts, and the cells they are added to; what was there before they began stays."""

    def __init__(self, stats: Any, fields: Mapping[str, str], cells: Counters, **labels: str) -> None:
        self.stats = stats
        self._values = cells.values
        self._places = [
            (field, cells.at("counter", name, 1, **labels), getattr(type(stats)(), field))
            for field, name in fields.items()
        ]

    def copy(self) -> None:
        """Add what was counted since the last time."""
        for number, (field, place, seen) in enumerate(self._places):
            now = getattr(self.stats, field)
            if now != seen:
                self._values[place] += now - seen
                self._places[number] = (field, place, now)


_NODE = {
    "rows": "motet_node_rows", "batches": "motet_node_batches", "seconds": "motet_node_seconds",
    "failed": "motet_node_failed_rows",
}  # fmt: skip
_SHADOW = {
    "played": "motet_shadow_played_rows", "failed": "motet_shadow_failed_rows", "dropped": "motet_shadow_dropped_rows",
    "compared": "motet_shadow_compared_rows", "agreed": "motet_shadow_agreed_rows",
}  # fmt: skip
_LATE = {"rows": "motet_late_rows"}
_MODEL = {
    "rows": "motet_model_rows", "calls": "motet_model_calls", "seconds": "motet_model_seconds",
    "failed": "motet_model_failed_rows",
}  # fmt: skip


class Publisher:
    """Copies numbers into the cells of this process, in the thread of its event loop.

    Args:
        cells: of this process.
        served: what is served, each once.
        traffic: the connections; None where there are none.
    """

    def __init__(
        self, cells: Counters, served: Callable[[], Iterable[CountedEntry]], traffic: Callable[[], Traffic | None]
    ) -> None:
        self._cells, self._values, self._served, self._traffic = cells, cells.values, served, traffic
        self._copied: dict[int, _Copied] = {}
        self._statuses: dict[int, int] = {}
        self._gauges = Gauges(cells)
        self._cpu = cells.at("counter", "process_cpu_seconds")
        self._memory = cells.at("gauge", "process_resident_memory_bytes")
        self._connections = cells.at("gauge", "motet_http_connections")
        self._bytes = [cells.at("counter", f"motet_http_{name}_bytes") for name in ("received", "sent")]

    def publish(self) -> None:
        """Copy everything."""
        live: dict[int, _Copied] = {}
        gauges: dict[int, float] = {}
        for served in self._served():
            batcher: CountedBatcher | None = served.batcher
            if batcher is None:
                continue
            if served.kind == "graph":
                for path, node in batcher.executor.stats.items():
                    live[id(node)] = self._of_node(node, served.name, path)
                for (path, member), shadow in batcher.executor.shadows.items():
                    live[id(shadow)] = self._of_member(shadow, _SHADOW, served.name, path, member)
                for (path, member), late in list(batcher.executor.shared.late.items()):
                    live[id(late)] = self._of_member(late, _LATE, served.name, path, member)
            for model in batcher.models:
                if id(model.stats) not in live:
                    live[id(model.stats)] = self._of_model(model)
            if served.kind == "graph" or batcher.in_flight:
                gauges[self._cells.at("gauge", "motet_in_flight", graph=served.name)] = batcher.in_flight
                gauges[self._cells.at("gauge", "motet_queued_rows", graph=served.name)] = batcher.waiting_rows
        for copied in {**self._copied, **live}.values():  # what is served no more is copied once again
            copied.copy()
        self._copied = live
        self._gauges.show(gauges)
        self._of_process()

    def _of_node(self, node: NodeStats, graph: str, path: str) -> _Copied:
        return self._copied.get(id(node)) or _Copied(node, _NODE, self._cells, graph=graph, node=path)

    def _of_member(self, stats: Any, fields: Mapping[str, str], graph: str, node: str, member: str) -> _Copied:
        known = self._copied.get(id(stats))
        return known or _Copied(stats, fields, self._cells, graph=graph, node=node, member=member)

    def _of_model(self, model: ModelRuntime) -> _Copied:
        stats = model.stats
        return self._copied.get(id(stats)) or _Copied(stats, _MODEL, self._cells, model=model.model.name)

    def _of_process(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._values[self._cpu] = used.ru_utime + used.ru_stime
        self._values[self._memory] = _resident_bytes(used.ru_maxrss)
        traffic = self._traffic()
        if traffic is None:
            return
        self._values[self._connections] = len(traffic.connections)
        received, sent = self._bytes
        self._values[received], self._values[sent] = traffic.received_bytes, traffic.sent_bytes
        for status, count in list(traffic.statuses.items()):
            before = self._statuses.get(status, 0)
            if count > before:
                place = self._cells.at("counter", "motet_http_responses", code=str(status))
                self._values[place] += count - before
                self._statuses[status] = count


def open_files() -> tuple[int, int]:
    """How many files and connections this process has open, 0 where the system does not say, and how many it may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return len(os.listdir("/proc/self/fd")) - 1, most
    except FileNotFoundError:
        return 0, most


def _resident_bytes(largest_kib: int) -> float:
    """Memory that is held now; where the system does not say, the most that ever was."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return largest_kib * 1024
