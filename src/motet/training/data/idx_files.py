"""IDX files, as MNIST and its kin are given: a header of big-endian numbers, then the values in C order.

The format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, a type, the number of axes, one 32-bit length an axis).
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from motet.errors import InputError
from motet.models.digest import digest_all
from motet.training.data.readers import Columns

__all__ = ["IdxReader"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BLOCK_BYTES = 4 << 20
_MAX_AXES = 8


class IdxReader:
    """IDX files, one a column, packed with gzip where the name ends in `.gz`.

    Args:
        files: paths by the name of the column.

    Raises:
        InputError: when a file is not there, is no IDX file, or they differ in their number of rows.
    """

    def __init__(self, files: Mapping[str, str | os.PathLike[str]]) -> None:
        if not files:
            raise InputError(
                "no IDX file is named", hint="name one a column: idx(image='images.gz', label='labels.gz')"
            )
        self._paths = {name: Path(path) for name, path in files.items()}
        self.description = ", ".join(str(path) for path in self._paths.values())
        kinds = {}
        for name, path in self._paths.items():
            with _opened(path) as file:
                kinds[name] = _header(file, path)
        lengths = {name: shape[0] for name, (_, shape) in kinds.items()}
        self.num_rows = next(iter(lengths.values()))
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} has {rows}" for name, rows in lengths.items())
            raise InputError(
                f"files differ in their rows: {found}", where=self.description, hint="name files of one split"
            )

    def blocks(self) -> Iterator[Columns]:
        """Blocks of about 4 MiB, unpacked as they are read.

        Raises:
            InputError: when a file ends too soon or is damaged.
        """
        files = {name: _opened(path) for name, path in self._paths.items()}
        try:
            kinds = {name: _header(file, self._paths[name]) for name, file in files.items()}
            row_bytes = sum(dtype.itemsize * math.prod(shape[1:]) for dtype, shape in kinds.values())
            rows = max(_BLOCK_BYTES // max(row_bytes, 1), 1)
            for first in range(0, self.num_rows, rows):
                count = min(rows, self.num_rows - first)
                yield {
                    name: _values(files[name], self._paths[name], dtype, (count, *shape[1:]))
                    for name, (dtype, shape) in kinds.items()
                }
        finally:
            for file in files.values():
                file.close()

    def fingerprint(self) -> str:
        """A digest of the files' content."""
        return digest_all([str(path) for path in self._paths.values()]) + ",".join(self._paths)


def _opened(path: Path) -> IO[bytes]:
    try:
        return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else open(path, "rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def _header(file: IO[bytes], path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    head = _read(file, 4, path)
    dtype, axes = _DTYPES.get(head[2]), head[3]
    if head[:2] != b"\0\0" or dtype is None or not 1 <= axes <= _MAX_AXES:
        raise InputError(f"begins with {head!r}, which no IDX file does", where=str(path))
    return np.dtype(dtype), tuple(np.frombuffer(_read(file, 4 * axes, path), ">u4").tolist())


def _values(file: IO[bytes], path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    data = _read(file, dtype.itemsize * math.prod(shape), path)
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _read(file: IO[bytes], size: int, path: Path) -> bytes:
    try:
        data = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"is damaged: {error}", where=str(path)) from None
    if len(data) < size:
        raise InputError(f"ends {size - len(data)} bytes too soon", where=str(path), hint="get the file again")
    return data
