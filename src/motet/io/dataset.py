"""PyArrow datasets: partitioned folders, many formats, filters that were applied already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from motet.errors import InputError, MotetError
from motet.io.files import FoundFile
from motet.io.fitted import decoded_schema
from motet.io.marks import drop_rows, mark_all
from motet.io.places import place_of
from motet.io.stream import Stream, rows_to_read, type_bytes

__all__ = ["DatasetSource"]


class DatasetSource(Stream):
    """A `pyarrow.dataset.Dataset`, in the order of its fragments.

    Rows that are skipped are read and dropped: a dataset cannot jump.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset, self.schema = dataset, decoded_schema(dataset.schema)
        self.reads = tuple(_files_of(dataset))
        self.description = f"a dataset of {len(self._files())} files" if self._files() else "a dataset"

    def count(self) -> int | None:
        """See `Stream.count`: by the footers of Parquet and Arrow files; None of formats that have none."""
        format = getattr(getattr(self._dataset, "format", None), "default_extname", "")
        return int(self._dataset.count_rows()) if format in ("parquet", "ipc", "arrow", "feather") else None

    def _files(self) -> list[str]:
        return list(getattr(self._dataset, "files", ()))

    def fingerprint(self) -> str:
        """A digest of the names, sizes and times of its files.

        Raises:
            InputError: when the dataset is not made of files.
        """
        files, fs = self._files(), getattr(self._dataset, "filesystem", None)
        if not files or fs is None:
            raise InputError(
                "is not made of files, so a run over it cannot be resumed",
                where=self.description,
                hint="write it to files first, or run without resuming",
            )
        infos = [(info.path, info.size, info.mtime_ns) for info in fs.get_file_info(files)]
        return hashlib.sha256(repr((infos, str(self.schema))).encode()).hexdigest()

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; reads two pieces ahead, of one file at a time and one after."""
        size = rows_to_read(rows, sum(type_bytes(self.schema.field(name).type) for name in columns))
        batches = self._dataset.to_batches(
            columns=list(columns), batch_size=size, batch_readahead=2, fragment_readahead=1
        )
        yield from drop_rows(mark_all(batch.select(list(columns)) for batch in batches), skip)


def _files_of(dataset: Any) -> Iterator[FoundFile]:
    """The files of a dataset, or of those that it unites, where they are in a file system that is known here."""
    for child in getattr(dataset, "children", ()):
        yield from _files_of(child)
    for path in getattr(dataset, "files", ()):
        if (file := _file(dataset.filesystem, path)) is not None:
            yield file


def _file(system: Any, path: str) -> FoundFile | None:
    if hasattr(system, "base_fs"):
        return _file(system.base_fs, f"{system.base_path}{path}")
    if system.type_name == "local":
        return FoundFile(path)
    if (handler := getattr(system, "handler", None)) is not None:
        return FoundFile(path, handler.fs) if hasattr(handler, "fs") else None
    try:
        place = place_of(f"{system.type_name}://{path}")
    except MotetError:  # no address, so that nothing could be written there either
        return None
    return FoundFile(place.path, place.fs)
