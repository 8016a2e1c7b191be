"""Sources: where a run's rows come from, a batch at a time.

open_source ── path, URL, pattern, folder ── files.py ── parquet, ipc, csv, jsonl, images ─┐
            ├─ dataset ── dataset.py                                                       ├─ Stream ── batches
            └─ frame, table, dict, batches ── memory.py ──────────────────────────────────────────┘
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy.typing as npt
import pyarrow as pa

from motet.batch import Batch
from motet.databases.address import QUERIED, TableAddress, is_table
from motet.errors import InputError, UnknownNameError
from motet.io.datasets import is_dataset, open_dataset
from motet.io.decryption import Decrypt, ParquetKeys
from motet.io.files import FoundFile, asked
from motet.io.fitted import decoded_schema
from motet.io.foreign import ForeignSource
from motet.io.frames import frame_name, is_frame
from motet.io.hive import folder_columns, folder_values
from motet.io.images import ImagesSource
from motet.io.input_files import FORMATS, input_files, is_built_in
from motet.io.memory import IterableSource, TableSource, as_record_batch, table_of
from motet.io.parts import PartsSource
from motet.io.places import shown_path
from motet.io.plugins import find_plugin
from motet.io.read_options import ReadOptions
from motet.io.stream import Stream
from motet.lake.address import LakeAddress, is_lake
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.io.jsonl import JsonLinesSource

__all__ = ["Source", "open_source"]

Choose = Callable[[Sequence[FoundFile]], Sequence[FoundFile]]


@runtime_checkable
class Source(Protocol):
    """Gives rows in batches. One thread at a time may read from one iterator; several iterators may be open.

    A batch may have, after the named columns, a column `__motet_error__` (see `motet.io.faults`).
    """

    schema: pa.Schema
    """Names and types of the columns, with the metadata of each field."""
    description: str
    """What it reads, for messages."""
    reads_again: bool
    """Whether it can be read more than once."""

    @property
    def num_rows(self) -> int | None:
        """Rows in the source, None where only reading it all would tell."""
        ...

    def batches(self, rows: int, columns: Sequence[str] | None = None, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """Batches of exactly `rows` rows, the last one of fewer, without the first `skip` rows.

        Args:
            rows: rows a batch, 1 or more.
            columns: the names to read, in this order; None reads all.
            skip: rows to leave out at the start.

        Raises:
            UnknownNameError: at once, when a column does not exist.
        """
        ...

    def batches_at(
        self, positions: npt.ArrayLike, rows: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the rows at these positions alone, in ascending order, each once, `rows` at a time."""
        ...

    def fingerprint(self) -> str:
        """A digest that changes when the input does.

        Raises:
            InputError: when the source has no identity, so that a run over it cannot be resumed.
        """
        ...


def open_source(
    what: Any,
    *,
    format: str | None = None,
    group_by: str | Sequence[str] | None = None,
    types: Mapping[str, str | ColumnType] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    empty: str | None = None,
    decrypt: Decrypt | None = None,
    wanted: Mapping[str, ColumnType] | None = None,
    choose: Choose | None = None,
) -> Source:
    """Open what rows are to be read from.

    Args:
        what: a path, an fsspec URL, a pattern (`parts/*.parquet`), a folder, or a list of them; a data frame (pandas, polars,
            DuckDB) or a data set of the package `datasets`; the address of a table or a query of a database (sql.py), or of a
            table of a lake; a PyArrow dataset, table or record batch reader; a dict of arrays or a `Batch`;
            or an iterable of batches of any of these kinds; or a source, as it is. In a folder, names that begin with `_`
            or `.`, and files of unknown suffixes, are left out.
        format: `parquet`, `arrow`, `csv`, `jsonl` or `images`, or what an installed package adds; None goes by suffix.
        group_by: keys, so that a row is a group: see `GroupedSource`.
        types: types of columns of CSV and JSON Lines; columns without are kept as the text they are.
        encoding: of CSV and JSON Lines, a codec of Python; None is UTF-8, or what a byte order mark says.
        delimiter: what stands between fields of CSV, or its name, such as `tab`; None is a comma.
        empty: what an empty field of CSV is where text is wanted: `missing` (the same as None) or `text`.
        decrypt: keys of encrypted Parquet files, see `ParquetKeys.of`.
        wanted: types of the columns that somebody takes, by which text is read; other formats know their own, and it is
            no matter whether there are such columns.
        choose: gives those of the files found that are read; None reads all.

    Raises:
        InputError: when there is nothing to read, or no telling how.
        UnknownNameError: when `format`, a column of `types` or a key of `group_by` has a name that nothing has.
        MissingExtraError: when the URL's file system is not installed.
    """
    declared = {name: ColumnType.parse(kind, f"types: {name}") for name, kind in (types or {}).items()}
    keys_of_files = None if decrypt is None else ParquetKeys.of(decrypt)
    options = ReadOptions(encoding, delimiter, declared, empty, keys_of_files)
    keys = [group_by] if isinstance(group_by, str) else list(group_by or ())
    kinds = dict(wanted or {})
    if group_by is not None:  # what is wanted is of a group, and read are its rows
        kinds = {name: kind if name in keys else ColumnType(kind.dtype, kind.shape[1:]) for name, kind in kinds.items()}
    source = _open(what, format, options, options.with_wanted(kinds), choose)
    if not isinstance(source, Stream) and source.schema != decoded_schema(source.schema):
        source = ForeignSource(source)
    if group_by is None:
        return source
    from motet.io.groups import GroupedSource

    return GroupedSource(source, keys)


def _open(
    what: Any, format: str | None, options: ReadOptions, types: Mapping[str, ColumnType], choose: Choose | None
) -> Source:
    if isinstance(what, (str, os.PathLike)):
        return _open_paths([os.fspath(what)], format, options, types, choose)
    if isinstance(what, (list, tuple)) and what and all(isinstance(part, (str, os.PathLike)) for part in what):
        return _open_paths([os.fspath(part) for part in what], format, options, types, choose)
    if choose is not None:
        raise InputError(f"a {type(what).__name__} is no files, of which some could be chosen")
    options.check_known_by("in memory", f"a {type(what).__name__}")
    return _open_values(what, types)


def _open_values(what: Any, types: Mapping[str, ColumnType]) -> Source:
    if isinstance(what, pa.Table):
        return TableSource(what)
    if is_dataset(what):
        return open_dataset(what, types)
    if isinstance(what, (pa.RecordBatch, Mapping, Batch)):
        return TableSource(
            pa.Table.from_batches([as_record_batch(what, types=types)]), f"a {type(what).__name__} in memory"
        )
    if type(what).__module__.startswith("pyarrow") and hasattr(what, "to_reader"):
        what = what.to_reader()  # a scanner: some columns and rows of a dataset
    if type(what).__module__.startswith("pyarrow") and hasattr(what, "to_batches"):
        from motet.io.dataset import DatasetSource

        return DatasetSource(what)
    if hasattr(what, "batches_at") and isinstance(what, Source):  # the schema of a lazy frame costs, which polars says
        return what
    if isinstance(what, pa.RecordBatchReader):  # it has columns, also where it has no batch
        nothing = pa.RecordBatch.from_pylist([], schema=what.schema)
        return IterableSource(chain([nothing], what), f"a {type(what).__name__}", types)
    if is_frame(what):
        return TableSource(table_of(what, types), frame_name(what))
    if isinstance(what, Iterable):
        return IterableSource(what, f"a {type(what).__name__}", types)
    raise InputError(
        f"{type(what).__name__} is nothing to read rows from",
        hint="give a path, a URL, a frame (what is lazy after .collect()), a dict of arrays, or an iterable of batches",
    )


def _open_paths(
    paths: Sequence[str],
    format: str | None,
    options: ReadOptions,
    types: Mapping[str, ColumnType],
    choose: Choose | None,
) -> Source:
    if any(map(is_table, paths)):
        return _open_query(paths, options, choose)
    if any(map(is_lake, paths)):
        return _open_lake(paths, options, choose)
    first = shown_path(paths[0])
    description = first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
    if not is_built_in(paths[0], format):
        plugin = find_plugin("motet.sources", paths[0], format)
        if plugin is not None:
            if choose is not None:
                raise InputError("is read by a plugin, of whose files none can be chosen", where=description)
            options.check_known_by("a plugin", description)
            what = paths[0] if len(paths) == 1 else list(paths)
            return cast("Source", plugin(what, types=types))
        if format is not None:
            raise UnknownNameError("source format", format, FORMATS)
    files, chosen, left_out = input_files(paths, format, description)
    if choose is not None:
        files = list(choose(files))
    source = _of_files(files, chosen, options, types, description)
    source.left_out = "; ".join(filter(None, (left_out, _said_of_folders(files, chosen, source))))
    return source


def _open_query(paths: Sequence[str], options: ReadOptions, choose: Choose | None) -> Source:
    from motet.io.sql import SqlSource  # few sources are databases

    if len(paths) > 1 or choose is not None:
        raise InputError(
            "a table is read by itself, and has no files", where=str(TableAddress.parse(paths[0], QUERIED))
        )
    source = SqlSource(paths[0])
    options.check_known_by("a database", source.description)
    return source


def _open_lake(paths: Sequence[str], options: ReadOptions, choose: Choose | None) -> Source:
    lake = next(path for path in paths if is_lake(path))
    address = LakeAddress.parse(lake, written=False)
    if address.scheme == "bigquery":
        hint = "read it with its own client, and give a frame or a table of Arrow"
        raise InputError("tables of BigQuery are written to, and not read", where=str(address), hint=hint)
    if len(paths) > 1 or choose is not None:
        raise InputError("a table is read by itself", where=str(address))
    options.check_known_by("a table", str(address))
    if address.scheme == "delta":
        from motet.io.delta import open_delta  # few sources are tables

        return open_delta(address)
    from motet.io.iceberg import open_iceberg

    return open_iceberg(address)


def _of_files(
    files: Sequence[FoundFile], format: str, options: ReadOptions, types: Mapping[str, ColumnType], description: str
) -> Stream:
    source = _of_parts(files, format, options, types, description)
    source.reads = tuple(files)
    source.reads_again = all(file.content is None or file.content.reads_again for file in files)
    return source


def _of_parts(
    files: Sequence[FoundFile], format: str, options: ReadOptions, types: Mapping[str, ColumnType], description: str
) -> Stream:
    options.check_known_by(format, description)
    if format == "images":
        return ImagesSource(files, description)
    remote = any(not file.is_local for file in files)
    if len(files) > 1 and format in ("csv", "jsonl"):
        empty = asked(_is_empty, files, remote=remote)
        files = [file for file, nothing in zip(files, empty, strict=True) if not nothing] or files[:1]
    parts = asked(lambda file: _open_file(file, format, options, types), files, remote=remote)
    if format == "jsonl":
        from motet.io.jsonl import agree

        agree(cast("list[JsonLinesSource]", parts))
    folders = folder_columns(files, types)
    for name in options.types:
        if not any(name in part.schema.names or name in each for part, each in zip(parts, folders, strict=True)):
            raise UnknownNameError("column", name, parts[0].schema.names, where=f"{description}: types")
    return parts[0] if len(parts) == 1 and not folders[0] else PartsSource(parts, description, types, folders)


def _is_empty(file: FoundFile) -> bool:
    """Whether a file of text has nothing in it, not even a header: it counts for nothing among others."""
    if file.size == 0:
        return True
    try:
        with file.stream() as raw:
            return not raw.read(1)
    except (OSError, pa.ArrowException):
        return False  # whoever reads it says what is wrong


def _said_of_folders(files: Sequence[FoundFile], format: str, source: Stream) -> str:
    """What is said of columns of folders (`year=2024/part.parquet`) that are not read, since the files have them; or are pictures."""
    names = dict.fromkeys(name for file in files for name in folder_values(file))
    if format == "images":
        return f"names of folders are no columns of pictures: {', '.join(names)}" if names else ""
    both = [name for name in names if isinstance(source, PartsSource) and source.has_itself(name)]
    return f"read from the files, and not from the names of their folders: {', '.join(both)}" if both else ""


def _open_file(file: FoundFile, format: str, options: ReadOptions, types: Mapping[str, ColumnType]) -> Stream:
    if format == "parquet":
        from motet.io.parquet import ParquetSource

        return ParquetSource(file, options.keys)
    if format == "arrow":
        from motet.io.ipc import ArrowSource

        return ArrowSource(file)
    if format == "csv":
        from motet.io.csv import CsvSource

        return CsvSource(file, types, options)
    from motet.io.jsonl import JsonLinesSource

    return JsonLinesSource(file, types, options)
