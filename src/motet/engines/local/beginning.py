"""Where a run begins: anew, or where an earlier one stopped; and what it may write over."""

from __future__ import annotations

import logging
from functools import cached_property

from motet.engines.local.journal import JournalPiece, PieceJournal
from motet.engines.local.prepared import PreparedRun
from motet.engines.local.rows import count_rows
from motet.errors import InputError, OutputExistsError, ResumeError
from motet.io.places import place_of

__all__ = ["Beginning", "check_output"]

_LOG = logging.getLogger("motet.run")


def check_output(run: PreparedRun) -> None:
    """See that an output that is there is written over, or added to, only where that is asked for.

    Raises:
        OutputExistsError: when it is there.
        InputError: when it would lose answers, or is none that can be added to.
    """
    options = run.options
    if run.appending is not None:
        run.appending.check_folder(exists=run.destination.exists())
    elif options.into is None and not options.overwrite and not options.resume and run.destination.exists():
        raise OutputExistsError(
            f"{run.output} is there already",
            hint=run.destination.there_hint,
        )
    if options.overwrite and options.only_failed and options.into is None and run.destination.exists():
        _check_no_answers_go(run, options.only_failed)


def _check_no_answers_go(run: PreparedRun, only_failed: str) -> None:
    """See that rows that are played again do not replace the output that has the answers of all others."""
    from motet.engines.local.merge import seems_output_of  # few runs ask

    assert run.failed_rows is not None
    is_named = place_of(only_failed).is_same(place_of(run.destination.failed or only_failed))
    if is_named or seems_output_of(run.output, count_rows(run.source, run.layout.read), len(run.failed_rows)):
        raise InputError(
            f"{run.output} has the answers of the rows that did not fail, which --overwrite would throw away",
            where="only_failed",
            hint="--into puts the new answers into it, --output names another one",
        )


class Beginning:
    """Where a run begins.

    Args:
        run: the run.
        journal: what an earlier one has finished, if one was stopped.

    Raises:
        OutputExistsError: when an unfinished run is there that nobody asked to go on with, or to replace.
    """

    def __init__(self, run: PreparedRun, journal: PieceJournal) -> None:
        self._run, self._journal = run, journal
        options = run.options
        if journal.is_there and not (options.overwrite or options.resume or options.into or options.append):
            raise OutputExistsError(
                f"an unfinished run of {run.output} is there ({journal.folder.where})",
                hint="--resume goes on with it, --overwrite begins anew",
            )
        if options.resume and not journal.is_there:
            _LOG.warning("%s: there is no unfinished run to go on with; this one begins anew", run.output)

    @cached_property
    def goes_on(self) -> bool:
        """Whether the run goes on with what an earlier one has finished."""
        run, journal = self._run, self._journal
        if run.options.into is not None:  # one of other rows was finished, but for its journal
            return journal.is_there and not run.options.overwrite and journal.manifest().rows == run.input.said()
        if run.appending is not None:
            return journal.is_there and run.appending.goes_on and self._is_same()
        return run.options.resume and journal.is_there

    def _is_same(self) -> bool:
        """Whether the run that stopped was of the same graph, models, input and options."""
        try:
            self._run.manifest(0).check_same(self._journal.manifest(), self._run.output)
        except ResumeError:
            return False
        return True

    @cached_property
    def batch_rows(self) -> int:
        """Rows of a batch; a run that goes on takes them from the one that stopped.

        Raises:
            ResumeError: when other ones were asked for.
        """
        if not self.goes_on:
            return self._run.choose_batch_rows()
        earlier, asked = self._journal.manifest().batch_rows, self._run.options.batch_rows
        if asked not in (None, earlier):
            raise ResumeError(f"--batch-rows was {earlier}, is {asked}", where=self._run.output)
        return earlier

    def pieces(self) -> list[JournalPiece]:
        """What was done by the run that stopped; none where this one begins anew."""
        return self._journal.pieces() if self.goes_on else []

    def begin(self) -> None:
        """Say in the journal what this run is, or see that it is what the one that stopped was.

        Raises:
            ResumeError: when it is not.
        """
        run, journal, batch_rows = self._run, self._journal, self.batch_rows
        if self.goes_on:
            earlier = journal.manifest()
            run.sizing.freeze(earlier.sizes)
            run.manifest(batch_rows).check_same(earlier, run.output)
            journal.keep(lambda: run.manifest(batch_rows))
        else:
            run.sizing.take_remembered(run.executor.lazy_keys)
            journal.begin(lambda: run.manifest(batch_rows))
            if run.appending is not None:
                journal.put_note(run.appending.note())
