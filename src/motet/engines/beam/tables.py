"""Tables and record batches, each an element: answered to the same kind of element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from motet.batch import Indices
from motet.engines.beam.rows import PlayedElements
from motet.engines.splits.shuffle import ROW
from motet.engines.stages import LEFT
from motet.engines.tables import TableWorkers, play_batches, told
from motet.io.memory import as_record_batch
from motet.io.take import take_batch

__all__ = ["leave_tables", "own_columns", "play_tables", "rows_of"]


def play_tables(workers: TableWorkers, values: Sequence[Any], *, staged: bool = False) -> PlayedElements:
    """Play the rows of tables; what became of each.

    Args:
        workers: what plays tables of a schema.
        values: tables, or record batches.
        staged: whether they have columns that a stage has left, which are no part of a row.
    """
    found = PlayedElements([], [])
    for place, value in enumerate(values):
        worker = workers.of(value.schema)
        played = play_batches(worker, as_record_batch(value))
        found.answers.append(_like(value, [answers for _, answers, _ in played], worker.job.answers_schema))
        found.failures += _failures(place, value, played, staged=staged)
    return found


def leave_tables(workers: TableWorkers, values: Sequence[Any]) -> PlayedElements:
    """Play the rows of tables in a stage behind which others come: to a table its rows that did not fail, and what the stage leaves.

    Args:
        workers: what plays tables of a schema; its answers say in `ROW` which rows they are of.
        values: tables, or record batches.
    """
    found = PlayedElements([], [])
    for place, value in enumerate(values):
        worker, own = workers.of(value.schema), own_columns(value.schema)
        played = play_batches(worker, as_record_batch(value))
        batches = [_left(read.select(own), answers) for read, answers, _ in played]
        left = [field for field in worker.job.answers_schema if field.name != ROW]
        schema = pa.schema([*(value.schema.field(name) for name in own), *left])
        found.answers.append(_like(value, batches, schema))
        found.failures += _failures(place, value, played, staged=True)
    return found


def own_columns(schema: pa.Schema) -> list[str]:
    """The columns of tables that no stage has left."""
    return [name for name in schema.names if not name.startswith(LEFT)]


def rows_of(value: Any, positions: Indices) -> Any:
    """Rows of a table or a record batch."""
    return _like(value, [take_batch(as_record_batch(value), positions)], value.schema)


def _left(rows: pa.RecordBatch, answers: pa.RecordBatch) -> pa.RecordBatch:
    rows = rows if len(rows) == len(answers) else take_batch(rows, answers[ROW].to_numpy())
    columns = {name: answers[name] for name in answers.schema.names if name != ROW}
    return pa.RecordBatch.from_arrays(
        [*rows.columns, *columns.values()],
        schema=pa.schema([*rows.schema, *(answers.schema.field(name) for name in columns)]),
    )


def _failures(place: int, value: Any, played: Any, *, staged: bool) -> list[tuple[int, Any]]:
    own = own_columns(value.schema) if staged else None
    told_of = [told(read.select(own) if own is not None else read, failed) for read, _, failed in played if len(failed)]
    return [(place, _like(value, [each], each.schema)) for each in told_of]


def _like(value: pa.Table | pa.RecordBatch, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> Any:
    """Batches as one element of the kind that came."""
    table = pa.Table.from_batches(batches, schema)
    return table if isinstance(value, pa.Table) else as_record_batch(table)
