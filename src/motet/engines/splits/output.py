"""What becomes of the parts that workers wrote: a folder gets them as they are, a file is put together from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from motet.engines.local.destination import PARTS_FORMAT
from motet.engines.local.folder_output import FolderParts
from motet.engines.local.output import Output
from motet.engines.local.prepared import PreparedRun
from motet.engines.local.results import failure_file
from motet.engines.local.table_output import TableDestination
from motet.engines.splits.folder import SplitJournal, SplitResult
from motet.engines.splits.tables import SplitTable
from motet.errors import Failure, RunError

__all__ = ["SplitOutput"]


class SplitOutput:
    """The output of a run over splits, and its file of failures.

    Args:
        run: the run.
        journal: has what workers wrote.
        schema: of the answers.
        goes_on: whether an earlier part of the run has written.

    Attributes:
        part_format: what workers write; None for what is put together.
        table: what workers must know of a table that answers go to; None where they go to files.
        first_failures: the first few, as people read them, once it is published.

    Raises:
        InputError: when the output cannot hold the columns, or holds what no run wrote.
        ResumeError: when a table that workers have written into is gone.
    """

    def __init__(self, run: PreparedRun, journal: SplitJournal, schema: pa.Schema, *, goes_on: bool) -> None:
        self._run, self._journal, self._schema = run, journal, schema
        destination = run.destination
        self.part_format = (destination.format or PARTS_FORMAT) if destination.is_folder else None
        self._output: FolderParts | Output = (
            destination.open(journal.folder)
            if self.part_format is None
            else FolderParts(destination.path, journal.folder, self.part_format)
        )
        self._output.check(schema)
        self.table = None if isinstance(self._output, FolderParts) else self._table(self._output, goes_on=goes_on)
        self._failures = failure_file(run, journal)
        self.first_failures: Sequence[str] = ()

    def _table(self, output: Output, *, goes_on: bool) -> SplitTable | None:
        """What workers must know of the output, where it is a table; it is there then."""
        found = self._run.destination
        by_workers = found if isinstance(found, TableDestination) and found.address.takes_writers else None
        try:
            if by_workers is not None and goes_on:
                output.check_there()
            refuses = output.refuses(self._schema)
        except BaseException:
            output.abort()
            raise
        return None if refuses is None else SplitTable(refuses, by_workers)

    def abort(self) -> None:
        """Let go of what was opened early."""
        if isinstance(self._output, Output) and self._output.is_open:
            self._output.abort()

    def publish(self, results: Sequence[SplitResult], failing: Iterable[Sequence[SplitResult]]) -> str:
        """Put answers and failures where they belong, in the order of the source. The path of the failures.

        Args:
            results: of the splits.
            failing: what failures are in: those of each are neighbours in the source.

        Raises:
            RunError: when rows are lost.
        """
        self._journal.folder.check(now=True)
        try:
            self._write_failures(failing)
            failed_path = self._failures.close()
            if isinstance(self._output, FolderParts):
                self._publish_parts(self._output, results)
            else:
                self._put_together(self._output, results)
        except BaseException:
            self._failures.abort()
            raise
        self.first_failures = self._failures.first
        return failed_path

    def _write_failures(self, failing: Iterable[Sequence[SplitResult]]) -> None:
        expected = 0
        for near in failing:
            expected += sum(result.failed for result in near)
            batches = (batch for result in near if result.failures for batch in self._journal.rows_of(result.failures))
            if len(near) == 1:
                for batch in batches:
                    self._failures.write([Failure(**row) for row in batch.to_pylist()])
            else:
                failures = [Failure(**row) for batch in batches for row in batch.to_pylist()]
                self._failures.write(sorted(failures, key=lambda failure: failure.row))
        _check_rows(self._failures.rows, expected, self._failures.path or self._run.output)

    def _publish_parts(self, parts: FolderParts, results: Sequence[SplitResult]) -> None:
        for result in results:
            parts.take(result.number, self._journal.path(result.part))
        if not results:  # it has columns, also where it has no rows
            parts.open("", 0, self._schema).close()
        parts.publish(sum(result.answered for result in results), max(1, len(results)))

    def _put_together(self, output: Output, results: Sequence[SplitResult]) -> None:
        try:
            if not output.is_open:
                output.open(self._schema)
            for result in results:
                for batch in self._journal.rows_of(result.part):
                    output.write(batch)
            if self.table is not None and self.table.destination is not None:
                output.resume(sum(result.answered for result in results))  # workers have counted what they wrote
            _check_rows(output.rows, sum(result.answered for result in results), self._run.output)
            output.close()
        except BaseException:
            output.abort()
            raise


def _check_rows(written: int | None, expected: int, where: str) -> None:
    """See that no row was lost on the way; None where none is written."""
    if written not in (None, expected):
        raise RunError(f"{expected:,} rows came from workers, and {written:,} were written", where=where)
