"""Tables and record batches, each an element: answered to the same kind of element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from motet.engines.beam.rows import PlayedElements
from motet.engines.tables import TableWorkers, failures_schema, play_table
from motet.io.memory import as_record_batch

__all__ = ["play_tables"]


def play_tables(workers: TableWorkers, values: Sequence[Any]) -> PlayedElements:
    """Play the rows of tables; what became of each.

    Args:
        workers: what plays tables of a schema.
        values: tables, or record batches.
    """
    found = PlayedElements([], [])
    for place, value in enumerate(values):
        worker, failed_schema = workers.of(value.schema), failures_schema(value.schema)
        answers, failures = play_table(worker, as_record_batch(value))
        found.answers.append(_like(value, answers, worker.job.answers_schema))
        found.failures += [(place, _like(value, [each], failed_schema)) for each in failures]
    return found


def _like(value: pa.Table | pa.RecordBatch, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> Any:
    """Batches as one element of the kind that came."""
    table = pa.Table.from_batches(batches, schema)
    return table if isinstance(value, pa.Table) else as_record_batch(table)
