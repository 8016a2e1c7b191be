"""Sinks: what a run writes its answers to, a batch at a time.

`open_writer` picks the format by suffix. Rows are cut again, so that a file's bytes depend on its rows and not on how
they arrived: a group ends after `row_group_rows` rows, or sooner where its rows hold `GROUP_BYTES`, or an eighth of the
memory that there is. A file appears under its name when it is closed, whole (see target.py).
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from motet.errors import InputError, MotetError, RunError, UnknownNameError
from motet.io.compression import codec_of
from motet.io.cutter import Cutter
from motet.io.files import TABLE_SUFFIXES, suffix_of
from motet.io.jsontext import plain_batch, plain_schema
from motet.io.plugins import find_plugin
from motet.io.stream import join
from motet.io.target import FileTarget, target_of, writing
from motet.system.limits import at_most

__all__ = [
    "GROUP_BYTES",
    "BatchWriter",
    "CountingWriter",
    "FileWriter",
    "can_hold",
    "check_format",
    "check_held",
    "open_writer"
]  # fmt: skip

GROUP_BYTES = 64 << 20
"""The most bytes of rows that a writer holds before it writes them."""


@runtime_checkable
class BatchWriter(Protocol):
    """Takes batches in order. One thread at a time may touch it."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch of the schema that the writer was opened with."""
        ...

    def close(self) -> None:
        """Write what is held and let the file appear under its name. Closing again does nothing."""
        ...

    def abort(self) -> None:
        """Leave no file. After `close` it does nothing."""
        ...


class CountingWriter(BatchWriter, Protocol):
    """A writer that counts.

    Attributes:
        rows: rows that it has taken.
    """

    rows: int


def open_writer(
    path: str | os.PathLike[str],
    schema: pa.Schema,
    *,
    format: str | None = None,
    row_group_rows: int = 65_536,
    target: FileTarget | None = None,
) -> CountingWriter:
    """Open a file to write rows to.

    Args:
        path: a path or an fsspec URL; what is there is replaced on close.
        schema: names and types of the columns; every batch must have it.
        format: `parquet`, `arrow`, `csv` or `jsonl`, text also compressed (`csv.gz`), or what an installed package adds; None
            goes by the suffix.
        row_group_rows: rows a group, 1 or more.
        target: where the bytes of a built-in format go; None is the file of this path.

    Raises:
        InputError: when the format is unknown, or cannot hold a column of the schema; when there is no place to write to.
    """
    text = os.fspath(path)
    if row_group_rows < 1:
        raise InputError(f"row_group_rows is {row_group_rows}; it must be 1 or more")
    name, codec = _named(text, format)
    if name is not None:
        return FileWriter(text, schema, name, codec, row_group_rows, target or target_of(text))
    plugin = find_plugin("motet.sinks", text, format)
    if plugin is not None:
        plain = plain_schema(schema)
        return _PluginWriter(plugin(text, plain), plain)
    raise _unknown(text, format)


class _PluginWriter:
    """Hands batches to another package's writer, in types that it knows, and counts their rows."""

    def __init__(self, writer: BatchWriter, schema: pa.Schema) -> None:
        self._writer, self._schema, self.rows = writer, schema, 0

    def write(self, batch: pa.RecordBatch) -> None:
        """See `BatchWriter`."""
        self._writer.write(plain_batch(batch, self._schema))
        self.rows += len(batch)

    def close(self) -> None:
        """See `BatchWriter`."""
        self._writer.close()

    def abort(self) -> None:
        """See `BatchWriter`."""
        self._writer.abort()


class FileWriter:
    """Cuts rows into groups and hands them to one format's writer, on a file that is not yet there.

    Args:
        path: where the file will be.
        schema: what every batch must have.
        format: one of the built-in formats.
        codec: how its text is compressed; None for not.
        row_group_rows: rows a group.
        target: where its bytes go.

    Attributes:
        rows: rows that were taken.
    """

    def __init__(
        self, path: str, schema: pa.Schema, format: str, codec: str | None, row_group_rows: int, target: FileTarget
    ) -> None:
        self.path, self._schema, self._target = path, schema, target
        self._open = _writer_of("stream" if format == "arrow" and target.is_stream else format)
        check_held(path, schema, path, format=format)
        self._groups = Cutter(row_group_rows, at_most(GROUP_BYTES, part=8), self._write_group)
        self.rows = self._rows_out = 0
        self._written = schema if format in ("jsonl", "lines") else plain_schema(schema)
        self._file = target.open()
        try:
            with self._told(None):
                self._out: Any = self._open(self._file, self._written, codec)
        except BaseException:
            target.discard()
            raise

    def write(self, batch: pa.RecordBatch) -> None:
        """See `BatchWriter`.

        Raises:
            InputError: when the batch has another schema, or the writer is closed.
        """
        if self._out is None:
            raise InputError("has been closed", where=self.path)
        if not batch.schema.equals(self._schema):
            raise InputError(_difference(batch.schema, self._schema), where=self.path)
        self._groups.add(batch)
        self.rows = self._groups.rows

    def _write_group(self, held: Sequence[pa.RecordBatch]) -> None:
        batch = plain_batch(join(held), self._written)
        with self._told(batch):
            self._out.write_batch(batch)
        self._rows_out += len(batch)

    def flush(self) -> None:
        """Let all rows so far go where they belong, as a group."""
        self._groups.flush()
        with self._told(None):
            self._file.flush()

    @contextmanager
    def _told(self, batch: pa.RecordBatch | None) -> Iterator[None]:
        """Tell what Arrow refuses to write as an error of the column that it cannot be written of, else of the file."""
        try:
            with writing(self.path, resumes=not self._target.is_stream):
                yield
        except pa.ArrowException as error:
            culprit = "it" if batch is None else self._culprit(batch)
            raise InputError(f"{culprit} cannot be written: {error}", where=self.path) from None

    def _culprit(self, batch: pa.RecordBatch) -> str:
        """The column that cannot be written, found by writing each alone."""
        for field in self._written:
            try:
                out = self._open(pa.MockOutputStream(), pa.schema([field]), None)
                out.write_batch(batch.select([field.name]))
                out.close()
            except pa.ArrowException:
                return f"column {field.name!r} ({field.type})"
        return "a batch of rows"

    def close(self) -> None:
        """See `BatchWriter`."""
        if self._out is None:
            return
        try:
            self._groups.flush()
            with self._told(None):
                self._out.close()
                self._file.close()
            if self._rows_out != self.rows:
                raise RunError(f"took {self.rows:,} rows and wrote {self._rows_out:,}", where=self.path)
            self._target.publish()
        except BaseException:
            self.abort()
            raise
        self._out = None

    def abort(self) -> None:
        """See `BatchWriter`."""
        out, self._out = self._out, None
        if out is None:
            return
        try:
            with suppress(OSError, pa.ArrowException, MotetError):  # what it refused to write before
                out.close()
                self._file.close()
        finally:
            self._target.discard()


_FORMATS = {
    "parquet": "motet.io.parquet",
    "arrow": "motet.io.ipc",
    "csv": "motet.io.write_csv",
    "jsonl": "motet.io.write_jsonl",
    "lines": "motet.io.lines",
}
"""The module of each format, with `open_writer` and `holds`."""


def _module(format: str) -> Any:
    """A format's module; only that one is imported."""
    return importlib.import_module(_FORMATS[format])


def _writer_of(format: str) -> Callable[..., Any]:
    """What opens a format's own writer; `stream` is Arrow's format for what cannot be read from its end."""
    if format == "stream":
        from motet.io.ipc import open_stream_writer

        return open_stream_writer
    found: Callable[..., Any] = _module(format).open_writer
    return found


def _named(path: str, format: str | None) -> tuple[str | None, str | None]:
    """The built-in format that is named, else that of a path's suffix, and how its text is compressed; None for no such.

    Raises:
        InputError: when a format is compressed that does so by itself.
    """
    name = path if format is None else f"rows.{format}"
    found = format if format in _FORMATS else TABLE_SUFFIXES.get(suffix_of(name))
    codec = codec_of(name) or codec_of(path)
    if found in ("parquet", "arrow") and codec is not None:
        raise InputError(
            f"{_NAMES[found]} is not compressed as a whole",
            where=path,
            hint=f"leave {os.path.splitext(name)[1]} out of the name: Parquet is compressed inside",
        )
    return found, codec


def can_hold(path: str, field: pa.Field, *, format: str | None = None) -> bool:
    """Whether the format that is named, else that of a path, can hold a column; formats of other packages are trusted to."""
    name = _named(path, format)[0]
    return name is None or bool(_module(name).holds(field))


def check_format(path: str, schema: pa.Schema, *, format: str | None = None) -> None:
    """See that the format that is named, else that of a path, is known, and holds columns.

    Raises:
        InputError: when it is or does not.
    """
    name = _named(path, format)[0]
    if name is None and find_plugin("motet.sinks", path, format) is None:
        raise _unknown(path, format)
    check_held(path, schema, path, format=name)


def _unknown(path: str, format: str | None) -> MotetError:
    if format is not None:
        return UnknownNameError("sink format", format, sorted(_FORMATS))
    known = ", ".join(TABLE_SUFFIXES)
    return InputError(
        f"cannot tell the format of {path!r} by its suffix; known: {known}",
        hint="give it one of these, or name one with --output-format (output_format=)",
    )


def check_held(path: str, schema: pa.Schema, where: str, *, format: str | None = None) -> None:
    """See that a format can hold every column.

    Args:
        path: says the format, by its suffix.
        schema: the columns.
        where: what errors call the file.
        format: one of the built-in formats; None goes by the suffix, and trusts those of other packages.

    Raises:
        InputError: naming a column that it cannot hold, its type, and the formats that can; or a name that would be there
            twice, where CSV writes places of vectors beside a column of the same name.
    """
    format = format or TABLE_SUFFIXES.get(suffix_of(path))
    if format is None:
        return
    holds = _module(format).holds
    for field in schema:
        if not holds(field):
            *others, last = (f".{other}" for other in _FORMATS if other != format and _module(other).holds(field))
            raise InputError(
                f"{_NAMES[format]} cannot hold column {field.name!r}, which is {field.type}",
                where=where,
                hint=f"write {', '.join(others)}{' or ' if others else ''}{last}, or leave it out: "
                f"--drop {field.name} where it is the source's",
            )
    if format == "csv":
        from motet.io.write_csv import written_names

        counts = Counter(name for field in schema for name in written_names(field))
        if twice := [name for name, count in counts.items() if count > 1]:
            raise InputError(
                f"there would be two columns {twice[0]!r}", where=where, hint="rename one, or leave one out with --drop"
            )


_NAMES = {"parquet": "Parquet", "arrow": "Arrow", "csv": "CSV", "jsonl": "JSON Lines", "lines": "Lines"}


def _difference(got: pa.Schema, wanted: pa.Schema) -> str:
    if got.names != wanted.names:
        return f"got the columns {', '.join(got.names)}; was opened for {', '.join(wanted.names)}"
    for name in wanted.names:
        if got.field(name) != wanted.field(name):
            return f"column {name!r} is {got.field(name).type}; was opened for {wanted.field(name).type}"
    return "got a schema that differs in its metadata"
