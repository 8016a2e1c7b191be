"""Folders and lists of image files: one row a file, encoded as it is; `to_column` decodes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

import pyarrow as pa

from motet.errors import InputError
from motet.io.arrow import IMAGE_METADATA
from motet.io.faults import ERROR_COLUMN, ERROR_FIELD
from motet.io.files import FoundFile, State, fingerprint_files
from motet.io.marks import mark_all
from motet.io.splits import Split, runs
from motet.io.stream import Seen, Stream

__all__ = ["IMAGE_SCHEMA", "IMAGE_SUFFIXES", "ImagesSource"]

IMAGE_SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""Of the files that `motet.pictures` reads."""
IMAGE_SCHEMA = pa.schema([pa.field("image", pa.binary(), metadata=IMAGE_METADATA), pa.field("path", pa.string())])
_PIECE_BYTES = 16 << 20


class ImagesSource(Stream):
    """Image files, with the columns `image` (the encoded bytes) and `path`.

    A file that cannot be read is a row with a reason, and harms no other.
    """

    def __init__(self, files: Sequence[FoundFile], description: str) -> None:
        self._files, self.description, self.schema = list(files), description, IMAGE_SCHEMA
        self._states = [_state(file) for file in files]

    @property
    def num_rows(self) -> int:
        """One a file."""
        return len(self._files)

    def files(self) -> Sequence[Seen]:
        """See `Stream.files`; what could not be looked at is a failed row, whatever becomes of it."""
        return [(file, state) for file, state in zip(self._files, self._states, strict=True) if state is not None]

    def _splits(self, target_bytes: int) -> list[Split]:
        """See `Stream.splits`; some files each."""
        sizes = [0 if state is None else state[0] for state in self._states]
        found = []
        for part in runs(sizes, target_bytes):
            some = copy(self)
            some._files, some._states, some.reads = self._files[part], self._states[part], ()
            found.append(Split(some, 0, part.stop - part.start, part.start, sum(sizes[part])))
        return found

    def path_of(self, row: int) -> str:
        """The file of a row."""
        return str(self._files[row])

    def row_bytes(self, columns: Sequence[str]) -> float:
        """See `Stream.row_bytes`; by the sizes of the files."""
        sizes = [state[0] for state in self._states if state is not None]
        return sum(sizes) / max(len(sizes), 1) if "image" in columns else 0.0

    def fingerprint(self) -> str:
        """See `fingerprint_files`."""
        return fingerprint_files(self._files)

    def pieces(self, columns: Sequence[str], skip: int, rows: int) -> Iterator[pa.RecordBatch]:
        """See `Stream.pieces`; holds `rows` files, or fewer where they are large."""
        yield from mark_all(self._batches(columns, self._files[skip:], rows), skip)

    def _batches(self, columns: Sequence[str], files: Sequence[FoundFile], rows: int) -> Iterator[pa.RecordBatch]:
        held: list[FoundFile] = []
        data: list[bytes | None] = []
        reasons: list[str | None] = []
        size = 0
        for file in files:
            content, reason = _read(file, whole="image" in columns)
            held.append(file)
            data.append(content)
            reasons.append(reason)
            size += len(content or b"")
            if len(held) == rows or size >= _PIECE_BYTES:
                yield _piece(held, data, reasons, columns)
                held, data, reasons, size = [], [], [], 0
        if held:
            yield _piece(held, data, reasons, columns)


def _state(file: FoundFile) -> State | None:
    try:
        return file.state_found() if file.is_regular else None
    except (OSError, InputError):
        return None


def _read(file: FoundFile, *, whole: bool) -> tuple[bytes | None, str | None]:
    """The content, where that is wanted; or why there is none."""
    if not file.is_utf8:
        return None, f"{file}: the name is no UTF-8, so `path` cannot hold it; rename the file"
    try:
        return (file.read() if whole else None), None
    except OSError as error:
        return None, f"{file} cannot be read: {error.strerror or error}"
    except InputError as error:
        return None, f"{file} cannot be read: {error}"


def _piece(
    files: list[FoundFile], data: list[bytes | None], reasons: list[str | None], columns: Sequence[str]
) -> pa.RecordBatch:
    arrays = {"image": pa.array(data, pa.binary()), "path": pa.array([str(file) for file in files], pa.string())}
    fields = [*(IMAGE_SCHEMA.field(name) for name in columns), ERROR_FIELD]
    arrays[ERROR_COLUMN] = pa.array(reasons, pa.string())
    return pa.RecordBatch.from_arrays([arrays[field.name] for field in fields], schema=pa.schema(fields))
