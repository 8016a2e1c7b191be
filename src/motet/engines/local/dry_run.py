"""A run that writes nothing: it checks what a run checks, and plays its first rows."""

from __future__ import annotations

import time

from motet.engines.local.beginning import Beginning, check_output
from motet.engines.local.estimate import NOTHING_TRIED, Estimate, estimated_memory, estimated_seconds, try_rows
from motet.engines.local.journal import PieceJournal
from motet.engines.local.prepared import PreparedRun
from motet.engines.local.results import RowCounts, open_output

__all__ = ["dry_run"]

MILLION = 1_000_000
"""Rows whose time is told where it is not known how many there are."""


def dry_run(run: PreparedRun) -> Estimate:
    """What a run would do and take.

    Raises:
        InputError, OutputExistsError, RunError: what the run would raise before its first row.
    """
    _check(run)
    begun = time.perf_counter()
    run.executor.load()
    loading = time.perf_counter() - begun
    rows = run.sizes.by_size()
    begun = time.perf_counter()
    items = run.input.read(rows)
    item = next(items, None)
    reading = time.perf_counter() - begun
    read = 0 if item is None else len(item.ids)
    paid = run.executor.paid
    plays = item is not None and not paid
    tried = try_rows(item.read, item.ids, run.batches.play_for_estimate) if item and plays else NOTHING_TRIED
    if not run.options.batch_rows and run.versions:
        rows = tried.cost.bound(rows)
    total, files = run.input.chosen.total, getattr(run.source, "reads", ())
    if total is None and next(items, None) is None:  # the first batch was all
        total = read
    return Estimate(
        graph=run.checked.graph.name,
        source=run.source.description,
        output=run.output,
        rows=total,
        files=len(files),
        bytes=sum(file.state()[0] if file.size is None else file.size for file in files if file.is_regular),
        columns=(*run.layout.known().names, *run.layout.undeclared),
        columns_left_out=run.layout.left_out,
        files_left_out=run.left_out,
        tried=tried.rows,
        paid=paid,
        failures=tried.failures,
        batch_rows=rows,
        workers=run.workers,
        seconds=estimated_seconds(
            tried, MILLION if total is None else total, rows, run.workers, reading / max(read, 1), loading
        ),
        memory_bytes=estimated_memory(tried, total, rows, run.workers),
    )


def _check(run: PreparedRun) -> None:
    """See that the run could begin."""
    check_output(run)
    journal = PieceJournal(run.destination.work_folder())  # and nobody else writes there
    try:
        open_output(run, journal, Beginning(run, journal), RowCounts()).check(run.layout.known())
    finally:
        journal.release()
