"""Where a dataset's rows come from: arrays, a function of row numbers, or blocks one after another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from motet.errors import InputError
from motet.training.data.digest import function_digest

__all__ = [
    "ArraysReader",
    "BlocksReader",
    "Columns",
    "FunctionReader",
    "RandomReader",
    "Reader",
    "check_block",
    "same_kinds",
]

Array = npt.NDArray[Any]
Columns = dict[str, Array]
"""Rows by column: arrays whose first axis is the row, all of the same number of rows."""
Ids = npt.NDArray[np.int64]

_BLOCK_ROWS = 4096


@runtime_checkable
class Reader(Protocol):
    """Gives all rows in blocks, from the first, each time it is asked."""

    description: str
    """What it reads, for messages."""

    @property
    def num_rows(self) -> int | None:
        """Rows in all, None where only reading them tells."""
        ...

    def blocks(self) -> Iterator[Columns]:
        """The rows in order, in blocks of a bounded size; every block has the same columns."""
        ...

    def fingerprint(self) -> str:
        """A digest that changes when the rows do."""
        ...


@runtime_checkable
class RandomReader(Reader, Protocol):
    """A reader that gives any rows as fast as the next ones."""

    def take(self, ids: Ids) -> Columns:
        """The rows at these positions, in this order."""
        ...


class ArraysReader:
    """Columns that are in memory already.

    Args:
        columns: arrays by name, whose first axis is the row.

    Raises:
        InputError: when there are none, or they differ in their number of rows.
    """

    def __init__(self, columns: Mapping[str, Any], description: str = "arrays") -> None:
        self.columns = check_block(columns, description)
        self.description = description
        self.num_rows = len(next(iter(self.columns.values())))

    def blocks(self) -> Iterator[Columns]:
        """Views of the arrays."""
        for first in range(0, self.num_rows, _BLOCK_ROWS):
            yield {name: column[first : first + _BLOCK_ROWS] for name, column in self.columns.items()}

    def take(self, ids: Ids) -> Columns:
        """See `RandomReader`."""
        return {name: column[ids] for name, column in self.columns.items()}

    def fingerprint(self) -> str:
        """A digest of the values."""
        digest = hashlib.sha256()
        for name, column in self.columns.items():
            digest.update(f"{name}\0{column.dtype.str}\0{column.shape}\0".encode())
            values = repr(column.tolist()).encode() if column.dtype.hasobject else np.ascontiguousarray(column).data
            digest.update(values)
        return digest.hexdigest()


class FunctionReader:
    """Rows that a function makes from their numbers.

    Args:
        function: takes row numbers int64 `[rows]` and gives the columns of these rows, the same every time.
        num_rows: how many rows there are.
    """

    def __init__(self, function: Callable[[Ids], Mapping[str, Any]], num_rows: int) -> None:
        if num_rows < 0:
            raise InputError(f"a dataset cannot have {num_rows} rows", hint="give 0 or more")
        self._function, self.num_rows = function, num_rows
        self.description = f"rows made by {getattr(function, '__qualname__', function)}"

    def blocks(self) -> Iterator[Columns]:
        """Rows made as they are asked for."""
        for first in range(0, self.num_rows, _BLOCK_ROWS):
            yield self.take(np.arange(first, min(first + _BLOCK_ROWS, self.num_rows)))

    def take(self, ids: Ids) -> Columns:
        """See `RandomReader`."""
        return check_block(self._function(ids), self.description, len(ids))

    def fingerprint(self) -> str:
        """A digest of the function and the number of rows."""
        return hashlib.sha256(f"{function_digest(self._function)}\0{self.num_rows}".encode()).hexdigest()


class BlocksReader:
    """Blocks of rows from a function that begins anew each time it is called.

    Args:
        make: gives an iterable of blocks, each a mapping of arrays, the same every time.
        num_rows: rows in all, None where that is not known.
    """

    def __init__(self, make: Callable[[], Iterable[Mapping[str, Any]]], num_rows: int | None = None) -> None:
        self._make, self.num_rows = make, num_rows
        self.description = f"blocks of {getattr(make, '__qualname__', make)}"

    def blocks(self) -> Iterator[Columns]:
        """The function's blocks."""
        for block in self._make():
            yield check_block(block, self.description)

    def fingerprint(self) -> str:
        """A digest of the function."""
        return function_digest(self._make)


def check_block(block: Mapping[str, Any], where: str, num_rows: int | None = None) -> Columns:
    """Columns as arrays of one number of rows.

    Args:
        block: columns by name.
        where: what gave them, for messages.
        num_rows: how many rows there should be; None takes any.

    Raises:
        InputError: when there is no column, or the numbers of rows differ.
    """
    if not isinstance(block, Mapping) or not block:
        raise InputError(
            f"gave {type(block).__name__} where columns are expected",
            where=where,
            hint="give a dict of arrays whose first axis is the row, such as {'image': images, 'label': labels}",
        )
    columns = {name: np.asarray(column) for name, column in block.items()}
    lengths = {name: len(column) if column.ndim else None for name, column in columns.items()}
    wanted = num_rows if num_rows is not None else next(iter(lengths.values()))
    if wanted is None or any(length != wanted for length in lengths.values()):
        found = ", ".join(f"{name} has {'no row axis' if rows is None else rows}" for name, rows in lengths.items())
        expected = f"; {num_rows} rows are expected" if num_rows is not None else ""
        raise InputError(
            f"columns differ in their rows: {found}{expected}", where=where, hint="one entry a row in each"
        )
    return columns


def same_kinds(blocks: Iterable[Columns], where: str) -> Iterator[Columns]:
    """The blocks, as long as all have the columns and types of the first.

    Raises:
        InputError: at the first that does not.
    """
    kinds = None
    for block in blocks:
        found = {name: (str(column.dtype), column.shape[1:]) for name, column in block.items()}
        kinds = kinds or found
        if found != kinds:
            raise InputError(
                f"columns change from {kinds} to {found}", where=where, hint="give every block the same columns"
            )
        yield block
