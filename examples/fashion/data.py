"""Fashion-MNIST: 70,000 grey clothing pictures of 28 x 28 pixels, in ten classes.

    load ──────────► images, labels       write_parquet ──► id, truth, user, kind, image
      └─ _unpacked: the system's package, else the cache, else a download into the cache

Every copy is checked by the SHA-256 of its unpacked bytes, so that it does not matter who packed it.

    python examples/fashion/data.py --split test --output test.parquet
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import io
import math
import os
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Split = Literal["train", "test"]
UInt8Array = npt.NDArray[np.uint8]

LABELS: Final = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
KINDS: Final = ("app", "store", "web")
NUM_USERS: Final = 1000
HEIGHT: Final = 28
WIDTH: Final = 28
ROW_GROUP_ROWS: Final = 8192

SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("truth", pa.int64(), nullable=False),
        pa.field("user", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("image", pa.fixed_shape_tensor(pa.uint8(), (HEIGHT, WIDTH)), nullable=False),
    ]
)

_SYSTEM_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")  # Debian: dataset-fashion-mnist
_ADDRESSES: Final = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
_SILENCE_TIMEOUT_S: Final = 15.0
_DOWNLOAD_TIMEOUT_S: Final = 300.0
_MAX_PACKED_BYTES: Final = 32 * 2**20


class DatasetError(RuntimeError):
    """No whole and unaltered copy of the data set could be had."""


@dataclass(frozen=True)
class _IdxFile:
    """One packed IDX file: a header of big-endian numbers, then uint8 values.

    Attributes:
        name: File name, the same in the package, the cache and the downloads.
        shape: Shape of the values.
        sha256: Digest of the unpacked file, header included.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header_bytes(self) -> int:
        return 4 + 4 * len(self.shape)

    @property
    def unpacked_bytes(self) -> int:
        return self.header_bytes + math.prod(self.shape)


_FILES: Final[dict[Split, tuple[_IdxFile, _IdxFile]]] = {
    "train": (
        _IdxFile(
            "train-images-idx3-ubyte.gz",
            (60_000, HEIGHT, WIDTH),
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _IdxFile(
            "train-labels-idx1-ubyte.gz",
            (60_000,),
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    "test": (
        _IdxFile(
            "t10k-images-idx3-ubyte.gz",
            (10_000, HEIGHT, WIDTH),
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _IdxFile(
            "t10k-labels-idx1-ubyte.gz",
            (10_000,),
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def load(split: Split) -> tuple[UInt8Array, UInt8Array]:
    """Return the pictures and labels of one split, read-only.

    Args:
        split: "train" (60,000 rows) or "test" (10,000 rows).

    Returns:
        Images uint8 [N, 28, 28], 0 (background) to 255, and labels uint8 [N], indices into LABELS.

    Raises:
        ValueError: The split is unknown.
        DatasetError: The data set is neither installed nor cached, and no download worked.
    """
    if split not in _FILES:
        raise ValueError(f"split: got {split!r}; use one of {', '.join(map(repr, _FILES))}")
    images, labels = (_values(file) for file in _FILES[split])
    return images, labels


def paths(split: Split) -> tuple[Path, Path]:
    """Return the packed IDX files of one split, pictures and labels; what is nowhere is downloaded first.

    Raises:
        ValueError: The split is unknown.
        DatasetError: See `load`.
    """
    if split not in _FILES:
        raise ValueError(f"split: got {split!r}; use one of {', '.join(map(repr, _FILES))}")
    images, labels = (_place(file) for file in _FILES[split])
    return images, labels


def write_parquet(path: str | os.PathLike[str], split: Split, rows: int | None = None) -> int:
    """Write one split, or its first rows, as a Parquet file that appears whole or not at all.

    Columns: id int64 (row number in the split), truth int64 (index into LABELS), user string
    (see `user_of`), kind string (see `kind_of`), image uint8 [28, 28] as Arrow's fixed-shape tensor.

    Args:
        path: File to write; one that is there is replaced.
        split: "train" or "test".
        rows: Number of rows, from the first; None for all.

    Returns:
        Number of rows written.

    Raises:
        ValueError: The split is unknown, or it has not as many rows as asked for.
        DatasetError: See `load`.
    """
    images, labels = load(split)
    num_rows = len(labels) if rows is None else rows
    if not 1 <= num_rows <= len(labels):
        raise ValueError(
            f"rows: got {num_rows}, but split {split!r} has {len(labels)} rows; "
            f"use 1 to {len(labels)}, or leave rows out for all of them"
        )
    with _replacing(Path(path)) as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
        for first in range(0, num_rows, ROW_GROUP_ROWS):
            ids = range(first, min(first + ROW_GROUP_ROWS, num_rows))
            writer.write_table(_table(ids, images, labels), row_group_size=ROW_GROUP_ROWS)
    return num_rows


def user_of(row_id: int) -> str:
    """Return the made-up user of a row, "user-0000" to "user-0999"; the same in every run.

    >>> user_of(0)
    'user-0681'
    """
    return f"user-{_hash('user', row_id) % NUM_USERS:04d}"


def kind_of(row_id: int) -> str:
    """Return the made-up origin of a row, one of KINDS; the same in every run, independent of the user.

    >>> kind_of(0)
    'store'
    """
    return KINDS[_hash("kind", row_id) % len(KINDS)]


def _hash(purpose: str, row_id: int) -> int:
    digest = hashlib.blake2b(f"{purpose}:{row_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _table(ids: range, images: UInt8Array, labels: UInt8Array) -> pa.Table:
    part = slice(ids.start, ids.stop)
    columns = [
        pa.array(ids, pa.int64()),
        pa.array(labels[part].astype(np.int64)),
        pa.array([user_of(i) for i in ids]),
        pa.array([kind_of(i) for i in ids]),
        pa.FixedShapeTensorArray.from_numpy_ndarray(images[part]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _values(file: _IdxFile) -> UInt8Array:
    values = np.frombuffer(_unpacked(file), np.uint8, offset=file.header_bytes)
    return values.reshape(file.shape)


def _place(file: _IdxFile) -> Path:
    cached = _cache_folder() / file.name
    for path in (_SYSTEM_FOLDER / file.name, cached):
        if path.exists():
            return path
    _unpacked(file)
    return cached


def _unpacked(file: _IdxFile) -> bytes:
    """Return the unpacked bytes of a file, from the first source that has a good copy."""
    failures = []
    for place, read in _sources(file):
        try:
            return read()
        except (OSError, EOFError, zlib.error, http.client.HTTPException, DatasetError) as error:
            failures.append(f"  {place}: {error or type(error).__name__}")
    raise DatasetError(
        f"Fashion-MNIST file {file.name!r} could not be had:\n"
        + "\n".join(failures)
        + "\nOn Debian or Ubuntu run: apt install dataset-fashion-mnist\n"
        f"Elsewhere put the file into {_cache_folder()}"
    )


def _sources(file: _IdxFile) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the places to look in, in order, each with a function that reads and checks the file there."""
    cached = _cache_folder() / file.name
    for path in (_SYSTEM_FOLDER / file.name, cached):
        yield str(path), partial(_read, file, path)
    for address in _ADDRESSES:
        url = address + file.name
        yield url, partial(_fetched, file, url, cached)


def _cache_folder() -> Path:
    base = os.environ.get("MOTET_CACHE_DIR") or Path.home() / ".cache" / "motet"
    return Path(base) / "datasets" / "fashion-mnist"


def _read(file: _IdxFile, path: Path) -> bytes:
    return _checked(file, path.read_bytes())


def _checked(file: _IdxFile, packed: bytes) -> bytes:
    """Unpack, reading no more than the file should hold, and compare the digest."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        unpacked = stream.read(file.unpacked_bytes + 1)
    digest = hashlib.sha256(unpacked).hexdigest()
    if digest != file.sha256:
        raise DatasetError(f"not the known file: unpacked SHA-256 is {digest}, not {file.sha256}; delete this copy")
    return unpacked


def _fetched(file: _IdxFile, url: str, cached: Path) -> bytes:
    """Download a file, check it, and keep it in the cache."""
    packed = _downloaded(url)
    unpacked = _checked(file, packed)
    with _replacing(cached) as part:
        part.write_bytes(packed)
    return unpacked


def _downloaded(url: str) -> bytes:
    deadline = time.monotonic() + _DOWNLOAD_TIMEOUT_S
    received = bytearray()
    with urllib.request.urlopen(url, timeout=_SILENCE_TIMEOUT_S) as response:
        while chunk := response.read1(2**16):
            received += chunk
            if len(received) > _MAX_PACKED_BYTES:
                raise DatasetError(f"more than {_MAX_PACKED_BYTES} bytes; this is not the file")
            if time.monotonic() > deadline:
                raise DatasetError(f"not whole after {_DOWNLOAD_TIMEOUT_S:g} s; try again on a faster line")
    return bytes(received)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it to `path` at the end, or remove it after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        os.replace(part, path)


def main(arguments: list[str] | None = None) -> None:
    """Write a split as a Parquet file, as the command line asks."""
    parser = argparse.ArgumentParser(description="Write Fashion-MNIST as a Parquet file.")
    parser.add_argument("--split", choices=get_args(Split), default="test")
    parser.add_argument("--output", type=Path, required=True, help="file to write, such as test.parquet")
    parser.add_argument("--rows", type=int, help="number of rows, from the first (default: all)")
    options = parser.parse_args(arguments)
    try:
        num_rows = write_parquet(options.output, options.split, options.rows)
    except (ValueError, OSError, DatasetError) as error:
        sys.exit(f"data.py: {error}")
    print(f"{options.output}: {num_rows:,} rows of split {options.split!r}")


if __name__ == "__main__":
    main()
