"""A run of the embedded engine, put together from its parts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import pyarrow as pa

from motet.engines.local.apart import check_apart, check_not_read, named_files, read_files
from motet.engines.local.append import Appending, noted
from motet.engines.local.batch_rows import BatchRows, RowBytes
from motet.engines.local.batches import Batches, Result
from motet.engines.local.done import NothingNew
from motet.engines.local.estimate import (
    NOTHING_TRIED,
    Estimate,
    estimated_memory,
    estimated_seconds,
    nothing_to_estimate,
    try_rows,
)
from motet.engines.local.failure_file import FailureFile
from motet.engines.local.folder_output import Added
from motet.engines.local.journal import Journal, Piece
from motet.engines.local.layout import Layout
from motet.engines.local.manifest import Manifest, graph_digest
from motet.engines.local.merge import MergedOutput, seems_output_of
from motet.engines.local.options import Options
from motet.engines.local.output import Output
from motet.engines.local.pending import Pending
from motet.engines.local.pipeline import Pipeline
from motet.engines.local.replay import failed_rows
from motet.engines.local.report import RunReport, model_reports, node_reports, nothing_to_do, peak_memory_bytes
from motet.engines.local.rows import Item, Rows, count_rows
from motet.engines.local.selection import Ids
from motet.engines.local.sizing import Sizing
from motet.engines.local.turns import Turns
from motet.engines.local.undeclared import Undeclared
from motet.errors import DataError, InputError, OutputExistsError, ResumeError, RunError, TooManyFailuresError
from motet.graph.check import CheckedGraph
from motet.io import Source, open_source
from motet.io.files import fingerprint_files
from motet.io.places import place_of
from motet.io.stream import Stream
from motet.runtime.executor import Executor
from motet.runtime.host import Host
from motet.runtime.isolate import Tolerance
from motet.runtime.sizes import RememberedSizes
from motet.runtime.trial import Trials

__all__ = ["LocalEngine"]

_LOG = logging.getLogger("motet.run")
MILLION = 1_000_000
"""Rows whose time is told where it is not known how many there are."""


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
        try:
            with _opened(checked, source, output, options) as run:
                return run.run()
        except NothingNew as nothing:
            return nothing_to_do(checked.graph.name, str(source), output, nothing.said)

    def estimate(self, checked: CheckedGraph, source: Any, output: str, **options: Any) -> Estimate:
        """Check what a run checks, and play its first rows to tell what it would take; nothing is written.

        Args and errors are those of `run`.
        """
        try:
            with _opened(checked, source, output, options) as run:
                return run.estimate()
        except NothingNew as nothing:
            return nothing_to_estimate(checked.graph.name, str(source), output, nothing.said)


@contextmanager
def _opened(checked: CheckedGraph, source: Any, output: str, options: dict[str, Any]) -> Iterator[_Run]:
    """A run that can begin."""
    try:
        chosen = Options(**options)
    except TypeError:
        unknown = [name for name in options if name not in Options.__dataclass_fields__]
        raise InputError(
            f"unknown option {', '.join(unknown)}; known: {', '.join(Options.__dataclass_fields__)}"
        ) from None
    if chosen.into is not None and not place_of(chosen.into).is_same(place_of(output)):
        raise InputError("into names the output, and another one was given", where="into", hint="leave the other out")
    output = place_of(output).plain
    destination = chosen.destination(output)
    destination.check(resume=chosen.resume, append=chosen.append)
    appending = Appending(output, noted(destination.work_folder())) if chosen.append else None
    writes = {"output": output, "failed": chosen.failures_path or destination.failed}
    if appending is not None and writes["failed"] is not None:
        chosen = replace(chosen, failed=appending.failed(writes["failed"]))
    check_apart(writes)
    choose = None if appending is None else appending.choose
    opened = open_source(source, wanted=checked.graph.stored_types, choose=choose, **chosen.source)
    try:
        check_not_read(read_files(opened, source), writes)
        if chosen.only_failed is not None and chosen.into is None:
            # more is said of an output that is there
            failed = chosen.failed if destination.exists() else writes["failed"]
            check_not_read(named_files(chosen.only_failed), {"output": output, "failed": failed})
        run = _Run(checked, opened, output, chosen, appending)
        try:
            yield run
        finally:
            run.host.close()
    finally:
        if isinstance(opened, Stream):
            opened.stop()


@contextmanager
def _underway(output: str) -> Iterator[None]:
    """Say of what data or disks refuse from here on that no argument is wrong, and how to go on.

    Raises:
        DataError: in place of `InputError`.
        RunError: in place of `OSError`.
    """
    try:
        yield
    except InputError as error:
        raise DataError(error.what, where=error.where, hint=error.hint) from error
    except BrokenPipeError:  # who reads the output has had enough
        raise
    except OSError as error:
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else output
        hint = "mend that, and --resume goes on with what is finished"
        raise RunError(error.strerror or str(error), where=where, hint=hint) from error


class _Run:
    """One run."""

    def __init__(
        self,
        checked: CheckedGraph,
        source: Source,
        output: str,
        options: Options,
        appending: Appending | None = None,
    ) -> None:
        self.checked, self.source, self.output, self.options = checked, source, output, options
        self.appending = appending
        self.started = time.perf_counter()
        self.destination = options.destination(output)
        self.layout = Layout.of(
            checked,
            source.schema,
            options.keep,
            options.drop,
            source.description,
            self.destination.holds,
            options.row_ids,
        )
        self.failed_rows = self._failed_rows()
        self.input = Rows(source, self.layout.read, options.selection, self.failed_rows)
        self.total = self.input.total
        self.remembered = RememberedSizes()
        tolerance = Tolerance(unlimited=options.goes_on)
        self.host = Host(trials=Trials(), run=tolerance)
        self.executor = Executor(checked, self.host)
        self.versions = self._versions(self.executor, "")
        self.sizing = Sizing(checked, self.host, self.remembered, self.versions)
        self.workers = options.workers or self.sizing.workers(options.num_workers)
        self.turns = Turns(options.pool)
        places = {name: checked.canonical[reference] for name, reference in checked.graph.outputs.items()}
        self.undeclared = Undeclared({name: places[name].partition(".")[0] for name in self.layout.undeclared})
        self.batches = Batches(self.layout, self.executor, self.input, tolerance, self.sizing, self.turns)
        measured = RowBytes(source, self.layout)
        self.sizes = BatchRows(
            self.executor, self.total, self.workers, options.batch_rows, measured, models=bool(self.versions)
        )
        self.rows = self.failed = self.resumed_rows = self.next_batch = 0
        self.seconds_writing = 0.0

    @property
    def _left_out(self) -> str:
        """What is said of files that are not read."""
        said = self.appending.said if self.appending is not None else ""
        return "; ".join(filter(None, [getattr(self.source, "left_out", ""), said]))

    def _failed_rows(self) -> Ids | None:
        """The rows that are played again; None where all are played."""
        path, any_input = self.options.only_failed, self.options.any_input
        return None if path is None else failed_rows(path, self.source, lambda: self._identity, any_input=any_input)

    def run(self) -> RunReport:
        """Check, play, finish."""
        self._check_output()
        journal = Journal(self.destination.work_folder())
        writer: Output | None = None
        failures: FailureFile | None = None
        pipeline: Pipeline[Item, list[Result]] | None = None
        try:
            self._check_unfinished(journal)
            writer = self._open_output(journal)
            schema = self.layout.schema()
            writer.check(self.layout.known())
            if schema is not None:
                writer.open(schema)
            failures = self._failure_file(journal)
            first, batch_rows = self._where_to_begin(journal)
            together = self.sizes.together(batch_rows)
            pipeline = Pipeline(
                self.input.read(first, batch_rows, together), partial(self.batches.play, batch_rows), self.workers
            )
            pipeline.start()
            self.executor.load()
            self._begin(journal, batch_rows)
            self._replay(journal, journal.pieces() if first else [], writer, failures)
            with _underway(self.output):
                self._play(pipeline, journal, writer, failures)
            pipeline.close()
            self._reconcile(writer)
            if not writer.is_open and self.rows:  # all of them failed
                writer.open(self.layout.known(pa.null()))
            if not writer.is_open:
                raise RunError("no row was answered, so the types of the outputs are not known", where=self.output)
            with _underway(self.output):
                journal.folder.check(now=True)
                failed_path = self._finish(writer, failures)
            journal.remove()
        except BaseException:
            self.turns.stop()
            if isinstance(self.source, Stream):
                self.source.stop()
            if pipeline is not None:
                pipeline.close()
            try:
                if writer is not None:
                    writer.abort()
                if failures is not None:
                    failures.abort()
            finally:
                journal.release()
            raise
        finally:
            self.sizing.remember()
        return self._report(pipeline, batch_rows, failed_path, failures.first)

    def _finish(self, writer: Output, failures: FailureFile) -> str:
        """Put answers and failures where they belong: last what the other is told from. The path of the failures."""
        if self.options.into is not None:
            writer.close()
            return failures.close()
        failed_path = failures.close()
        writer.close()
        return failed_path

    def _open_output(self, journal: Journal) -> Output:
        if self.options.into is None:
            return self.destination.open(journal.folder, self._added())
        assert self.failed_rows is not None
        rows = self.options.selection.of(count_rows(self.source, self.layout.read))
        return MergedOutput(
            self.output, journal, rows, self.failed_rows, partial(self._answers_of, journal),
            [*self.layout.known().names, *self.layout.undeclared], goes_on=self._goes_on(journal),
        )  # fmt: skip

    def _added(self) -> Added | None:
        """How parts are added to those that are there; None where they replace them."""
        appending = self.appending
        if appending is None:
            return None

        def record(end_part: int) -> str:
            failed_path = self.options.failed if self.failed else ""
            graph = graph_digest(self.checked)
            return appending.record(graph, self.versions, end_part, self.rows, self.failed, failed_path or "")

        return Added(appending.first_part, appending.done.num_answered, appending.check, record)

    def _answers_of(self, journal: Journal) -> Iterator[pa.RecordBatch]:
        """All answers of the journal, in the types that are known now."""
        return (self.undeclared.widened(batch) for piece in journal.pieces() for batch in journal.answers(piece))

    def estimate(self) -> Estimate:
        """Check what a run checks, and play its first rows; nothing is written."""
        self._check_output()
        journal = Journal(self.destination.work_folder())  # and nobody else writes there
        try:
            self._check_unfinished(journal)
            self._open_output(journal).check(self.layout.known())
        finally:
            journal.release()
        begun = time.perf_counter()
        self.executor.load()
        loading = time.perf_counter() - begun
        rows = self.sizes.by_size()
        begun = time.perf_counter()
        item = next(self.input.read(0, rows, 1), None)
        reading = time.perf_counter() - begun
        tried = try_rows(item.read, item.ids, self.batches.play_for_estimate) if item is not None else NOTHING_TRIED
        if not self.options.batch_rows and self.versions:
            rows = tried.cost.bound(rows)
        total, files = self.input.chosen.total, getattr(self.source, "reads", ())
        return Estimate(
            graph=self.checked.graph.name,
            source=self.source.description,
            output=self.output,
            rows=total,
            files=len(files),
            bytes=sum(file.state()[0] if file.size is None else file.size for file in files if file.is_regular),
            columns=(*self.layout.known().names, *self.layout.undeclared),
            columns_left_out=self.layout.left_out,
            files_left_out=self._left_out,
            tried=tried.rows,
            failures=tried.failures,
            batch_rows=rows,
            workers=self.workers,
            seconds=estimated_seconds(
                tried, MILLION if total is None else total, rows, self.workers, reading / max(tried.rows, 1), loading
            ),
            memory_bytes=estimated_memory(tried, total, rows, self.workers),
        )

    def _reconcile(self, writer: Output) -> None:
        """See that the rows of the source are those that were answered and written, and those that failed.

        Raises:
            RunError: when they are not, or the source is not what it was when the run began.
        """
        if isinstance(self.source, Stream):
            self.source.check_unchanged()
        expected = self.input.expected(self.rows)
        if expected is not None and expected != self.rows:
            raise RunError(f"has {expected:,} rows, and {self.rows:,} were played", where=self.source.description)
        if writer.rows != self.rows - self.failed:
            what = f"{self.rows - self.failed:,} rows were answered, and {writer.rows:,} were written"
            raise RunError(what, where=self.output)

    def _failure_file(self, journal: Journal) -> FailureFile:
        failed = self.options.failures_path or self.destination.failed
        path = None if failed is None else place_of(failed).plain
        path_of = getattr(self.source, "path_of", None)
        return FailureFile(
            path,
            journal.folder,
            lambda: self._identity,
            path_of=path_of,
            always=self.options.failed is not None and self.appending is None,
        )

    def _check_output(self) -> None:
        options = self.options
        if self.appending is not None:
            self.appending.check_folder(exists=self.destination.exists())
        elif options.into is None and not options.overwrite and not options.resume and self.destination.exists():
            raise OutputExistsError(
                f"{self.output} is there already",
                hint="--overwrite replaces it, --resume goes on with an unfinished run",
            )
        if options.overwrite and options.only_failed and options.into is None and self.destination.exists():
            self._check_no_answers_go(options.only_failed)

    def _check_no_answers_go(self, only_failed: str) -> None:
        """See that rows that are played again do not replace the output that has the answers of all others."""
        assert self.failed_rows is not None
        is_named = place_of(only_failed).is_same(place_of(self.destination.failed or only_failed))
        if is_named or seems_output_of(self.output, count_rows(self.source, self.layout.read), len(self.failed_rows)):
            raise InputError(
                f"{self.output} has the answers of the rows that did not fail, which --overwrite would throw away",
                where="only_failed",
                hint="--into puts the new answers into it, --output names another one",
            )

    def _check_unfinished(self, journal: Journal) -> None:
        """See that an unfinished run is gone on with only where that is asked for; and say where there is none."""
        options = self.options
        if journal.is_there and not (options.overwrite or options.resume or options.into or options.append):
            raise OutputExistsError(
                f"an unfinished run of {self.output} is there ({journal.folder.where})",
                hint="--resume goes on with it, --overwrite begins anew",
            )
        if self.options.resume and not journal.is_there:
            _LOG.warning("%s: there is no unfinished run to go on with; this one begins anew", self.output)

    def _goes_on(self, journal: Journal) -> bool:
        if self.options.into is not None:  # one of other rows was finished, but for its journal
            return journal.is_there and not self.options.overwrite and journal.manifest().rows == self.input.said()
        if self.appending is not None:
            return journal.is_there and self.appending.goes_on and self._is_same(journal)
        return self.options.resume and journal.is_there

    def _is_same(self, journal: Journal) -> bool:
        """Whether the run that stopped was of the same graph, models, input and options."""
        try:
            self._manifest(0).check_same(journal.manifest(), self.output)
        except ResumeError:
            return False
        return True

    def _where_to_begin(self, journal: Journal) -> tuple[int, int]:
        """The first batch to play and the rows of a batch; a run that goes on takes both from the one that stopped."""
        if self._goes_on(journal):
            earlier, pieces = journal.manifest(), journal.pieces()
            if self.options.batch_rows not in (None, earlier.batch_rows):
                raise ResumeError(
                    f"--batch-rows was {earlier.batch_rows}, is {self.options.batch_rows}", where=self.output
                )
            return (pieces[-1].end if pieces else 0), earlier.batch_rows
        return 0, self._choose_batch_rows()

    def _choose_batch_rows(self) -> int:
        """Rows of a batch, by their size and by the time that they take."""
        rows = self.sizes.by_size()
        if self.options.batch_rows or self.executor.lazy_keys or not self.versions:
            return rows
        cost, played = self.sizing.known_cost(), 0
        if cost is None and self.source.reads_again and (item := self._first_item(rows)):
            self.executor.load()
            self.sizing.take_remembered(())
            cost, played = self.batches.play_first(item.read, item.ids, rows)
        return rows if cost is None else cost.bound(rows, at_least=played)

    def _first_item(self, rows: int) -> Item | None:
        with _underway(self.output):
            return next(self.input.read(0, rows, 1), None)

    def _begin(self, journal: Journal, batch_rows: int) -> None:
        """Say what this run is, or see that it is what the one that stopped was."""
        if self._goes_on(journal):
            earlier = journal.manifest()
            self.sizing.freeze(earlier.sizes)
            self._manifest(batch_rows).check_same(earlier, self.output)
            journal.keep(lambda: self._manifest(batch_rows))
        else:
            self.sizing.take_remembered(self.executor.lazy_keys)
            journal.begin(lambda: self._manifest(batch_rows))
            if self.appending is not None:
                journal.put_note(self.appending.note())

    def _manifest(self, batch_rows: int) -> Manifest:
        kind = self.destination.kind if self.options.into is None else f"{self.destination.kind}, merged into"
        return Manifest(
            graph_digest(self.checked), self.versions, self._fingerprint, batch_rows, self.input.said(),
            self.layout.kept, self.layout.row_ids, kind, self.sizing.fixed(),
        )  # fmt: skip

    @cached_property
    def _fingerprint(self) -> str:
        """What tells inputs, and how they are read, apart; a source without identity can run, but not go on."""
        try:
            return self.source.fingerprint()
        except InputError:
            if self.options.resume:
                raise
            return f"unknown-{time.time_ns()}"

    @cached_property
    def _identity(self) -> str | None:
        """What tells the rows of the input from those of others, however they are read; None where nothing does."""
        files = getattr(self.source, "reads", ())
        try:
            if files and self.source.reads_again:
                return fingerprint_files(files, [self.options.group_by])[:32]
            return self.source.fingerprint()[:32]
        except InputError:
            return None

    def _versions(self, executor: Executor, path: str) -> dict[str, str]:
        versions = {}
        for name, model in executor.checked.graph.models.items():
            versions[f"{path}{name}"] = self.host.resolver.locate(model, executor.checked.graph.folder).version
        for name, inner in executor.graphs.items():
            versions |= self._versions(inner, f"{path}{name}/")
        return versions

    def _replay(self, journal: Journal, pieces: Sequence[Piece], writer: Output, failures: FailureFile) -> None:
        """Write again what an earlier part of this run had done.

        Raises:
            ResumeError: when a piece does not hold what it should.
        """
        for piece in pieces:
            answered = 0
            for batch in journal.answers(piece):
                self.undeclared.take(batch)
                answered += batch.num_rows
            failed = journal.failures(piece)
            if (answered, len(failed)) != (piece.rows - piece.failed, piece.failed):
                what = f"a piece of {piece.rows:,} rows holds {answered:,} answers and {len(failed):,} failures"
                raise ResumeError(what, where=journal.folder.where, hint="begin anew with --overwrite")
            failures.write(failed)
            self.rows += piece.rows
            self.failed += piece.failed
            self.resumed_rows += piece.rows
        self.next_batch = pieces[-1].end if pieces else 0
        self._write_again(journal, pieces, writer)

    def _write_again(self, journal: Journal, pieces: Sequence[Piece], writer: Output) -> None:
        """Write the answers of pieces in the types that are known now."""
        for piece in pieces:
            for batch in journal.answers(piece):
                writer.write(self.undeclared.widened(batch))

    def _play(
        self,
        pipeline: Pipeline[Item, list[Result]],
        journal: Journal,
        writer: Output,
        failures: FailureFile,
    ) -> None:
        pending = Pending()
        if self.resumed_rows:
            self._tell()
        try:
            self._play_all(pending, pipeline, journal, writer, failures)
        except (
            BaseException
        ):  # what is finished stays so, before anything is waited for, and on a disk that is full too
            try:
                writer.abort()
            finally:
                pending.commit_whole(journal)
            raise

    def _play_all(
        self,
        pending: Pending,
        pipeline: Pipeline[Item, list[Result]],
        journal: Journal,
        writer: Output,
        failures: FailureFile,
    ) -> None:
        for result in self._of_known_types(result for results in pipeline for result in results):
            started = time.perf_counter()
            answers: pa.RecordBatch | None = None
            if result.answers is not None:
                if (
                    writer.is_open
                    and writer.starts_over
                    and self.layout.undeclared
                    and self.undeclared.widen(result.answers)
                ):
                    pending.commit(journal)
                    writer.start_over()
                    self._write_again(journal, journal.pieces(), writer)
                answers, unfit = self.undeclared.complete(result.answers)
                result.failures = sorted([*result.failures, *unfit], key=lambda failure: failure.row)
                if not writer.is_open:
                    writer.open(answers.schema)
                if answers.num_rows:
                    writer.write(answers)
            self._check_whole(result, answers)
            self.next_batch += 1
            pending.add(result.index, result.rows, answers, result.failures, last=result.last)
            failures.write(result.failures)
            self.rows += result.rows
            self.failed += len(result.failures)
            if result.last and pending.due():
                pending.commit(journal)
            self.seconds_writing += time.perf_counter() - started
            self._check_failures(pending, journal, finished=False)
            self._tell()
        self._check_failures(pending, journal, finished=True)
        if self.options.into is not None:  # which takes them from the journal
            pending.commit(journal)

    def _tell(self) -> None:
        if self.options.progress:
            self.options.progress(self.rows, self.total, self.failed)

    def _check_whole(self, result: Result, answers: pa.RecordBatch | None) -> None:
        """See that a batch is the next one, and that each of its rows came back."""
        answered, failed = 0 if answers is None else answers.num_rows, len(result.failures)
        if result.index != self.next_batch or answered + failed != result.rows:
            what = f"{result.rows:,} rows came back as {answered:,} answers and {failed:,} failures"
            raise RunError(f"batch {self.next_batch}: {what}", where=self.source.description)

    def _of_known_types(self, results: Iterable[Result]) -> Iterator[Result]:
        """The same results; the first ones wait until the types of outputs that nobody declared are known."""
        waiting: list[Result] = []
        known = not self.layout.undeclared
        for result in results:
            known = known or (result.answers is not None and self.undeclared.learn(result.answers))
            waiting.append(result)
            if known:
                yield from waiting
                waiting.clear()
        yield from waiting

    def _check_failures(self, pending: Pending, journal: Journal, *, finished: bool) -> None:
        allowed = self.options.allowed
        if allowed and allowed.exceeded(self.failed, self.rows, self.total, finished=finished):
            pending.commit(journal)
            raise TooManyFailuresError(
                f"{self.failed:,} of {self.rows:,} rows failed, more than {allowed} are too many",
                where=self.output,
                hint="the failures so far are in the unfinished run; look at one with motet explain, or allow more with --max-failures",
            )

    def _report(
        self, pipeline: Pipeline[Item, list[Result]], batch_rows: int, failed_path: str, first: list[str]
    ) -> RunReport:
        seconds = time.perf_counter() - self.started
        return RunReport(
            graph=self.checked.graph.name,
            source=self.source.description,
            output=self.output,
            failed_output=failed_path,
            first_failures=tuple(first),
            rows=self.rows,
            answered=self.rows - self.failed,
            failed=self.failed,
            resumed_rows=self.resumed_rows,
            seconds=seconds,
            rows_per_second=(self.rows - self.resumed_rows) / seconds,
            seconds_reading=pipeline.seconds_reading,
            seconds_writing=self.seconds_writing,
            seconds_waiting=pipeline.seconds_waiting,
            batch_rows=batch_rows,
            workers=self.workers,
            peak_memory_bytes=peak_memory_bytes(),
            sizes_file=str(self.remembered.path),
            nodes=node_reports(self.executor),
            models=model_reports(self.host.known),
            left_out=self.checked.left_out,
            columns_left_out=self.layout.left_out,
            files_left_out=self._left_out,
        )
