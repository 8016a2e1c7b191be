"""Datasets for training: streams of batches, cached, shuffled and shared out among workers.

    import motet as mt

    rows = mt.data.idx(image="images.gz", label="labels.gz").map(scale).cache("cache/").shuffle(seed=7)
    for epoch in range(4):
        for batch in rows.batches(128, epoch=epoch):
            batch["image"], batch["label"]

readers.py  arrays, functions of row numbers, blocks   idx_files.py  IDX files
sources.py  what motet.io reads; images in folders     dataset.py    `Dataset`
order.py    shuffling, sharding and cutting            cache.py      in memory, or on disk and memory-mapped
digest.py   when a cache still holds

Only numpy is needed; no framework is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any

from motet.training.data.dataset import Dataset
from motet.training.data.readers import ArraysReader, BlocksReader, Columns, FunctionReader, Reader
from motet.types import ColumnType

__all__ = ["Columns", "Dataset", "Reader", "arrays", "blocks", "idx", "images", "made", "stored"]


def arrays(**columns: Any) -> Dataset:
    """A dataset of arrays in memory, whose first axis is the row.

    Raises:
        InputError: when there are none, or they differ in their number of rows.

    >>> rows = arrays(x=[[0.0], [1.0], [2.0]], y=[0, 1, 2])
    >>> [batch["y"].tolist() for batch in rows.batches(2, drop_last=False)]
    [[0, 1], [2]]
    """
    return Dataset(ArraysReader(columns))


def made(function: Callable[[Any], Mapping[str, Any]], num_rows: int) -> Dataset:
    """A dataset of rows that a function makes from their numbers, when they are asked for.

    Args:
        function: takes row numbers int64 `[rows]` and gives the columns of these rows, the same every time.
        num_rows: how many rows there are.
    """
    return Dataset(FunctionReader(function, num_rows))


def blocks(make: Callable[[], Iterable[Mapping[str, Any]]], num_rows: int | None = None) -> Dataset:
    """A dataset of blocks that come one after another.

    Args:
        make: gives an iterable of blocks, each a mapping of arrays, the same every time it is called.
        num_rows: rows in all, where that is known.
    """
    return Dataset(BlocksReader(make, num_rows))


def idx(**files: str | PathLike[str]) -> Dataset:
    """A dataset of IDX files, one a column, packed with gzip where the name ends in `.gz`.

    Raises:
        InputError: when a file is not there, is no IDX file, or they differ in their number of rows.
    """
    from motet.training.data.idx_files import IdxReader

    return Dataset(IdxReader(files))


def stored(what: Any, **types: str | ColumnType) -> Dataset:
    """A dataset of columns of whatever `motet.io.open_source` opens: Parquet, CSV, Arrow, a URL, a table.

    Args:
        what: a path, a pattern, a URL, a table.
        types: the columns to read, with types as graphs write them: `image="uint8[28,28]"`, `label="int64"`.

    Raises:
        InputError: when there is nothing to read.
        UnknownNameError: when the source has no such column.
    """
    from motet.training.data.sources import SourceReader

    return Dataset(SourceReader(what, types))


def images(folder: str | PathLike[str], size: tuple[int, int], *, grey: bool = False) -> Dataset:
    """A dataset of images in one folder a class: columns `image` and `label`.

    Args:
        folder: holds one folder a class; labels count them in the order of their names.
        size: height and width that images are resized to.
        grey: whether images have one channel.

    Raises:
        InputError: when there is no folder with images.
    """
    from motet.training.data.sources import ImagesReader

    return Dataset(ImagesReader(folder, size, grey))
