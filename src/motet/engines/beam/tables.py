"""Tables and record batches, each an element: answered to the same kind of element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from motet.engines.batch_worker import BatchWorker
from motet.engines.beam.rows import PlayedElements
from motet.engines.tables import failures_schema, told
from motet.io.memory import as_record_batch

__all__ = ["play_tables"]


def play_tables(worker_of: Callable[[pa.Schema], BatchWorker], values: Sequence[Any]) -> PlayedElements:
    """Play the rows of tables; what became of each.

    Args:
        worker_of: gives what plays tables of a schema.
        values: tables, or record batches.
    """
    found = PlayedElements([], [])
    for place, value in enumerate(values):
        answer, failures = _play_table(worker_of(value.schema), value)
        found.answers.append(answer)
        found.failures += [(place, failure) for failure in failures]
    return found


def _play_table(worker: BatchWorker, value: Any) -> tuple[Any, list[Any]]:
    """Play a table, a batch at a time."""
    rows = worker.job.batch_rows
    whole = as_record_batch(value)
    answers: list[pa.RecordBatch] = []
    failures: list[Any] = []
    for start in range(0, len(whole), rows):
        read = whole.slice(start, rows)
        answered, failed = worker.play(read, np.arange(len(read)))
        answers.append(answered)
        if len(failed):
            failures.append(_like(value, [told(read, failed)], failures_schema(whole.schema)))
    return _like(value, answers, worker.job.answers_schema), failures


def _like(value: pa.Table | pa.RecordBatch, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> Any:
    """Batches as one element of the kind that came."""
    table = pa.Table.from_batches(batches, schema)
    return table if isinstance(value, pa.Table) else as_record_batch(table)
