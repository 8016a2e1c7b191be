"""What a run may be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from motet.databases.address import is_table
from motet.engines.local.destination import Destination
from motet.engines.local.selection import RowShard, Sample, Selection, count_or_part
from motet.errors import InputError
from motet.io.decryption import Decrypt
from motet.io.files import TABLE_SUFFIXES, suffix_of
from motet.io.places import place_of
from motet.io.target import is_stream
from motet.lake.address import is_lake
from motet.system.limits import num_cores
from motet.system.progress import Progress
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.engines.engine import Engine

__all__ = ["BulkOptions", "MaxFailures", "Progress", "RunOptions"]


_STREAMED = ("csv", "jsonl", "arrow")
"""Formats that are read and written as they come."""


@dataclass(frozen=True)
class MaxFailures:
    """How many rows may fail before a run ends.

    Attributes:
        rows: that many; None where a part is given.
        part: that part of all rows, 0 to 1.
    """

    rows: int | None = None
    part: float = 1.0

    ENOUGH = 1000
    """Rows that must be done before a part is judged where the number of rows is not known."""

    @classmethod
    def parse(cls, text: str | int) -> MaxFailures:
        """Read `N` or `P%`."""
        found = count_or_part(text)
        if found is None:
            raise InputError(
                f"{text!r} is no number of failures",
                where="max_failures",
                hint="write a whole number, or a part such as 1%",
            )
        return cls(rows=found) if isinstance(found, int) else cls(part=found)

    def exceeded(self, failed: int, done: int, total: int | None, *, finished: bool = False) -> bool:
        """Whether too many rows have failed."""
        if self.rows is not None:
            return failed > self.rows
        if finished:
            return failed > self.part * done
        if total is not None:
            return failed > self.part * total
        return done >= self.ENOUGH and failed > self.part * done

    def __str__(self) -> str:
        return str(self.rows) if self.rows is not None else f"{self.part:.3%}"


_NOT_APPENDED = (
    "resume", "overwrite", "only_failed", "skip", "sample", "shard", "limit", "row_ids", "group_by"
)  # fmt: skip


@dataclass(frozen=True)
class BulkOptions:
    """What a run may be asked.

    Attributes:
        failed: where failures are written; None is the output with `.failed.parquet` appended, written only when rows
            failed, and nowhere where the output is a stream.
        batch_rows: the most rows of a batch, fewer where these or their answers would hold too much; None chooses by their
            size, about 2 MiB.
        skip: rows of the source that are left out at the start.
        sample: play some of the rows, by chance: so many, or a part such as `1%`.
        seed: of that chance: the same one takes the same rows.
        shard: play one of several equal stretches of them, `i/n` with i from 0.
        limit: play only the first of all these.
        row_ids: a column to write with the row's position in the source.
        id: where the output is a table of a database, the column that tells its rows apart; None is `id`.
        workers: threads that play batches; None is one a core.
        output_format: the format of the output, the parts of a folder or a stream: `parquet`, `arrow`, `csv` or `jsonl`, text also
            compressed (`csv.gz`); None goes by the output's suffix, for parts it is Parquet.
        part_rows: rows of a part, where the output is a folder.
        partition_by: columns by whose values a folder as output has folders, `year=2024/month=1/part-00000.parquet`.
        resume: go on where an earlier run of the same command stopped.
        append: play only files that no run with it has played before, and add parts to the output, which is a folder.
        overwrite: write over an output, or an unfinished run, that is there.
        keep: the source's columns to write beside the outputs; None is all but arrays and bytes that the graph takes, and
            lists, structs and maps that the output does not hold.
        drop: columns of the source to leave out.
        only_failed: a file of failures: play only its rows.
        into: the output in which these rows failed. Their answers are put into it, at their places, and the file of failures
            keeps those that fail again.
        any_input: take these rows from any input, not only from the one that they failed in.
        max_failures: ends a run in which more rows fail, and no run in which fewer do.
        group_by: a column of the source, or several: makes one row of all rows with the same values, with list columns.
        format: the format of the source; None goes by its suffix.
        encoding, delimiter, types, empty: how text is read, see `motet.io.open_source`.
        decrypt: keys of encrypted Parquet files, see `motet.io.open_source`. They are kept nowhere.
        pool: a folder that the work of this machine shares: batches take turns with what else borrows there, and live work goes
            first. None is `$MOTET_POOL`; empty shares with nobody.
        ship: have the files of models at local paths go with the run, to workers on machines that do not have them.
        window_rows: of a stream the most messages of a window, which are answered and committed together; None is 10,000 to a
            topic, 100,000 to a folder.
        window_s: of a stream the most seconds that a window waits for more messages since its first one; None is 0.1 to a
            topic, 60 to a folder.
        until_end: of a stream read what is there, and end.
        progress: called now and then with the rows done, the rows there are (None where that is not known), and those failed;
            for `Graph.run` also True, which shows a line.
    """

    failed: str | None = None
    batch_rows: int | None = None
    skip: int = 0
    sample: str | int | None = None
    seed: int | None = None
    shard: str | None = None
    limit: int | None = None
    row_ids: str | None = None
    id: str | None = None
    workers: int | None = None
    output_format: str | None = None
    part_rows: int = 1_000_000
    partition_by: Sequence[str] = ()
    resume: bool = False
    append: bool = False
    overwrite: bool = False
    keep: Sequence[str] | None = None
    drop: Sequence[str] = ()
    only_failed: str | None = None
    into: str | Path | None = None
    any_input: bool = False
    max_failures: MaxFailures | str | int | None = None
    group_by: str | Sequence[str] | None = None
    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    types: Mapping[str, str | ColumnType] | None = None
    empty: str | None = None
    decrypt: Decrypt | None = field(default=None, repr=False)
    pool: str | None = None
    ship: bool = False
    window_rows: int | None = None
    window_s: float | None = None
    until_end: bool = False
    progress: Progress | None = None

    @classmethod
    def named(cls, options: Mapping[str, Any]) -> BulkOptions:
        """The options of these names.

        Raises:
            InputError: when there is none of a name, or one cannot be what it is.
        """
        known = cls.__dataclass_fields__
        if unknown := [name for name in options if name not in known]:
            raise InputError(f"unknown option {', '.join(unknown)}; known: {', '.join(known)}")
        return cls(**options)

    def __post_init__(self) -> None:
        for name in ("batch_rows", "limit", "workers", "part_rows", "window_rows"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be a whole number of at least 1; got {value!r}")
        if self.window_s is not None and not self.window_s >= 0:
            raise InputError(f"window_s must be a number of seconds of at least 0; got {self.window_s!r}")
        if not isinstance(self.skip, int) or self.skip < 0:
            raise InputError(f"skip must be a whole number of at least 0; got {self.skip!r}")
        if self.seed is not None and self.sample is None:
            raise InputError("seed is for a sample", hint="say how many rows with --sample, or leave --seed out")
        if self.into is not None and self.only_failed is None:
            raise InputError("into is for only_failed", hint="name the file of failures, or an output instead of into")
        if self.into is not None and self.failed is not None:
            raise InputError(
                "failed and into exclude each other", hint="what fails again stays in the file of only_failed"
            )
        if self.any_input and self.only_failed is None:
            raise InputError("any_input is for only_failed", hint="leave it out")
        _ = self.selection, self.allowed  # and see that they can be read
        excluded = [name for name in _NOT_APPENDED if getattr(self, name)] if self.append else []
        if excluded:
            raise InputError(
                f"append and {excluded[0]} exclude each other",
                hint="whole files are played, each once; a run that was stopped is gone on with as it is",
            )
        if self.resume and self.overwrite:
            raise InputError("resume and overwrite exclude each other", hint="resume goes on, overwrite begins anew")
        for name in ("keep", "drop", "partition_by"):
            if isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be a list of names; got {getattr(self, name)!r}")

    @property
    def num_workers(self) -> int:
        """Threads that play batches."""
        return self.workers or num_cores()

    @cached_property
    def selection(self) -> Selection:
        """Which rows are played."""
        sample = None if self.sample is None else Sample.parse(self.sample, self.seed or 0)
        shard = None if self.shard is None else RowShard.parse(self.shard)
        return Selection(self.skip, sample, shard, self.limit)

    @property
    def failures_path(self) -> str | None:
        """Where failures are written; None for beside the output. Of a merge it is where they came from."""
        return self.failed if self.into is None else self.only_failed

    @property
    def goes_on(self) -> bool:
        """Whether the run was told to go on, however many rows fail in a row."""
        return self.resume or self.only_failed is not None or self.max_failures is not None

    def destination(self, output: str) -> Destination:
        """Where the answers of a run go; a stream whose format nobody names has that of the input, where that was named.

        Raises:
            InputError: when an option is for tables, and the output is none.
        """
        if is_table(output):
            from motet.engines.local.table_output import TableDestination  # few outputs are tables

            return TableDestination(output, self.output_format, self.part_rows, tuple(self.partition_by), self.id)
        if self.id is not None:
            raise InputError("id is for tables of databases", where="id", hint="lancedb:///folder#table is one")
        if is_lake(output):
            from motet.engines.local.lake_output import LakeDestination  # few outputs are tables

            return LakeDestination(output, self.output_format, self.part_rows, tuple(self.partition_by))
        named = self.output_format
        unnamed = named is None and suffix_of(output) not in TABLE_SUFFIXES
        if unnamed and self.format in _STREAMED and is_stream(place_of(output)):
            named = self.format
        return Destination(output, named, self.part_rows, tuple(self.partition_by))

    @property
    def source(self) -> dict[str, Any]:
        """What `open_source` is given."""
        return {
            name: getattr(self, name)
            for name in ("format", "group_by", "types", "encoding", "delimiter", "empty", "decrypt")
        }

    @cached_property
    def allowed(self) -> MaxFailures | None:
        """How many rows may fail; None for any number."""
        given = self.max_failures
        return given if given is None or isinstance(given, MaxFailures) else MaxFailures.parse(given)


class RunOptions(TypedDict, total=False):
    """The keywords of `Graph.run`: the fields of `BulkOptions`, which says what they mean; and what runs it, with its options."""

    engine: str | Engine
    engine_options: Sequence[str]
    failed: str | None
    batch_rows: int | None
    skip: int
    sample: str | int | None
    seed: int | None
    shard: str | None
    limit: int | None
    row_ids: str | None
    id: str | None
    workers: int | None
    output_format: str | None
    part_rows: int
    partition_by: Sequence[str]
    resume: bool
    append: bool
    overwrite: bool
    keep: Sequence[str] | None
    drop: Sequence[str]
    only_failed: str | None
    into: str | Path | None
    any_input: bool
    max_failures: MaxFailures | str | int | None
    group_by: str | Sequence[str] | None
    format: str | None
    encoding: str | None
    delimiter: str | None
    types: Mapping[str, str | ColumnType] | None
    empty: str | None
    decrypt: Decrypt | None
    pool: str | None
    ship: bool
    window_rows: int | None
    window_s: float | None
    until_end: bool
    progress: Progress | bool | None
