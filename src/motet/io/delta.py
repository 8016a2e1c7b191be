"""A version of a table of Delta Lake as source: its files, one after another, with the columns that partition it."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from motet.io.files import FoundFile, asked
from motet.io.fitted import decoded_schema
from motet.io.hive import FolderColumn
from motet.io.memory import TableSource
from motet.io.parquet import ParquetSource
from motet.io.parts import PartsSource
from motet.io.places import place_of
from motet.io.stream import Stream
from motet.lake.address import LakeAddress
from motet.lake.delta import DeltaVersion, read_version

__all__ = ["DeltaSource", "open_delta"]


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
        parts = asked(ParquetSource, files, remote=remote)
        folders = [{name: FolderColumn(value) for name, value in each.values.items()} for each in version.files]
        super().__init__(parts, description, folders=folders)
        self.schema, self.reads, self._version = decoded_schema(version.schema), tuple(files), version
        self.pin = f"version={version.version}"

    def fingerprint(self) -> str:
        """A digest of the table's own id and of the version; nothing else changes it."""
        return _digest(self._version)


class EmptyVersion(TableSource):
    """A version without files."""

    in_memory = False

    def __init__(self, version: DeltaVersion, description: str) -> None:
        super().__init__(pa.schema(version.schema).empty_table(), description)
        self._version, self.pin = version, f"version={version.version}"

    def fingerprint(self) -> str:
        """See `DeltaSource`."""
        return _digest(self._version)


def _digest(version: DeltaVersion) -> str:
    return hashlib.sha256(repr(("delta", version.id, version.version)).encode()).hexdigest()
