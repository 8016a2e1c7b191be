"""How big things are: rows of a batch, rows of a model's call. Found earlier on this machine, or by the first rows of a run.

Both change what the last bits of some models' answers are, so a run keeps to them, and its resumption too. Models whose answers
do not depend on what shares a call go on looking for their best number while the run goes on.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping

from motet.engines.layout import MIN_ROWS
from motet.engines.local.head import Cost
from motet.graph.check import CheckedGraph
from motet.runtime.host import Host, LazyKey, ModelRuntime
from motet.runtime.sizes import BatchSize, RememberedSizes

__all__ = ["Sizing"]

MOST_WORKERS = 16
"""Each worker has two batches in memory."""
CALLS_A_SERVER = 4
"""Calls of one server that are under way where it has cores that nobody else uses."""
_COST = " us a row"


class Sizing:
    """Settles sizes for one run.

    Args:
        checked: the graph.
        host: holds its models.
        remembered: what was found earlier.
        versions: of its models, by name.
        digest: gives what `graph_digest` says of the graph.
    """

    def __init__(
        self,
        checked: CheckedGraph,
        host: Host,
        remembered: RememberedSizes,
        versions: Mapping[str, str],
        digest: Callable[[], str],
    ) -> None:
        self._checked, self._host, self._remembered = checked, host, remembered
        self._cost_key = _cost_key(digest(), versions) if versions else None
        self._lock = threading.Lock()
        self._rows, self._seconds = 0, 0.0

    def known_cost(self) -> Cost | None:
        """What a row of this graph costs, None where it was never timed here, or has no models."""
        found = None if self._cost_key is None else self._remembered.get(self._cost_key)
        return None if found is None else Cost(0.0, found / 1e6)

    def took(self, rows: int, seconds: float) -> None:
        """Learn how long a batch took; in any thread."""
        with self._lock:
            self._rows += rows
            self._seconds += seconds

    def workers(self, cores: int) -> int:
        """Threads that play batches: one a core, and where calls wait elsewhere enough to keep every replica busy.

        Args:
            cores: of this machine.
        """
        return max(cores, min(MOST_WORKERS, self._waiting(self._checked)))

    def _waiting(self, checked: CheckedGraph) -> int:
        """Calls that may wait for other processes and machines at the same time."""
        found, resolver, folder = 0, self._host.resolver, checked.graph.folder
        for model in checked.graph.models.values():
            servers = len(resolver.addresses(model, folder, resolver.locate(model, folder)))
            found += servers * CALLS_A_SERVER
            found += model.max_replicas if model.has_process else 0
        return found + sum(map(self._waiting, checked.graphs.values()))

    def take_remembered(self, lazy: Iterable[LazyKey]) -> None:
        """Take the sizes found earlier.

        Args:
            lazy: the models that come and go while it runs.
        """
        found = {key.version: self._remembered.get(key.version) for key in lazy}
        self._host.expect({version: rows for version, rows in found.items() if rows})
        for model in self._host.models:
            rows = self._remembered.get(model.key)
            if rows and not model.size.settled:
                model.size = BatchSize(rows, model.size.limit)

    def fixed(self) -> dict[str, int]:
        """By model, the sizes that must not change any more: those found so far of models whose answers depend on them."""
        models = [model for model in self._host.known if model.size.settled and not model.batch_invariant]
        return {model.key: model.size.best for model in models}

    def freeze(self, sizes: Mapping[str, int]) -> None:
        """Keep to these sizes, also for models that are loaded later."""
        self._host.expect(sizes)
        for model in self._host.models:
            if model.key in sizes:
                model.size = BatchSize(sizes[model.key], model.size.limit)

    def remember(self) -> None:
        """Keep what was found for the next run."""
        found = {model.key: model.size.best for model in self._host.known if _found_here(model)}
        if self._cost_key is not None and self._rows >= MIN_ROWS:
            found[self._cost_key] = max(1, round(self._seconds / self._rows * 1e6))
        if any(_differs(self._remembered.get(key), size, key) for key, size in found.items()):
            self._remembered.put(found)


def _cost_key(digest: str, versions: Mapping[str, str]) -> str:
    """What the cost of a graph with models of these versions is remembered by."""
    what = hashlib.sha256(repr((digest, sorted(versions.items()))).encode()).hexdigest()[:32]
    return f"graph {what}{_COST}"


def _found_here(model: ModelRuntime) -> bool:
    """Whether the size of a model was tried out, or learned, and is not what the graph or the model says."""
    batch = model.model.batch
    said = batch.rows or batch.max_rows or batch.max_cost or model.signature.fixed_rows or model.paid
    return bool(model.size.settled and model.stats.rows and not said)


def _differs(known: int | None, found: int, key: str) -> bool:
    """Whether a finding is news; costs are never measured twice alike, so only when they are off by half."""
    if known is None or not key.endswith(_COST):
        return known != found
    return not 0.5 <= known / found <= 2
