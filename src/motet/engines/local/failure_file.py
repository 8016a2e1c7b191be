"""The file of the rows that failed, beside the answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pyarrow as pa

from motet.engines.layout import FAILURES, failures_table
from motet.engines.local.output import open_beside
from motet.engines.local.replay import INPUT
from motet.engines.local.work import WorkFolder
from motet.errors import Failure
from motet.io.places import place_of
from motet.io.remote import asking
from motet.io.sink import CountingWriter
from motet.io.target import target_of
from motet.io.uploads import remove_files

__all__ = ["FailureFile"]

PATH = pa.field("path", pa.string(), nullable=False)
"""The file that a failed row was read from, where a row is a file."""
SHOWN = 3
"""Failures that the report of a run shows."""


class FailureFile:
    """Writes failures, to Parquet or by the suffix of the path.

    Attributes:
        first: the first few, as people read them.

    Args:
        path: the file; None keeps none.
        work: where it stands until it is finished.
        identity: what tells the input from others, None where nothing does; asked for when the first row failed.
        always: whether it is written when no row failed.
        path_of: the file of a row of the source, written beside its failure; None where rows have none.
    """

    def __init__(
        self,
        path: str | None,
        work: WorkFolder,
        identity: Callable[[], str | None],
        *,
        always: bool,
        path_of: Callable[[int], str] | None = None,
    ) -> None:
        self.path, self._work, self._identity, self._path_of = path, work, identity, path_of
        self._schema = (FAILURES if path_of is None else FAILURES.append(PATH)).append(INPUT)
        self._writer: CountingWriter | None = None
        self.first: list[str] = []
        if path is not None and always:
            target_of(path).probe()
            self._writer = open_beside(place_of(path), self._schema, work)

    @property
    def rows(self) -> int | None:
        """Failures that its writer has taken; None where none are kept."""
        if self.path is None:
            return None
        return 0 if self._writer is None else self._writer.rows

    def write(self, failures: Sequence[Failure]) -> None:
        """Write failures."""
        self.first += [self._shown(each) for each in failures[: SHOWN - len(self.first)]]
        if not failures or self.path is None:
            return
        if self._writer is None:
            self._writer = open_beside(place_of(self.path), self._schema, self._work)
        table = failures_table(failures)
        if self._path_of is not None:
            table = table.append_column(PATH, pa.array([self._path_of(each.row) for each in failures], PATH.type))
        inputs = pa.repeat(pa.scalar(self._identity(), INPUT.type), len(failures))
        self._writer.write(table.append_column(INPUT, inputs))

    def _shown(self, failure: Failure) -> str:
        file = f" ({self._path_of(failure.row)})" if self._path_of is not None else ""
        return f"row {failure.row}{file}: {str(failure).partition(': ')[2]}"

    def close(self) -> str:
        """Put the file where it belongs; a stale one goes when no row failed. The path, empty where there is no file."""
        if self._writer is not None:
            self._writer.close()
        if self._writer is not None or self.path is None:
            return self.path or ""
        place = place_of(self.path)
        if place.is_local:
            if os.path.lexists(place.path):  # a file system that can only be read refuses also what is not there
                os.unlink(place.path)
        else:
            with asking(self.path, place.fs):
                remove_files(place.fs, [place.path])
        return ""

    def abort(self) -> None:
        """Leave nothing half-written."""
        if self._writer is not None:
            self._writer.abort()
