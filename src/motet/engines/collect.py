"""Runs whose answers are a table in memory instead of a file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from motet.engines.engine import Engine
from motet.errors import Failure, InputError, RowErrors
from motet.graph.check import CheckedGraph
from motet.io import is_frame, table_of, with_index
from motet.system.places import temporary_folder

__all__ = ["collect"]

_OF_FILES = ("failed", "resume", "append", "overwrite", "only_failed", "any_input")
_NOT_THE_FIRST = ("skip", "sample", "shard")
"""Where one of these is given, the rows are not the first ones of the source."""
_ROW = "__motet_row__"


def collect(engine: Engine, checked: CheckedGraph, source: Any, failures: str, options: Mapping[str, Any]) -> Any:
    """Play every row of a source; the answers as an Arrow table, beside the columns that are kept.

    Args:
        engine: what runs the graph. It writes to a temporary file, so a run needs no more memory than its answers.
        checked: the graph.
        source: what `motet.io.open_source` takes. Of a pandas frame the table keeps the index, for `to_pandas`.
        failures: `raise`, or `return` to get `(table, failures)`.
        options: those of the engine, but for what is about files.

    Raises:
        RowErrors: when rows failed; `columns` is the table of the others.
        InputError: when an option needs an output.
    """
    for name in _OF_FILES:
        if options.get(name):
            raise InputError(f"{name} is for runs that write a file", hint="name an output, such as answers.parquet")
    given = source
    if is_frame(source) and not isinstance(source, pa.RecordBatchReader):
        given = table_of(source, checked.graph.stored_types)
    with tempfile.TemporaryDirectory(prefix="motet-", dir=temporary_folder()) as folder:
        path = f"{folder}/answers.arrow"
        chosen = any(options.get(name) for name in _NOT_THE_FIRST)
        ids = options.get("row_ids") or (_ROW if chosen else None)
        report = engine.run(checked, given, path, **{**options, "row_ids": ids})
        with pa.memory_map(path) as file:
            table = pa.ipc.open_file(file).read_all()
        failed = _failures(report.failed_output)
    there = range(report.rows) if ids is None else table.column(ids).to_pylist()
    if ids == _ROW:
        table = table.drop_columns(_ROW)
    if isinstance(given, pa.Table):
        table = with_index(table, given.schema)
    if failures == "return":
        return table, failed
    if failed:
        bad = {failure.row for failure in failed}
        raise RowErrors(failed, table, [row for row in there if row not in bad])
    return table


def _failures(path: str) -> list[Failure]:
    if not path or not Path(path).exists():
        return []
    columns = [each.name for each in fields(Failure)]
    return [Failure(**row) for row in pq.read_table(path, columns=columns).to_pylist()]
