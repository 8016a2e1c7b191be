"""What a run is put together from, once it is known what may be read and written: before anything is played."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from motet.engines.batch_rows import BatchRows, RowBytes
from motet.engines.layout import RunLayout, held_rows
from motet.engines.local.answer_bound import AnswerBound
from motet.engines.local.batches import Batches
from motet.engines.local.destination import Destination
from motet.engines.local.journal import MANIFEST
from motet.engines.local.manifest import Manifest, graph_digest
from motet.engines.local.no_overwrite import check_apart, check_not_read, named_files, read_files
from motet.engines.local.options import BulkOptions
from motet.engines.local.replay import failed_rows
from motet.engines.local.rows import RunRows
from motet.engines.local.selection import Ids
from motet.engines.local.sizing import Sizing
from motet.engines.local.turns import BulkTurns
from motet.engines.player import SPREAD, BatchPlayer
from motet.engines.undeclared import Undeclared
from motet.errors import DataError, InputError, RunError
from motet.graph.check import CheckedGraph
from motet.io import Source, open_source
from motet.io.files import FoundFile, fingerprint_files
from motet.io.places import Place, place_of
from motet.io.stream import Stream
from motet.lake.address import LakeAddress, is_lake, names_table
from motet.runtime.executor import Executor
from motet.runtime.host import Host
from motet.runtime.isolate import Tolerance
from motet.runtime.sizes import RememberedSizes
from motet.runtime.trial import Trials

if TYPE_CHECKING:
    from motet.engines.local.append import Appending

__all__ = ["PreparedRun", "prepared", "underway"]


@contextmanager
def prepared(checked: CheckedGraph, source: Any, output: str, options: dict[str, Any]) -> Iterator[PreparedRun]:
    """A run that can begin; its models and its source are given back when the context ends.

    Args:
        checked: the graph.
        source: what `motet.io.open_source` takes.
        output: where answers go.
        options: the fields of `BulkOptions`.

    Raises:
        InputError: when the source, the output or an option cannot be used.
        NothingNew: when all files are done that a run which appends would play.
    """
    chosen = _options(output, options)
    output = output if names_table(output) else place_of(output).plain
    destination = chosen.destination(output)
    destination.check(resume=chosen.resume, append=chosen.append)
    appending = _appending(output, destination) if chosen.append else None
    failed = chosen.failures_path or destination.failed
    if appending is not None and failed is not None:
        failed = appending.failed(failed)
        chosen = replace(chosen, failed=failed)
    writes = {"output": destination.place, **({} if failed is None else {"failed": place_of(failed)})}
    check_apart(writes)
    choose = None if appending is None else _choice(appending, writes.values())
    source = _pinned(source, destination) if chosen.resume else source
    opened = open_source(source, wanted=checked.graph.stored_types, choose=choose, **chosen.source)
    try:
        check_not_read(read_files(opened, source), writes.values())
        if chosen.only_failed is not None and chosen.into is None:
            said_later = chosen.failed is None and destination.exists()  # with more to say of an output
            places = [destination.place] if said_later else writes.values()
            check_not_read(named_files(chosen.only_failed), places)
        run = PreparedRun(checked, opened, destination, chosen, appending)
        try:
            yield run
        finally:
            run.executor.close()
    finally:
        if isinstance(opened, Stream):
            opened.stop()


def _pinned(source: Any, destination: Destination) -> Any:
    """A table of a lake at the version that an earlier part of the run has read; any other source as it is."""
    text = source[0] if isinstance(source, (list, tuple)) and len(source) == 1 else source
    if not is_lake(text):
        return source
    try:
        with destination.work_folder().reading(MANIFEST) as file:
            pin = str(json.loads(file.read().decode()).get("pin", ""))
    except (OSError, InputError, ValueError):  # there is none
        return source
    said = LakeAddress.parse(text, written=False).options
    if not pin or not said.keys().isdisjoint(("version", "timestamp", "snapshot")):
        return source
    return f"{text}{'&' if '?' in text else '?'}{pin}"


def _appending(output: str, destination: Destination) -> Appending:
    from motet.engines.local.append import Appending, noted  # few runs append

    return Appending(output, noted(destination.work_folder()))


def _choice(appending: Appending, places: Collection[Place]) -> Callable[[Sequence[FoundFile]], list[FoundFile]]:
    """What chooses the files of a run that appends; those that are done are inputs as well, and are not written over."""

    def choose(files: Sequence[FoundFile]) -> list[FoundFile]:
        check_not_read(files, places)
        return appending.choose(files)

    return choose


def _options(output: str, options: dict[str, Any]) -> BulkOptions:
    chosen = BulkOptions.named(options)
    for name in ("window_rows", "window_s", "until_end"):
        if getattr(chosen, name) not in (None, False):
            raise InputError(f"{name} is for an input without end: kafka://HOST:PORT/TOPIC", where=name)
    if names_table(output) and chosen.into is not None:
        hint = "leave it out: answers of --only-failed are written by their ids, or added"
        raise InputError("is for files, and the output is a table", where="into", hint=hint)
    if chosen.into is not None and not place_of(chosen.into).is_same(place_of(output)):
        raise InputError("into names the output, and another one was given", where="into", hint="leave the other out")
    return chosen


@contextmanager
def underway(output: str) -> Iterator[None]:
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


class PreparedRun:
    """The parts of one run.

    Args:
        checked: the graph.
        source: where rows come from.
        destination: where answers go.
        options: what was asked.
        appending: what a run that appends is to read and to say; None for others.

    Attributes:
        failed_rows: the rows that are played again; None where all are played.
        input: the rows that are played.
        total: how many they are, or at most; None where that is not known.
        versions: of the models, by the graphs they stand in and their names.

    Raises:
        InputError: when the graph and the source, or the file of failures, do not fit each other.
    """

    def __init__(
        self,
        checked: CheckedGraph,
        source: Source,
        destination: Destination,
        options: BulkOptions,
        appending: Appending | None,
    ) -> None:
        self.started = time.perf_counter()
        self.checked, self.source, self.options, self.appending = checked, source, options, appending
        self.destination, self.output = destination, destination.shown
        self.layout = RunLayout.of(
            checked,
            source.schema,
            options.keep,
            options.drop,
            source.description,
            destination.holds,
            options.row_ids,
        )
        self.failed_rows = self._failed_rows()
        self.input = RunRows(source, self.layout.read, options.selection, self.failed_rows)
        self.total = self.input.total
        self.remembered = RememberedSizes()
        tolerance = Tolerance(unlimited=options.goes_on)
        self.host = Host(trials=Trials(), run=tolerance)
        self.executor = Executor(checked, self.host)
        self.versions = self.host.resolver.versions(checked)
        self.sizing = Sizing(checked, self.host, self.remembered, self.versions, lambda: self.graph_digest)
        self.workers = options.workers or self.sizing.workers(options.num_workers)
        self.turns = BulkTurns(options.pool)
        places = {name: checked.canonical[reference] for name, reference in checked.graph.outputs.items()}
        self.undeclared = Undeclared({name: places[name].partition(".")[0] for name in self.layout.undeclared})
        player = BatchPlayer(self.layout, self.executor, tolerance, partial(self.input.spread, SPREAD))
        self.measured = RowBytes(source, self.layout)
        self.batches = Batches(player, self.sizing, self.turns, AnswerBound(self._may_bound))
        self.sizes = BatchRows(
            self.executor, self.total, self.workers, options.batch_rows, self.measured, models=bool(self.versions)
        )

    @property
    def left_out(self) -> str:
        """What is said of files that are not read."""
        said = self.appending.said if self.appending is not None else ""
        return "; ".join(filter(None, [getattr(self.source, "left_out", ""), said]))

    def _failed_rows(self) -> Ids | None:
        path, any_input = self.options.only_failed, self.options.any_input
        return None if path is None else failed_rows(path, self.source, lambda: self.identity, any_input=any_input)

    def manifest(self, batch_rows: int) -> Manifest:
        """What this run is, with batches of so many rows."""
        kind = self.destination.kind if self.options.into is None else f"{self.destination.kind}, merged into"
        return Manifest(
            self.graph_digest, self.versions, self._fingerprint, batch_rows, self.input.said(),
            self.layout.kept, self.layout.row_ids, kind, self.sizing.fixed(), pin=getattr(self.source, "pin", ""),
        )  # fmt: skip

    @cached_property
    def graph_digest(self) -> str:
        """What tells the graph from others; see `motet.engines.local.manifest`."""
        return graph_digest(self.checked)

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
    def identity(self) -> str | None:
        """What tells the rows of the input from those of others, however they are read; None where nothing does."""
        files = getattr(self.source, "reads", ())
        try:
            if files and self.source.reads_again:
                return fingerprint_files(files, [self.options.group_by])[:32]
            return self.source.fingerprint()[:32]
        except InputError:
            return None

    def _may_bound(self) -> bool:
        """Whether batches may have fewer rows for answers that vary in size: no answer depends on it."""
        vary = self.measured.answers_vary and self.batches.answers_vary
        if not vary or self.executor.lazy_keys or any(self.executor.shared.stacks.values()):
            return False
        return all(model.batch_invariant for model in self.executor.models())

    def choose_batch_rows(self) -> int:
        """Rows of a batch, by their size, that of their answers, and the time that they take: some are played to see these."""
        rows = self.sizes.by_size()
        if self.options.batch_rows or self.executor.lazy_keys:
            return rows
        cost, played = self.sizing.known_cost(), 0
        if ((self.versions and cost is None) or self.measured.answers_vary) and self.source.reads_again:
            with underway(self.output):
                item = next(self.input.read(rows), None)
            if item is not None:
                self.executor.load()
                self.sizing.take_remembered(())
                found, played = self.batches.play_first(item.read, item.ids, rows, cost)
                cost = cost or (found if self.versions else None)
                rows = max(played, min(rows, held_rows(self.measured.held + self.batches.answered_row_bytes)))
        return rows if cost is None else cost.bound(rows, at_least=played)
