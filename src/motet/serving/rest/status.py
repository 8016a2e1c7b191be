"""The numbers of the page where nobody counts for all processes: what the batchers of this one know.

They have the form that `motet.serving.observability.status` has, and lack what only it knows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from motet.errors import Failure
from motet.serving.batching.request import Request
from motet.serving.repository.repository import ModelRepository

__all__ = ["ErrorLog", "batcher_status", "for_anybody"]

KEPT = 100
SHOWN = ("time", "graph", "node", "error", "rows")
"""What everybody may know of an error."""
HIDDEN = ("reason", "who")
"""What may name files, addresses and commands of the server's machine."""
LONGEST = 400


class ErrorLog:
    """The last rows and requests that failed."""

    def __init__(self) -> None:
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def failed(self, graph: str, id: str, failures: Sequence[Failure]) -> None:
        """Rows of a request failed."""
        for failure in failures[:KEPT]:
            self._add(graph, failure.node, failure.error, failure.message, id, 1)

    def refused(self, graph: str, request: Request, error: BaseException, status: int) -> None:
        """A request was not answered; mistakes of callers are not kept."""
        if status >= 500 or status == 422:
            self._add(graph, "", type(error).__name__, str(error), request.id, request.rows)

    def _add(self, graph: str, node: str, error: str, message: str, id: str, rows: int) -> None:
        kept = {"time": time.time(), "graph": graph, "node": node, "error": error, "id": id[:64], "rows": rows}
        self._kept.appendleft(kept | {"message": message[:LONGEST]})

    def listed(self) -> list[dict[str, Any]]:
        """All of them, the last first."""
        return list(self._kept)


def batcher_status(repository: ModelRepository, errors: ErrorLog) -> dict[str, Any]:
    """What the batchers of this process know: totals of nodes, rows that wait, the errors of `/predict`."""
    graphs = {}
    for served in dict.fromkeys(repository.served.values()):
        if served.batcher is None:
            continue
        stats = served.batcher.executor.stats
        nodes = {
            path: {
                "rows": each.rows,
                "failed_rows": each.failed,
                "seconds_per_row": each.seconds / each.rows if each.rows else None,
            }
            for path, each in stats.items()
        }
        graphs[served.name] = {"queued_rows": served.batcher.waiting_rows, "nodes": nodes}
    return {"time": time.time(), "processes": 1, "graphs": graphs, "models": {}, "errors": errors.listed()}


def for_anybody(found: Any) -> Any:
    """What is shown without what only administrators may see: rows, ids, files and addresses, which messages may hold."""
    if isinstance(found, list):
        return [for_anybody(each) for each in found]
    if not isinstance(found, dict):
        return found
    return {key: _shown(key, value) for key, value in found.items()}


def _shown(key: str, value: Any) -> Any:
    if key == "errors":
        return [{name: each[name] for name in SHOWN if name in each} for each in value]
    if key == "places":
        value = [{**each, "models": [{**model, "error": ""} for model in each["models"]]} for each in value]
    return "" if key in HIDDEN else for_anybody(value)
