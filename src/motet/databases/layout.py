"""Which columns of rows are the id, the vectors and the payload of a table, and which rows it cannot take."""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from motet.errors import InputError, UnknownNameError

__all__ = ["TableLayout", "last_of_each", "vector_length", "vectors_of"]

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_WHOLE = 1 << 53


def vector_length(data_type: pa.DataType) -> int | None:
    """How many float32 a column has in each row; None for one that is no vector."""
    storage = data_type.storage_type if isinstance(data_type, pa.BaseExtensionType) else data_type
    if isinstance(data_type, pa.FixedShapeTensorType) and len(data_type.shape) != 1:
        return None
    is_vector = pa.types.is_fixed_size_list(storage) and storage.value_type == pa.float32()
    return int(storage.list_size) if is_vector else None


def vectors_of(column: pa.Array) -> npt.NDArray[np.float32]:
    """The vectors of a column, shape `[rows, length]`; rows that are null hold anything."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    length = storage.type.list_size
    flat = storage.values.slice(storage.offset * length, len(storage) * length)
    return np.asarray(flat.to_numpy(zero_copy_only=False), np.float32).reshape(len(storage), length)


@dataclass(frozen=True)
class TableLayout:
    """The columns of a table.

    Attributes:
        id: the column that tells rows apart: whole numbers or texts.
        vectors: how long the vectors of each column of float32 are.
        schema: all columns, vectors as lists of fixed size.
        metric: how alike vectors are, of `address.METRICS`; None leaves it to the table, or is `cosine`.
        numeric: columns of which the database keeps a text that is a number as one, of some 15 digits, and whether it keeps
            whole ones as such (7, not 7.0).
    """

    id: str
    vectors: Mapping[str, int]
    schema: pa.Schema
    metric: str | None = None
    numeric: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: pa.Schema, id: str | None, metric: str | None, where: str) -> TableLayout:
        """The layout of rows of a schema.

        Args:
            schema: of the rows.
            id: the column of the ids; None is `id`.
            metric: see `TableLayout`.
            where: the table, for messages.

        Raises:
            InputError: when there is no such column, or its values cannot be ids.
        """
        name = id or "id"
        if name not in schema.names:
            hint = "name a column with --id; --row-ids NAME writes one of the rows' positions, and --id NAME takes it"
            raise UnknownNameError("id column", name, schema.names, where=where, hint=hint)
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            hint = "ids are whole numbers or texts"
            raise InputError(f"column {name!r} is {kind}, whose values cannot be ids", where=where, hint=hint)
        found = {field.name: vector_length(field.type) for field in schema}
        plain = pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])
        return cls(name, {each: size for each, size in found.items() if size is not None}, plain, metric)

    def joining(self, there: TableLayout | None) -> TableLayout:
        """This one with what a table that is there settles."""
        if there is None:
            return self
        return replace(self, metric=self.metric or there.metric, numeric=there.numeric)

    @property
    def payload(self) -> tuple[str, ...]:
        """The columns that are neither id nor vector."""
        return tuple(name for name in self.schema.names if name != self.id and name not in self.vectors)

    def check_no_vectors(self, database: str, where: str) -> None:
        """See that there are no vectors, for a database that has none.

        Raises:
            InputError: naming one.
        """
        for name in self.vectors:
            hint = f"leave it out: --drop {name} where it is the source's; or write to lancedb:, postgresql: or qdrant:"
            raise InputError(f"{database} has no vectors, such as {name!r}", where=where, hint=hint)

    def check_held(self, holds: Callable[[pa.DataType], bool], database: str, where: str) -> None:
        """See that a database has a type for each column of the payload.

        Raises:
            InputError: naming one that it has none for.
        """
        for name in self.payload:
            kind = self.schema.field(name).type
            if not holds(kind):
                hint = f"leave it out: --drop {name} where it is the source's; vectors are float32[d]"
                raise InputError(f"{database} cannot hold column {name!r}, which is {kind}", where=where, hint=hint)

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows in the types of `schema`."""
        columns = [each.storage if isinstance(each, pa.ExtensionArray) else each for each in batch.columns]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def refused(self, batch: pa.RecordBatch, *, text: bool = False) -> dict[int, str]:
        """By row why no table can take it: without an id, or with a vector that nothing is near to.

        Args:
            batch: the rows.
            text: whether texts must be without the character of number 0 too.
        """
        found: dict[int, str] = {}
        _note(found, batch.column(self.id).is_null(), f"column {self.id!r} has no value, which is the row's id")
        for name in self.vectors:
            column = batch.column(name)
            there = column.is_valid().to_numpy(zero_copy_only=False)
            vectors = vectors_of(column)
            finite = np.isfinite(vectors).all(axis=1)
            _note(found, there & ~finite, f"column {name!r} has numbers that are not finite")
            if self.metric in (None, "cosine"):
                _note(found, there & ~vectors.any(axis=1), f"column {name!r} is all zeros, which has no direction")
        for name in self.numeric.keys() & set(self.schema.names):
            for row, value in enumerate(batch.column(name).to_pylist()):
                if (why := _changed(value, whole=self.numeric[name])) is not None:
                    found.setdefault(row, f"column {name!r} keeps numbers, and {why}")
        if text:
            for name in self.schema.names:
                if (has := _null_characters(batch.column(name))) is not None:
                    _note(found, has, f"column {name!r} has the character U+0000, which the database cannot hold")
        return found


def _note(found: dict[int, str], rows: pa.Array | npt.NDArray[np.bool_], why: str) -> None:
    mask = rows if isinstance(rows, np.ndarray) else rows.to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(mask).tolist():
        found.setdefault(row, why)


def _changed(value: Any, *, whole: bool) -> str | None:
    """What becomes of a text, or of the digits of a number that is written as one, where such are kept as numbers; None for nothing."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | decimal.Decimal) else ""
    if _NUMBER.fullmatch(text) is None:
        return None
    digits = float(text)
    kept = str(int(digits)) if whole and digits.is_integer() and abs(digits) < _WHOLE else repr(digits)
    if (
        whole
        and text.strip().lstrip("+-").isdecimal()
        and -(2**63) <= (number := decimal.Decimal(text.strip())) < 2**63
    ):
        kept = str(int(number))
    same = kept == text if isinstance(value, str) else decimal.Decimal(kept) == value
    return None if same else f"would have {kept} for {text}"


def _null_characters(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    """The rows with a text, or one in a list, that has the character of number 0; None for other columns."""
    if pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
        return np.array([any("\0" in (each or "") for each in row or ()) for row in column.to_pylist()], bool)
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return None
    found: npt.NDArray[np.bool_] = pc.fill_null(pc.match_substring(column, "\0"), False).to_numpy(zero_copy_only=False)
    return found


def _plain(kind: pa.DataType) -> pa.DataType:
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    size = vector_length(kind)
    return storage if size is None else pa.list_(pa.float32(), size)


def last_of_each(batch: pa.RecordBatch, id: str) -> pa.RecordBatch:
    """The rows of a batch, of those with the same id the last one."""
    codes = batch.column(id).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, places = np.unique(codes[::-1], return_index=True)
    if len(places) == len(batch):
        return batch
    return batch.take(pa.array(np.sort(len(batch) - 1 - places)))
