"""How big things are: rows of a batch, rows of a model's call. Found earlier on this machine, or tried out first.

Both change what the last bits of some models' answers are, so a run settles them before it begins, and keeps to them.
Models whose answers do not depend on what shares a call go on looking for their best number while the run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from motet.batch import Batch
from motet.engines.local.layout import MIN_ROWS
from motet.errors import ModelFailedError
from motet.graph.check import CheckedGraph
from motet.runtime.executor import Executor, drive
from motet.runtime.host import Host, HostedModel, LazyKey, model_key
from motet.runtime.sizes import BatchSize, RememberedSizes

__all__ = ["Sizing"]

TRIAL_SECONDS = 0.5
"""Trying out ends when it has taken this long; the rows tried are played again by the run."""
TRIAL_ROWS = (1, 8, 64, 512, 2048)
BATCH_SECONDS = 2.0
"""A batch should not take longer, so that progress is seen, and little is lost when a run is killed."""
MOST_WORKERS = 16
"""Each worker has two batches in memory."""
CALLS_A_SERVER = 4
"""Calls of one server that are under way where it has cores that nobody else uses."""
LAZY_ROWS = 256
"""Rows of a call of a model that comes and goes, where none were found earlier: there is no time to try numbers."""
_COST = " us a row"


class Sizing:
    """Settles sizes for one run.

    Args:
        checked: the graph.
        host: holds its models.
        remembered: what was found earlier.
        lazy: the models that come and go while it runs.
    """

    def __init__(
        self, checked: CheckedGraph, host: Host, remembered: RememberedSizes, lazy: Sequence[LazyKey] = ()
    ) -> None:
        self._checked, self._host, self._remembered, self._lazy = checked, host, remembered, lazy

    def known_cost(self) -> float | None:
        """Seconds that a row takes through every model, None where some model was never timed here."""
        costs = [self._remembered.get(key + _COST) for key in self._keys(self._checked)]
        known = [cost for cost in costs if cost is not None]
        return sum(known) / 1e6 if len(known) == len(costs) else None

    def workers(self, cores: int) -> int:
        """Threads that play batches: one a core, and where calls wait elsewhere enough to keep every replica busy.

        Args:
            cores: of this machine.
        """
        return max(cores, min(MOST_WORKERS, self._waiting(self._checked)))

    def _waiting(self, checked: CheckedGraph) -> int:
        """Calls that may wait for other processes and machines at the same time."""
        found = 0
        for model in checked.graph.models.values():
            servers = len(self._host.resolver.addresses(model, checked.graph.folder))
            found += servers * CALLS_A_SERVER
            found += model.max_replicas if model.placement == "process" else 0
        return found + sum(map(self._waiting, checked.graphs.values()))

    def _keys(self, checked: CheckedGraph) -> Iterator[str]:
        for model in checked.graph.models.values():
            yield model_key(model, self._host.resolver.locate(model, checked.graph.folder))
        for inner in checked.graphs.values():
            yield from self._keys(inner)

    def try_out(self, batch: Batch) -> float:
        """Play the first rows of a batch, more and more of them, to time calls; the answers are forgotten.

        Returns:
            seconds that a row takes.
        """
        self._take_remembered()
        began, cost = time.perf_counter(), 0.0
        for rows in TRIAL_ROWS:
            self._forget()  # rows that fail again and again are not more rows
            trial = Executor(self._checked, self._host)
            chosen = batch.take(range(min(rows, len(batch))))
            started = time.perf_counter()
            try:
                drive(trial.play(chosen))
            except ModelFailedError:
                break  # the first rows may be bad and others good: the run itself finds out
            cost = (time.perf_counter() - started) / len(chosen)
            if time.perf_counter() - began > TRIAL_SECONDS or rows >= len(batch):
                break
        self._remembered.put(
            {model.key + _COST: _microseconds(model) for model in self._host.models if model.stats.rows}
        )
        self._forget()
        return cost

    def _forget(self) -> None:
        for model in self._host.models:
            model.forget()

    def settle(self) -> dict[str, int]:
        """Take the sizes found earlier; give, by model, those that must not change any more."""
        self._take_remembered()
        fixed = {model.key: model.size.best for model in self._host.models if not model.batch_invariant}
        self._remember([model for model in self._host.models if not model.batch_invariant])
        fixed |= {key.version: self._remembered.get(key.version) or LAZY_ROWS for key in self._lazy}
        self.freeze(fixed)
        return fixed

    def _take_remembered(self) -> None:
        for model in self._host.models:
            found = self._remembered.get(model.key)
            if found and not model.size.settled:
                model.size = BatchSize(found, model.size.limit)

    def freeze(self, sizes: Mapping[str, int]) -> None:
        """Keep to these sizes, also for models that are loaded later."""
        self._host.expect(sizes)
        for model in self._host.models:
            if model.key in sizes:
                model.size = BatchSize(sizes[model.key], model.size.limit)

    def remember(self) -> None:
        """Keep what was found for the next run."""
        self._remember([model for model in self._host.models if model.size.settled and model.stats.rows])

    def _remember(self, models: list[HostedModel]) -> None:
        free = [model for model in models if model.model.batch.max_rows is None and not model.signature.fixed_rows]
        found = {model.key: model.size.best for model in free}
        found |= {model.key + _COST: _microseconds(model) for model in models if model.stats.rows >= MIN_ROWS}
        if any(_differs(self._remembered.get(key), size, key) for key, size in found.items()):
            self._remembered.put(found)


def _microseconds(model: HostedModel) -> int:
    return max(1, round(model.stats.seconds / model.stats.rows * 1e6))


def _differs(known: int | None, found: int, key: str) -> bool:
    """Whether a finding is news; costs are never measured twice alike, so only when they are off by half."""
    if known is None or not key.endswith(_COST):
        return known != found
    return not 0.5 <= known / found <= 2


def bounded_by_time(batch_rows: int, cost: float) -> int:
    """Rows of a batch that take `BATCH_SECONDS` at most, a power of two so that calls are cut alike."""
    if cost * batch_rows <= BATCH_SECONDS:
        return batch_rows
    rows = int(BATCH_SECONDS / cost)
    return max(1, min(batch_rows, 1 << max(0, rows.bit_length() - 1)))
