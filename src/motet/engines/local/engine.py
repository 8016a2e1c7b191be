"""A run of the embedded engine: prepared, played, finished."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from motet.engines.local.batches import BatchResult, answered_bytes
from motet.engines.local.beginning import Beginning, check_output
from motet.engines.local.journal import PieceJournal
from motet.engines.local.pipeline import Pipeline
from motet.engines.local.prepared import PreparedRun, prepared, underway
from motet.engines.local.report import (
    NothingNew,
    RunReport,
    model_reports,
    node_reports,
    nothing_to_do,
    peak_memory_bytes,
)
from motet.engines.local.results import ResultWriter
from motet.engines.local.rows import ReadItem
from motet.engines.local.streams.address import is_topic
from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.io.stream import Stream

if TYPE_CHECKING:
    from motet.engines.local.estimate import Estimate

__all__ = ["LocalEngine"]


class LocalEngine:
    """Runs a graph on this machine."""

    def run(self, checked: CheckedGraph, source: Any, output: str, **options: Any) -> RunReport:
        """Play every row of a source and write the answers.

        Args:
            checked: the graph.
            source: what `motet.io.open_source` takes.
            output: the file to write; its suffix says the format. A path ending in `/` is a folder that keeps the parts.
            options: the fields of `Options`.

        Raises:
            InputError: when the source, the output or an option cannot be used.
            RunError: when the run could not go on; what is finished is kept, and `resume` goes on from there.
        """
        _check_options(options)
        if is_topic(source):
            from motet.engines.local.streams.run import run_stream  # few runs have no end

            return run_stream(checked, source, output, options)
        try:
            with prepared(checked, source, output, options) as run:
                return _run(run)
        except NothingNew as nothing:
            return nothing_to_do(checked.graph.name, str(source), output, nothing.said)

    def estimate(self, checked: CheckedGraph, source: Any, output: str, **options: Any) -> Estimate:
        """Check what a run checks, and play its first rows to tell what it would take; nothing is written.

        Args and errors are those of `run`.
        """
        from motet.engines.local.dry_run import dry_run  # few runs are dry
        from motet.engines.local.estimate import nothing_to_estimate

        _check_options(options)
        if is_topic(source):
            hint = "limit=100, with a group and an output of its own, tries it"
            raise InputError("a stream has no dry run", where="dry_run", hint=hint)
        try:
            with prepared(checked, source, output, options) as run:
                return dry_run(run)
        except NothingNew as nothing:
            return nothing_to_estimate(checked.graph.name, str(source), output, nothing.said)


def _check_options(options: Mapping[str, Any]) -> None:
    if options.get("ship"):
        what = "ship is for engines with workers on other machines; this one plays where the models are"
        raise InputError(what, where="engine local", hint="leave it out, or name another engine")


def _run(run: PreparedRun) -> RunReport:
    """Begin, play, finish. What a run has begun that fails is undone, but for its journal."""
    check_output(run)
    journal = PieceJournal(run.destination.work_folder())
    try:
        with ExitStack() as undo:
            undo.callback(journal.release)
            return _played(run, journal, undo)
    finally:
        run.sizing.remember()


def _played(run: PreparedRun, journal: PieceJournal, undo: ExitStack) -> RunReport:
    beginning = Beginning(run, journal)
    writer = ResultWriter(run, journal, beginning)
    undo.callback(writer.abort)
    writer.open()
    pipeline = _pipeline(run, beginning)
    undo.callback(pipeline.close)
    undo.callback(_stop, run)
    pipeline.start()
    run.executor.load()
    beginning.begin()
    writer.replay(beginning.pieces())
    with underway(run.output):
        writer.write_all(result for results in pipeline for result in results)
    pipeline.close()
    writer.reconcile()
    with underway(run.output):
        failed_path = writer.finish()
    journal.remove()
    undo.pop_all()  # nothing is left to undo
    return _report(run, beginning, pipeline, writer, failed_path)


def _pipeline(run: PreparedRun, beginning: Beginning) -> Pipeline[ReadItem, list[BatchResult]]:
    """Reads and plays what no earlier part of the run has played."""
    pieces, batch_rows = beginning.pieces(), beginning.batch_rows
    first, skip = pieces[-1].end if pieces else 0, sum(piece.rows for piece in pieces)
    items = run.input.read(batch_rows, run.sizes.together(batch_rows), first=first, skip=skip)
    batches = run.batches
    sizes = batches.expected_bytes, answered_bytes
    return Pipeline(items, partial(batches.play, batch_rows), run.workers, sizes, partial(batches.cut, batch_rows))


def _stop(run: PreparedRun) -> None:
    """Let nothing wait any more that reads or plays."""
    run.turns.stop()
    if isinstance(run.source, Stream):
        run.source.stop()


def _report(
    run: PreparedRun,
    beginning: Beginning,
    pipeline: Pipeline[ReadItem, list[BatchResult]],
    writer: ResultWriter,
    failed_path: str,
) -> RunReport:
    seconds = time.perf_counter() - run.started
    counts = writer.counts
    return RunReport(
        graph=run.checked.graph.name,
        source=run.source.description,
        output=run.output,
        failed_output=failed_path,
        first_failures=tuple(writer.failures.first),
        rows=counts.rows,
        answered=counts.rows - counts.failed,
        failed=counts.failed,
        resumed_rows=counts.resumed,
        seconds=seconds,
        rows_per_second=(counts.rows - counts.resumed) / seconds,
        seconds_reading=pipeline.seconds_reading,
        seconds_writing=counts.seconds_writing,
        seconds_waiting=pipeline.seconds_waiting,
        batch_rows=beginning.batch_rows,
        workers=run.workers,
        peak_memory_bytes=peak_memory_bytes(),
        sizes_file=str(run.remembered.path),
        nodes=node_reports(run.executor.stats),
        models=model_reports((model, model.stats) for model in run.host.known),
        left_out=run.checked.left_out,
        columns_left_out=run.layout.left_out,
        files_left_out=run.left_out,
    )
