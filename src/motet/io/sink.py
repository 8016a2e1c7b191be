"""Sinks: what a run writes its answers to, a batch at a time.

`open_writer` picks the format by suffix. Rows are cut again, so that a file's bytes depend on its rows and not on how
they arrived: a group ends after `row_group_rows` rows, or sooner where its rows hold `GROUP_BYTES`. A file appears
under its name when it is closed, whole, by a rename; on a file system without one, by one upload.
"""

from __future__ import annotations

import importlib
import os
import secrets
import tempfile
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from motet.errors import InputError, UnknownNameError
from motet.io.files import COMPRESSIONS, TABLE_SUFFIXES, file_system, suffix_of
from motet.io.jsontext import plain_batch, plain_schema
from motet.io.plugins import find_plugin
from motet.io.remote import asking, check_bucket
from motet.io.sizes import fixed_width, row_sizes
from motet.io.stream import join

__all__ = ["GROUP_BYTES", "FileWriter", "Writer", "open_writer"]

GROUP_BYTES = 256 << 20
"""The most bytes of rows that a writer holds before it writes them."""


@runtime_checkable
class Writer(Protocol):
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


def open_writer(
    path: str | os.PathLike[str], schema: pa.Schema, *, format: str | None = None, row_group_rows: int = 65_536
) -> Writer:
    """Open a file to write rows to.

    Args:
        path: a path or an fsspec URL; what is there is replaced on close.
        schema: names and types of the columns; every batch must have it.
        format: `parquet`, `arrow`, `csv` or `jsonl`, or what an installed package adds; None goes by the suffix.
        row_group_rows: rows a group, 1 or more.

    Raises:
        InputError: when the format is unknown, or cannot hold a column of the schema.
    """
    text = os.fspath(path)
    if row_group_rows < 1:
        raise InputError(f"row_group_rows is {row_group_rows}; it must be 1 or more")
    name = format or TABLE_SUFFIXES.get(suffix_of(text)) or ""
    if name in _MAKERS:
        return FileWriter(text, schema, name, row_group_rows)
    plugin = find_plugin("motet.sinks", text, format)
    if plugin is not None:
        writer: Writer = plugin(text, schema)
        return writer
    if format is not None:
        raise UnknownNameError("sink format", format, sorted(_MAKERS))
    known = ", ".join(TABLE_SUFFIXES)
    raise InputError(f"cannot tell the format of {text!r} by its suffix; known: {known}", hint="name one with format=")


class FileWriter:
    """Cuts rows into groups and hands them to one format's writer, on a file that is not yet there.

    Args:
        path: where the file will be.
        schema: what every batch must have.
        format: one of the built-in formats.
        row_group_rows: rows a group.
    """

    def __init__(self, path: str, schema: pa.Schema, format: str, row_group_rows: int) -> None:
        self.path, self._schema, self._group_rows = path, schema, row_group_rows
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        make = _maker(format)
        self._written = schema if format == "jsonl" else plain_schema(schema)
        self._fs, self._target = file_system(path)
        if self._fs is not None:
            check_bucket(path, self._fs, self._target)
        self._part = _partial(self._target if self._fs is None else None)
        try:
            self._out: Any = make(self._part, self._written, _codec(path, format))
        except BaseException:
            os.unlink(self._part)
            raise

    def write(self, batch: pa.RecordBatch) -> None:
        """See `Writer`.

        Raises:
            InputError: when the batch has another schema, or the writer is closed.
        """
        if self._out is None:
            raise InputError("has been closed", where=self.path)
        if not batch.schema.equals(self._schema):
            raise InputError(_difference(batch.schema, self._schema), where=self.path)
        if (width := fixed_width(batch)) is not None and self._fits(batch, width):
            self._hold(batch, len(batch) * width)
            return
        sizes = np.cumsum(row_sizes(batch))
        start = 0
        while start < len(batch):
            before = int(sizes[start - 1]) if start else 0
            full = int(np.searchsorted(sizes, before + GROUP_BYTES - self._bytes)) + 1
            stop = min(len(batch), start + self._group_rows - self._rows, max(full, start + 1))
            self._hold(batch.slice(start, stop - start), int(sizes[stop - 1]) - before)
            start = stop

    def _fits(self, batch: pa.RecordBatch, width: int) -> bool:
        """Whether a batch of rows of one width goes into the group that is held."""
        return self._rows + len(batch) <= self._group_rows and self._bytes + len(batch) * width < GROUP_BYTES

    def _hold(self, part: pa.RecordBatch, size: int) -> None:
        self._held.append(part)
        self._rows, self._bytes = self._rows + len(part), self._bytes + size
        if self._rows >= self._group_rows or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._out.write_batch(plain_batch(join(self._held), self._written))
        self._held, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        """See `Writer`."""
        if self._out is None:
            return
        try:
            self._flush()
            self._out.close()
            self._publish()
        except BaseException:
            self.abort()
            raise
        self._out = None

    def _publish(self) -> None:
        if self._fs is not None:
            with asking(self.path, self._fs):
                self._fs.put_file(self._part, self._target)
            os.unlink(self._part)
            return
        with open(self._part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self._part, self._target)

    def abort(self) -> None:
        """See `Writer`."""
        out, self._out, self._held = self._out, None, []
        if out is None:
            return
        try:
            out.close()
        finally:
            if os.path.exists(self._part):
                os.unlink(self._part)


_MAKERS = {
    "parquet": "motet.io.parquet:parquet_writer",
    "arrow": "motet.io.ipc:ipc_writer",
    "csv": "motet.io.csv:csv_writer",
    "jsonl": "motet.io.jsonl:jsonl_writer",
}


def _maker(format: str) -> Callable[[str, pa.Schema, str | None], Any]:
    """What makes a format's writer; only that format's module is imported."""
    module, _, name = _MAKERS[format].partition(":")
    made: Callable[[str, pa.Schema, str | None], Any] = getattr(importlib.import_module(module), name)
    return made


def _codec(path: str, format: str) -> str | None:
    return COMPRESSIONS.get(os.path.splitext(path)[1].lower()) if format in ("csv", "jsonl") else None


def _partial(target: str | None) -> str:
    """An empty file that will become the result: beside it, so that a rename will do; else among temporary files."""
    folder = tempfile.gettempdir() if target is None else os.path.dirname(target) or "."
    path = os.path.join(folder, f".{os.path.basename(target or 'motet')}.{secrets.token_hex(6)}.part")
    try:
        with open(path, "xb"):
            return path
    except FileNotFoundError:
        raise InputError(
            f"there is no folder {folder!r} to write to", where=str(target), hint="make it first"
        ) from None


def _difference(got: pa.Schema, wanted: pa.Schema) -> str:
    if got.names != wanted.names:
        return f"got the columns {', '.join(got.names)}; was opened for {', '.join(wanted.names)}"
    for name in wanted.names:
        if got.field(name) != wanted.field(name):
            return f"column {name!r} is {got.field(name).type}; was opened for {wanted.field(name).type}"
    return "got a schema that differs in its metadata"
