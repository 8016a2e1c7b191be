"""What the replicas of a server's models are doing, in all of its processes.

A process looks at its own about once a second, in a thread, since the memory of processes takes a moment to read. It
counts them in its cells, and writes what it saw into a file beside them, by rename, from which the others take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from motet.runtime.model_runtime import ModelRuntime
from motet.runtime.replicas.slot import ReplicaState, ReplicaStatus
from motet.serving.observability.board import Board
from motet.serving.observability.counters import Counters, Followed, Gauges
from motet.serving.observability.publisher import CountedEntry

__all__ = ["ReplicaBoard"]

SUFFIX = ".replicas"
Seen = Mapping[str, Any]


class ReplicaBoard(Board):
    """Shows the replicas of this process, and knows those of the others.

    Args:
        folder: what the processes of the server share.
        cells: of this process.
    """

    def __init__(self, folder: Path, cells: Counters) -> None:
        super().__init__(folder, cells.id, SUFFIX)
        self._cells, self._restarts, self._gauges = cells, Followed(cells), Gauges(cells)

    def look(self, models: Sequence[tuple[ModelRuntime, Sequence[str]]]) -> list[Seen]:
        """The replicas of some models, and the graphs that have them; written down for the other processes. Any thread."""
        found = [_seen(model, graphs, each) for model, graphs in models for each in model.replicas.status()]
        self.show(found)
        return found

    def count(self, found: Sequence[Seen]) -> None:
        """Put what was seen into the cells, in the thread of their process's event loop."""
        gauges: dict[int, float] = {}

        def add(name: str, value: float, **labels: str) -> None:
            place = self._cells.at("gauge", name, 1, **labels)
            gauges[place] = gauges.get(place, 0.0) + value

        for each in found:
            labels = {"model": each["model"], "replica": each["name"]}
            add("motet_replica_state", 1.0, state=each["state"], **labels)
            add("motet_replica_in_flight", each["in_flight"], **labels)
            add("motet_replica_memory_bytes", each["memory_bytes"], **labels)
            self._restarts.follow(self._cells.at("counter", "motet_replica_restarts", **labels), each["restarts"])
        self._gauges.show(gauges)

    def close(self) -> None:
        """Show nothing any more."""
        self.count(())
        super().close()


def hosted(served: Iterable[CountedEntry]) -> list[tuple[ModelRuntime, Sequence[str]]]:
    """The models that are loaded, each once, and the graphs that have them."""
    models: dict[int, tuple[ModelRuntime, list[str]]] = {}
    for each in served:
        if each.batcher is not None and each.kind == "graph":
            for model in each.batcher.models:
                models.setdefault(id(model), (model, []))[1].append(each.name)
    return list(models.values())


def _seen(model: ModelRuntime, graphs: Sequence[str], replica: ReplicaStatus) -> Seen:
    return {
        "model": model.model.name,
        "graphs": list(graphs),
        "version": model.located.version,
        "name": replica.name,
        "kind": replica.kind,
        "state": ReplicaState(replica.state).value,
        "in_flight": replica.in_flight,
        "at_once": replica.at_once if replica.kind != "thread" else None,
        "calls": replica.calls,
        "restarts": replica.restarts,
        "memory_bytes": replica.memory_bytes,
        "pid": replica.pid,
        "reason": replica.reason,
        "loading_s": replica.loading_s,
    }
