"""A version of a table of Delta Lake as source: its files, one after another, with the columns that partition it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.errors import InputError
from motet.io.files import FoundFile, asked
from motet.io.fitted import decoded_schema
from motet.io.hive import FolderColumn
from motet.io.memory import TableSource
from motet.io.parquet import ParquetSource
from motet.io.parts import PartsSource
from motet.io.places import place_of
from motet.io.renamed import RenamedColumns, plain_schema
from motet.io.stream import Seen, Stream
from motet.lake.address import LakeAddress
from motet.lake.delta import DeltaFile, DeltaVersion, read_version

__all__ = ["DeltaSource", "KeptRows", "open_delta"]


def open_delta(address: LakeAddress) -> Stream:
    """The rows of a version, in the order of the paths of its files.

    Raises:
        InputError: when there is no such version, or it cannot be read.
    """
    version = read_version(address)
    shown = f"{address}?version={version.version}"
    return DeltaSource(version, shown) if version.files else EmptyVersion(version, shown)


class DeltaSource(PartsSource):
    """A version that has files.

    Args:
        version: the version.
        description: what errors call it.
    """

    def __init__(self, version: DeltaVersion, description: str) -> None:
        places = [place_of(each.path) for each in version.files]
        files = [FoundFile(place.path, place.fs) for place in places]
        remote = any(not file.is_local for file in files)
        whole = asked(ParquetSource, files, remote=remote)
        for part, each in zip(whole, version.files, strict=True):
            _check_rows(part, each)
        kept = [_kept(part, each.deleted) for part, each in zip(whole, version.files, strict=True)]
        if version.mapping == "none":
            parts = kept
        else:
            parts = [RenamedColumns(part, version.schema, by_id=version.mapping == "id") for part in kept]
        folders = [{name: FolderColumn(value) for name, value in each.values.items()} for each in version.files]
        super().__init__(parts, description, folders=folders)
        self.schema, self.reads, self._version = decoded_schema(plain_schema(version.schema)), tuple(files), version
        self.pin = f"version={version.version}"

    def fingerprint(self) -> str:
        """A digest of the table's own id and of the version; nothing else changes it."""
        return _digest(self._version)


def _check_rows(source: ParquetSource, file: DeltaFile) -> None:
    """See that a file is the one that the log of the table tells of, as far as its rows go.

    Raises:
        InputError: when it has others.
    """
    if file.rows not in (None, source.num_rows):
        what = f"has {source.num_rows:,} rows, and {file.rows:,} by the log of the table"
        hint = "somebody has replaced it: bring it back, or read a version without it"
        raise InputError(what, where=source.description, hint=hint)


def _kept(source: ParquetSource, deleted: Sequence[int]) -> Stream:
    """A file without the rows that are deleted."""
    return KeptRows(source, np.setdiff1d(np.arange(source.num_rows), deleted)) if deleted else source


class KeptRows(Stream):
    """Some rows of a file.

    Args:
        source: the file.
        places: of the rows in it, ascending.
    """

    def __init__(self, source: ParquetSource, places: Indices) -> None:
        self._source, self._places = source, places
        self.schema, self.description = source.schema, source.description

    @property
    def num_rows(self) -> int:
        """How many rows are kept."""
        return len(self._places)

    def fingerprint(self) -> str:
        """That of the file, and of the places."""
        return hashlib.sha256(self._source.fingerprint().encode() + self._places.tobytes()).hexdigest()

    def files(self) -> Sequence[Seen]:
        """See `Stream.files`."""
        return self._source.files()

    def stored_row_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.stored_row_bytes`."""
        return self._source.stored_row_bytes(columns)

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; row groups without a row that is kept are not read."""
        if skip < len(self._places):
            yield from self._source.pieces_at(self._places[skip:], columns, rows)

    def pieces_at(self, positions: Indices, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces_at`."""
        return self._source.pieces_at(self._places[positions], columns, rows)


class EmptyVersion(TableSource):
    """A version without files."""

    in_memory = False

    def __init__(self, version: DeltaVersion, description: str) -> None:
        super().__init__(plain_schema(version.schema).empty_table(), description)
        self._version, self.pin = version, f"version={version.version}"

    def fingerprint(self) -> str:
        """See `DeltaSource`."""
        return _digest(self._version)


def _digest(version: DeltaVersion) -> str:
    return hashlib.sha256(repr(("delta", version.id, version.version)).encode()).hexdigest()
