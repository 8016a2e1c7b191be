"""What a run does with what was played: answers to the output, failures to their file, and both to the journal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.engines.local.batches import BatchResult
from motet.engines.local.beginning import Beginning
from motet.engines.local.failure_file import FailureFile
from motet.engines.local.journal import JournalPiece, PieceJournal
from motet.engines.local.output import Output
from motet.engines.local.pending import Pending
from motet.engines.local.prepared import PreparedRun
from motet.engines.local.rows import count_rows
from motet.errors import Failure, MotetError, ResumeError, RunError, TooManyFailuresError
from motet.io.places import place_of
from motet.io.stream import Stream
from motet.io.take import take_batch

if TYPE_CHECKING:
    from motet.engines.local.folder_output import Added

__all__ = ["ResultWriter", "RowCounts", "check_failures", "failure_file", "open_output"]


@dataclass
class RowCounts:
    """How far a run is.

    Attributes:
        rows: rows that were played, with those of an earlier part of it.
        failed: those of them that failed.
        resumed: rows that an earlier part had played.
        batches: batches that were played.
        seconds_writing: seconds that writing them took.
    """

    rows: int = 0
    failed: int = 0
    resumed: int = 0
    batches: int = 0
    seconds_writing: float = 0.0


class ResultWriter:
    """Writes results in the order of the source, each row once. One thread may touch it.

    Args:
        run: the run.
        journal: what is finished goes there.
        beginning: where the run begins.

    Raises:
        InputError: when the output cannot hold the columns.
    """

    def __init__(self, run: PreparedRun, journal: PieceJournal, beginning: Beginning) -> None:
        self._run, self._journal = run, journal
        self.counts = RowCounts()
        self._output = open_output(run, journal, beginning, self.counts)
        self._failures: FailureFile | None = None
        self._output.check(run.layout.known())
        if self._output.keeps and any(piece.rows > piece.failed for piece in beginning.pieces()):
            try:
                self._output.check_there()
            except BaseException:
                self._output.abort()
                raise
        self._pending = Pending()

    def open(self) -> None:
        """Begin to write, as far as the types of the columns are known."""
        schema = self._run.layout.schema()
        if schema is not None:
            self._output.open(schema)
        self._failures = failure_file(self._run, self._journal)

    @property
    def failures(self) -> FailureFile:
        """The file of failures, once it is open."""
        assert self._failures is not None
        return self._failures

    def replay(self, pieces: Sequence[JournalPiece]) -> None:
        """Write again what an earlier part of this run had done.

        Raises:
            ResumeError: when a piece does not hold what it should.
        """
        for piece in pieces:
            answered = piece.rows - piece.failed if self._output.keeps else 0
            for batch in self._journal.answers(piece):
                self._run.undeclared.take(batch)
                answered += batch.num_rows
            failed = self._journal.failures(piece)
            if (answered, len(failed)) != (piece.rows - piece.failed, piece.failed):
                what = f"a piece of {piece.rows:,} rows holds {answered:,} answers and {len(failed):,} failures"
                raise ResumeError(what, where=self._journal.folder.where, hint="begin anew with --overwrite")
            self.failures.write(failed)
            self.counts.rows += piece.rows
            self.counts.failed += piece.failed
            self.counts.resumed += piece.rows
        self.counts.batches = pieces[-1].end if pieces else 0
        if self._output.keeps:
            self._output.resume(self.counts.rows - self.counts.failed)
        else:
            self._write_again(pieces)

    def _write_again(self, pieces: Sequence[JournalPiece]) -> None:
        """Write the answers of pieces in the types that are known now."""
        for piece in pieces:
            for batch in self._journal.answers(piece):
                self._output.write(self._run.undeclared.widened(batch))

    def write_all(self, results: Iterable[BatchResult]) -> None:
        """Write results as they come. What is finished stays so, whatever ends this.

        Raises:
            RunError: when rows are lost or doubled, or what is written cannot be.
            TooManyFailuresError: when more rows fail than may.
        """
        if self.counts.resumed:
            self._tell()
        try:
            for result in self._of_known_types(results):
                self._write(result)
                self._check_failures(finished=False)
                self._tell()
            self._check_failures(finished=True)
            if self._run.options.into is not None:  # which takes them from the journal
                self._pending.commit(self._journal)
            if self._output.commits:  # so that whoever goes on finds what was noted
                self._pending.commit(self._journal)
                self._journal.write_manifest()
        except BaseException:  # before anything is waited for, and on a disk that is full too
            self._keep_finished()
            raise

    def _keep_finished(self) -> None:
        """Keep what a run can go on behind, and leave nothing half-written."""
        if self._output.keeps:
            with suppress(MotetError, OSError):  # then less is kept
                self._output.flush()
                self._pending.commit_whole(self._journal)
            self._output.abort()
            return
        try:
            self._output.abort()
        finally:
            self._pending.commit_whole(self._journal)

    def _commit(self) -> None:
        """Make a piece that counts of what is written."""
        self._output.flush()
        self._pending.commit(self._journal)

    def _write(self, result: BatchResult) -> None:
        """Write the answers and the failures of a batch."""
        started = time.perf_counter()
        answers = self._written(result)
        self._check_whole(result, answers)
        self.counts.batches += 1
        kept = answers.slice(0, 0) if answers is not None and self._output.keeps else answers  # the types alone
        self._pending.add(result, kept)
        self.failures.write(result.failures)
        self.counts.rows += result.rows
        self.counts.failed += len(result.failures)
        if result.last and self._pending.due():
            self._commit()
        self.counts.seconds_writing += time.perf_counter() - started

    def _written(self, result: BatchResult) -> pa.RecordBatch | None:
        """The answers of a batch as they were written; those that do not fit are failures of it now."""
        if result.answers is None:
            return None
        undeclared, output = self._run.undeclared, self._output
        may_widen = output.is_open and output.starts_over and self._run.layout.undeclared
        if may_widen and undeclared.widen(result.answers):
            self._commit()
            output.start_over()
            self._write_again(self._journal.pieces())
        answers, unfit = undeclared.complete(result.answers)
        if not output.is_open:
            output.open(answers.schema)
        if refused := output.refused(answers):
            ids = result.answers.ids[~np.isin(result.answers.ids, [failure.row for failure in unfit])]
            answers, more = _without(answers, ids, refused)
            unfit = [*unfit, *more]
        result.failures = sorted([*result.failures, *unfit], key=lambda failure: failure.row)
        if answers.num_rows:
            output.write(answers)
        return answers

    def _check_whole(self, result: BatchResult, answers: pa.RecordBatch | None) -> None:
        """See that a batch is the next one, and that each of its rows came back."""
        answered, failed = 0 if answers is None else answers.num_rows, len(result.failures)
        if result.index != self.counts.batches or answered + failed != result.rows:
            what = f"{result.rows:,} rows came back as {answered:,} answers and {failed:,} failures"
            raise RunError(f"batch {self.counts.batches}: {what}", where=self._run.source.description)

    def _of_known_types(self, results: Iterable[BatchResult]) -> Iterator[BatchResult]:
        """The same results; the first ones wait until the types of outputs that nobody declared are known."""
        waiting: list[BatchResult] = []
        known = not self._run.layout.undeclared
        for result in results:
            known = known or (result.answers is not None and self._run.undeclared.learn(result.answers))
            waiting.append(result)
            if known:
                yield from waiting
                waiting.clear()
        yield from waiting

    def _check_failures(self, *, finished: bool) -> None:
        try:
            check_failures(self._run, self.counts.rows, self.counts.failed, finished=finished)
        except TooManyFailuresError:
            self._commit()
            raise

    def _tell(self) -> None:
        if self._run.options.progress:
            self._run.options.progress(self.counts.rows, self._run.total, self.counts.failed)

    def reconcile(self) -> None:
        """See that the rows of the source are those that were answered and written, and those that failed.

        Raises:
            RunError: when they are not, or the source is not what it was when the run began, or no answer tells the types.
        """
        source, rows, failed = self._run.source, self.counts.rows, self.counts.failed
        if isinstance(source, Stream):
            source.check_unchanged()
        expected = self._run.input.expected(rows)
        if expected is not None and expected != rows:
            raise RunError(f"has {expected:,} rows, and {rows:,} were played", where=source.description)
        if self._output.rows != rows - failed:
            what = f"{rows - failed:,} rows were answered, and {self._output.rows:,} were written"
            raise RunError(what, where=self._run.output)
        if self.failures.rows not in (None, failed):
            what = f"{failed:,} rows failed, and {self.failures.rows:,} were written"
            raise RunError(what, where=self.failures.path or self._run.output)
        if not self._output.is_open and rows:  # all of them failed
            self._output.open(self._run.layout.known(pa.null()))
        if not self._output.is_open:
            what = "no row was answered, so the types of the outputs are not known"
            raise RunError(what, where=self._run.output)

    def finish(self) -> str:
        """Put answers and failures where they belong: last what the other is told from. The path of the failures."""
        self._journal.folder.check(now=True)
        if self._run.options.into is not None:
            self._output.close()
            return self.failures.close()
        failed_path = self.failures.close()
        self._output.close()
        return failed_path

    def abort(self) -> None:
        """Leave nothing half-written."""
        self._output.abort()
        if self._failures is not None:
            self._failures.abort()


def _without(answers: pa.RecordBatch, ids: Indices, refused: Mapping[int, str]) -> tuple[pa.RecordBatch, list[Failure]]:
    """The answers that the output takes, and the failures of the others."""
    kept = np.setdiff1d(np.arange(answers.num_rows), list(refused))
    failures = [Failure(int(ids[row]), "output", "", "", "InputError", why) for row, why in refused.items()]
    return take_batch(answers, kept), failures


def check_failures(run: PreparedRun, rows: int, failed: int, *, finished: bool) -> None:
    """See that no more rows have failed than may.

    Raises:
        TooManyFailuresError: when more have.
    """
    allowed = run.options.allowed
    if allowed and allowed.exceeded(failed, rows, run.total, finished=finished):
        raise TooManyFailuresError(
            f"{failed:,} of {rows:,} rows failed, more than {allowed} are too many",
            where=run.output,
            hint="the failures so far are in the unfinished run; look at one with motet explain, or allow more with --max-failures",
        )


def open_output(run: PreparedRun, journal: PieceJournal, beginning: Beginning, counts: RowCounts) -> Output:
    """What the answers of a run are written to.

    Args:
        run: the run.
        journal: has what is finished.
        beginning: where the run begins.
        counts: how far it is, once its output is closed.
    """
    if run.options.into is None:
        return run.destination.open(journal.folder, _added(run, counts))
    from motet.engines.local.merge import MergedOutput  # few runs merge

    assert run.failed_rows is not None

    def answers() -> Iterator[pa.RecordBatch]:
        return (run.undeclared.widened(batch) for piece in journal.pieces() for batch in journal.answers(piece))

    rows = run.options.selection.of(count_rows(run.source, run.layout.read))
    columns = [*run.layout.known().names, *run.layout.undeclared]
    return MergedOutput(run.output, journal, rows, run.failed_rows, answers, columns, goes_on=beginning.goes_on)


def _added(run: PreparedRun, counts: RowCounts) -> Added | None:
    """How parts are added to those that are there; None where they replace them."""
    appending = run.appending
    if appending is None:
        return None
    from motet.engines.local.folder_output import Added  # few runs append

    def record(end_part: int) -> str:
        failed_path = (run.options.failed if counts.failed else None) or ""
        return appending.record(run.graph_digest, run.versions, end_part, counts.rows, counts.failed, failed_path)

    return Added(appending.first_part, appending.done.num_answered, appending.check, record)


def failure_file(run: PreparedRun, journal: PieceJournal) -> FailureFile:
    """The file that the failures of a run go to."""
    failed = run.options.failures_path or run.destination.failed
    return FailureFile(
        None if failed is None else place_of(failed).plain,
        journal.folder,
        lambda: run.identity,
        path_of=getattr(run.source, "path_of", None),
        always=run.options.failed is not None and run.appending is None,
    )
