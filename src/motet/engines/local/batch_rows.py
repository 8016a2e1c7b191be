"""How many rows a batch of a run has by their size, and how many batches are played together."""

from __future__ import annotations

from motet.engines.local.layout import choose_batch_rows, choose_window_rows
from motet.runtime.executor import Executor

__all__ = ["BatchRows"]

FEW_KEYED = 8
"""Among more models that keys choose from, rows of several batches are played together."""


class BatchRows:
    """Sizes of batches, and of the windows that are played together where keys choose among many models.

    Args:
        executor: plays the graph.
        total: how many rows the run has; None where that is not known.
        workers: threads that play.
        asked: rows of a batch that were asked for; None for none.
        models: whether the graph has models.
    """

    def __init__(self, executor: Executor, total: int | None, workers: int, asked: int | None, *, models: bool) -> None:
        self._executor, self._total, self._workers, self._models = executor, total, workers, models
        self._kinds = [each.type for each in executor.checked.graph.inputs.values()]
        self.asked = asked

    def by_size(self) -> int:
        """Rows of a batch, as was asked for or by their size."""
        chosen = self.asked or self._window()
        return chosen or choose_batch_rows(self._kinds, self._total, self._workers, models=self._models)

    def together(self, batch_rows: int) -> int:
        """Batches that are played together."""
        return max(1, self._window() // batch_rows)

    def _window(self) -> int:
        """Rows that are played together where keys choose among many models; 0 where they do not."""
        if self._executor.lazy_keys:
            return choose_window_rows(self._kinds, self._total, min(2, self._workers))
        if self._executor.num_keyed > FEW_KEYED:
            workers = 1 if _one_at_a_time(self._executor) else self._workers
            return choose_window_rows(self._kinds, self._total, workers)
        return 0


def _one_at_a_time(executor: Executor) -> bool:
    """Whether calls of every model hold the interpreter's lock, so that a second worker gains nothing."""
    graph, resolver = executor.checked.graph, executor.host.resolver
    handlers = [resolver.locate(model, graph.folder).handler for model in graph.models.values()]
    alone = all(getattr(handler, "holds_lock", False) for handler in handlers)
    return alone and all(map(_one_at_a_time, executor.graphs.values()))
