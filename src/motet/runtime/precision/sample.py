"""The rows that precisions are tried on: half of them to learn from, half to judge by."""

from __future__ import annotations

import hashlib
import itertools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from motet.batch import Array
from motet.errors import InputError, ModelLoadError, MotetError
from motet.io import ERROR_COLUMN, open_source, to_column
from motet.types import ColumnType

__all__ = ["LEAST_ROWS", "MOST_ROWS", "PrecisionSample"]

LEAST_ROWS = 100
"""Different rows that a sample must have at least."""
MOST_ROWS = 2048
"""Rows that are used; of more they are taken evenly from the whole."""

LEARNED_ROWS = 256
"""Rows that scales are learned from at most."""


@dataclass(frozen=True)
class PrecisionSample:
    """Rows of a file.

    Attributes:
        columns: by the model's inputs, `[rows, ...]`; all rows are different.
        digest: of them.
        where: the file.
    """

    columns: Mapping[str, Array]
    digest: str
    where: str

    @classmethod
    def read(cls, path: str, inputs: Mapping[str, ColumnType]) -> PrecisionSample:
        """The rows of a file.

        Args:
            path: an `.npz` file of arrays, or what a run reads.
            inputs: the types of the model's inputs, which the file's columns are called as.

        Raises:
            ModelLoadError: when it has no such columns, rows that do not fit, or too few rows.
        """
        try:
            columns = _columns(path, inputs)
        except MotetError as error:
            raise error.located(f"sample {path}") from error.__cause__
        hashes = _hashes(columns)
        _, first = np.unique(hashes, return_index=True)
        first.sort()
        if len(first) < LEAST_ROWS:
            what = f"{len(first)} different rows; a precision is tried on {LEAST_ROWS} at least"
            hint = "take rows that the model will meet; made-up ones mislead"
            raise ModelLoadError(what, where=f"sample {path}", hint=hint)
        digest = hashlib.sha256(repr(sorted((name, str(kind)) for name, kind in inputs.items())).encode())
        digest.update(b"".join(hashes[first].tolist()))
        return cls({name: column[first] for name, column in columns.items()}, digest.hexdigest(), path)

    @property
    def learned(self) -> dict[str, Array]:
        """Some of every second row, from which scales are learned; one that is not finite would make the scales of all so.

        Raises:
            ModelLoadError: when there is no row of finite numbers.
        """
        finite = np.ones(len(next(iter(self.columns.values()))), bool)
        for column in self.columns.values():
            if column.dtype.kind == "f":
                finite &= np.isfinite(column).reshape(len(finite), -1).all(axis=1)
        places = 2 * np.flatnonzero(finite[::2])
        if not len(places):
            what = "no scales can be learned of it: each second row has numbers that are not finite"
            raise ModelLoadError(what, where=f"sample {self.where}")
        places = places[:: max(1, len(places) // LEARNED_ROWS)][:LEARNED_ROWS]
        return {name: column[places] for name, column in self.columns.items()}

    @property
    def judged(self) -> dict[str, Array]:
        """The others."""
        return {name: column[1::2] for name, column in self.columns.items()}


def _columns(path: str, inputs: Mapping[str, ColumnType]) -> dict[str, Array]:
    table = _table(path, inputs)
    found = {}
    for name, kind in inputs.items():
        column, bad = to_column(table.column(name), kind, name=name)
        for row, why in bad.items():
            raise InputError(f"row {row} of column {name!r} {why}")
        if not isinstance(column, np.ndarray):
            hint = "take rows of one shape, as long as most are"
            raise InputError(f"the rows of column {name!r} are of several shapes", hint=hint)
        found[name] = column
    return found


def _table(path: str, inputs: Mapping[str, ColumnType]) -> pa.Table:
    """Some rows of a file, evenly spread where their number is known."""
    names = list(inputs)
    source = open_source(_arrays(path, names) if path.lower().endswith(".npz") else path, wanted=inputs)
    count = source.num_rows
    if count is None:
        pieces = list(itertools.islice(source.batches(MOST_ROWS, names), 1))
    else:
        places = np.unique(np.linspace(0, max(0, count - 1), min(count, MOST_ROWS)).astype(np.int64))
        pieces = list(source.batches_at(places, MOST_ROWS, names))
    if not pieces:
        raise InputError("it has no rows", hint=f"a precision is tried on {LEAST_ROWS} at least")
    table = pa.Table.from_batches(pieces)
    if ERROR_COLUMN in table.column_names:
        for row, why in enumerate(table.column(ERROR_COLUMN).to_pylist()):
            if why is not None:
                raise InputError(f"row {row} cannot be read: {why}")
    return table


def _arrays(path: str, names: list[str]) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = {name: file[name] for name in names if name in file.files}
            has = ", ".join(file.files) or "none"
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"it cannot be read: {error}", hint="write it with numpy.savez(path, input=rows)") from error
    if missing := [name for name in names if name not in kept]:
        raise InputError(f"no array {missing[0]!r}, an input of the model; it has {has}")
    if single := [name for name, array in kept.items() if not array.ndim]:
        raise InputError(f"its array {single[0]!r} is one value, and has no rows")
    count = {len(array) for array in kept.values()}
    if len(count) != 1:
        raise InputError(f"its arrays have different numbers of rows: {sorted(count)}")
    places = np.unique(np.linspace(0, max(0, min(count) - 1), min(*count, MOST_ROWS)).astype(np.int64))
    return {name: array[places] for name, array in kept.items()}


def _hashes(columns: Mapping[str, Array]) -> Array:
    """A digest of each row, 16 bytes."""
    rows = zip(*(column for column in columns.values()), strict=True)
    return np.array([hashlib.sha256(b"".join(map(_bytes, row))).digest()[:16] for row in rows], "S16")


def _bytes(value: Any) -> bytes:
    return value.tobytes() if isinstance(value, (np.ndarray, np.generic)) else repr(value).encode()
