"""How many rows a batch of a run has by their size, and how many batches are played together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from motet.engines.layout import BATCH_BYTES, RunLayout, choose_batch_rows, choose_window_rows
from motet.io import Source
from motet.io.stream import Stream
from motet.runtime.executor import Executor

__all__ = ["BatchRows", "RowBytes"]

LARGE_ROW = 256
"""Bytes of a row from which on it is looked at how many of them are played."""
FEW_KEYED = 8
"""Among more models that keys choose from, rows of several batches are played together."""


class RowBytes:
    """How large rows are, as far as that is known before they are read. Nothing is, and need be, of text that one batch holds.

    Args:
        source: where they are.
        layout: what is read of them, and answered.
    """

    def __init__(self, source: Source, layout: RunLayout) -> None:
        self._source, self._layout = source, layout

    @cached_property
    def held(self) -> float:
        """Bytes of all columns that are read, and of answers whose type says it."""
        return self._of(self._layout.read) + sum(kind.row_bytes or 0 for kind in self._layout.outputs.values())

    @property
    def answers_vary(self) -> bool:
        """Whether only playing rows tells how large answers are."""
        return any(kind.row_bytes is None for kind in self._layout.outputs.values())

    @property
    def played(self) -> float:
        """Bytes of what the graph takes; 0 where rows are small."""
        taken = [self._layout.stored[name] for name in self._layout.taken]
        return self._of(taken) if taken and self.held > LARGE_ROW else 0.0

    def _of(self, columns: Sequence[str]) -> float:
        source = self._source
        if not isinstance(source, Stream) or (source.text_bytes or BATCH_BYTES + 1) <= BATCH_BYTES:
            return 0.0
        return source.row_bytes(columns)


class BatchRows:
    """Sizes of batches, and of the windows that are played together where keys choose among many models.

    Args:
        executor: plays the graph.
        total: how many rows the run has; None where that is not known.
        workers: threads that play.
        asked: rows of a batch that were asked for; None for none.
        measured: how large rows are; None where only their types say it.
        models: whether the graph has models.
    """

    def __init__(
        self,
        executor: Executor,
        total: int | None,
        workers: int,
        asked: int | None,
        measured: RowBytes | None,
        *,
        models: bool,
    ) -> None:
        self._measured = measured
        self._executor, self._total, self._workers, self._models = executor, total, workers, models
        self._kinds = [each.type for each in executor.checked.graph.inputs.values()]
        self.asked = asked

    def by_size(self) -> int:
        """Rows of a batch, as was asked for or by their size."""
        chosen = self.asked or self._window
        if chosen:
            return chosen
        played = 0.0 if self._measured is None else self._measured.played
        return choose_batch_rows(
            self._kinds, self._total, self._workers, models=self._models, played=played, held=self._held
        )

    @property
    def _held(self) -> float:
        return 0.0 if self._measured is None else self._measured.held

    def together(self, batch_rows: int) -> int:
        """Batches that are played together."""
        return max(1, self._window // batch_rows)

    @cached_property
    def _window(self) -> int:
        """Rows that are played together where keys choose among many models; 0 where they do not."""
        if self._executor.lazy_keys:
            return choose_window_rows(self._kinds, self._total, min(2, self._workers), self._held)
        if self._executor.num_keyed > FEW_KEYED:
            workers = 1 if _one_at_a_time(self._executor) else self._workers
            return choose_window_rows(self._kinds, self._total, workers, self._held)
        return 0


def _one_at_a_time(executor: Executor) -> bool:
    """Whether calls of every model hold the interpreter's lock, so that a second worker gains nothing."""
    graph, resolver = executor.checked.graph, executor.host.resolver
    handlers = [resolver.locate(model, graph.folder).handler for model in graph.models.values()]
    alone = all(getattr(handler, "holds_lock", False) for handler in handlers)
    return alone and all(map(_one_at_a_time, executor.graphs.values()))
