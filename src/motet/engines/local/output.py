"""Where answers are written: a file or a stream. Folders of parts are in folder_output.py."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import pyarrow as pa

from motet.engines.local.work import WorkFolder
from motet.io import open_writer
from motet.io.places import Place
from motet.io.sink import CountingWriter, check_format
from motet.io.target import StreamTarget, target_of

__all__ = ["FileOutput", "Output", "Refuses", "StreamOutput", "open_beside"]

Refuses = Callable[[pa.RecordBatch], Mapping[int, str]]
"""By row why it cannot be written. It pickles."""


class Output(ABC):
    """Where answers are written to; the same rows give the same bytes however they arrive. One thread may touch it.

    Attributes:
        starts_over: whether what was written can be forgotten.
        keeps: whether what was written and flushed stays, so that no copy of it is needed to go on behind it.
        commits: whether it is put elsewhere by one transaction, which is not made again; the journal has all rows before.
        schema: of what is written; None until that is known.
    """

    starts_over = True
    keeps = False
    commits = False
    schema: pa.Schema | None = None

    @property
    def is_open(self) -> bool:
        """Whether the schema is known."""
        return self.schema is not None

    @property
    @abstractmethod
    def rows(self) -> int:
        """Rows that its writers have taken, as they count them."""

    @abstractmethod
    def check(self, schema: pa.Schema) -> None:
        """See that the format is known, and holds the columns of which the types are known, before rows are played.

        Raises:
            InputError: when it is or does not.
        """

    def open(self, schema: pa.Schema) -> None:
        """Begin with this schema.

        Raises:
            InputError: when the format is unknown, or cannot hold a column.
        """
        self._open(schema)
        self.schema = schema

    @abstractmethod
    def _open(self, schema: pa.Schema) -> None: ...

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows; an output that was not opened has the types of the first ones."""
        if not self.is_open:
            self.open(batch.schema)
        self._write(batch)

    @abstractmethod
    def _write(self, batch: pa.RecordBatch) -> None: ...

    def refused(self, batch: pa.RecordBatch) -> Mapping[int, str]:
        """By row why it cannot be written, of rows that its columns' types do not tell; they fail alone."""
        return {}

    def refuses(self, schema: pa.Schema) -> Refuses | None:
        """What says the same elsewhere of rows of a schema, which the output is opened with; None where it refuses none."""
        return None

    def flush(self) -> None:
        """Of an output that keeps: have all that was written stay, whatever happens."""

    def check_there(self) -> None:
        """Of an output that keeps: see that it still is where an earlier part of the run has written to.

        Raises:
            ResumeError: when it is not.
        """

    def resume(self, rows: int) -> None:
        """Of an output that keeps: count rows that an earlier part of the run has written."""

    def start_over(self) -> None:
        """Forget what was written, and its types."""
        self.abort()
        self.schema = None

    @abstractmethod
    def close(self) -> None:
        """Put all of it where it belongs."""

    @abstractmethod
    def abort(self) -> None:
        """Leave what was there as it was, and nothing half-written."""


class _OneWriter(Output):
    """What outputs of one writer share.

    Args:
        path: where the answers go.
        format: see `motet.io.open_writer`.
    """

    def __init__(self, path: str, format: str | None) -> None:
        self._path, self._format = path, format
        self._writer: CountingWriter | None = None

    @property
    def rows(self) -> int:
        """See `Output`."""
        return 0 if self._writer is None else self._writer.rows

    def check(self, schema: pa.Schema) -> None:
        """See `Output`."""
        check_format(self._path, schema, format=self._format)

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self._writer is not None
        self._writer.write(batch)

    def close(self) -> None:
        """See `Output`."""
        assert self._writer is not None
        self._writer.close()

    def abort(self) -> None:
        """See `Output`."""
        if self._writer is not None:
            self._writer.abort()


class FileOutput(_OneWriter):
    """One file.

    Args:
        place: the file.
        work: where it stands until it is finished.
        format: see `motet.io.open_writer`.
    """

    def __init__(self, place: Place, work: WorkFolder, format: str | None = None) -> None:
        super().__init__(place.text, format)
        self._place, self._work = place, work

    def _open(self, schema: pa.Schema) -> None:
        self._writer = open_beside(self._place, schema, self._work, self._format)

    def start_over(self) -> None:
        """See `Output`."""
        super().start_over()
        self._writer = None


class StreamOutput(_OneWriter):
    """Standard output, a pipe or a device: what is answered goes out at once, and for good."""

    starts_over = False

    def _open(self, schema: pa.Schema) -> None:
        self._writer = open_writer(self._path, schema, format=self._format, target=StreamTarget(self._path))

    def _write(self, batch: pa.RecordBatch) -> None:
        super()._write(batch)
        if flush := getattr(self._writer, "flush", None):
            flush()

    def start_over(self) -> None:
        """See `Output`: it cannot."""
        raise AssertionError("what went out cannot be forgotten")


def open_beside(place: Place, schema: pa.Schema, work: WorkFolder, format: str | None = None) -> CountingWriter:
    """A writer of a file, which stands aside until it is finished where a rename reaches it from there."""
    folder = os.path.dirname(place.key[1]) if place.is_local and work.device is not None else ""
    near = os.path.isdir(folder) and os.stat(folder).st_dev == work.device
    partial = work.part(os.path.basename(place.path)) if near else None
    return open_writer(place.text, schema, format=format, target=target_of(place, partial))
