"""Tables of vectors as models, which give the nearest rows: `lancedb:store#reviews`, `qdrant+http://HOST:6333#reviews`,
`postgresql://HOST/BASE#reviews`.

It takes a vector for each column of vectors that is searched, under that column's name, and gives for each row the ids of the
nearest rows of the table (`id`), how near they are (`score`: the cosine, the product or the negative distance, by the metric of
the table), and their values in the columns asked for; the nearest first, fewer where the table or the filter has no more. A path is
relative to the graph file. Options:

    k           how many are given at most; 10 by default
    vectors     the columns of vectors that are searched, a name or a list; all of the table by default. What several find is
                fused by rank (RRF): `score` is the sum of 1 / (60 + rank)
    candidates  how many of each are fused; 4 k by default
    columns     those of the payload that are given back
    where       conditions, all of which hold: see `motet.databases.filters`. `$name` is an input of that name, of the type of
                the column that it is compared with
    metric      of a table that does not say it: cosine, dot or l2
    exact       true compares with every row, also where there is an index
    api_key     of a server; `env:NAME` is what an environment variable holds

A table is looked at when the graph is checked: it must be there. What is written later is found by the next call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from motet.batch import Array, objects
from motet.databases.address import TableAddress
from motet.databases.filters import Filter, FromRow, read_filters
from motet.databases.layout import TableLayout
from motet.databases.opening import open_table
from motet.databases.table import Hits, Search, Table
from motet.errors import InputError, ModelLoadError, MotetError, RunError, UnknownNameError
from motet.models.common import check_cpu, check_options, declared_over, load_error, place
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.ops.ranking import fuse
from motet.types import ColumnType, Signature

__all__ = [
    "LanceHandler", "PostgresHandler", "QdrantGrpcHandler", "QdrantGrpcsHandler", "QdrantHandler", "QdrantHttpHandler",
    "QdrantHttpsHandler", "SearchHandler", "SearchModel",
]  # fmt: skip

_OPTIONS = ("k", "vectors", "candidates", "columns", "where", "metric", "exact", "api_key")
_PER_K = 4
_MOST = 10_000


@dataclass(frozen=True)
class _Plan:
    """What a model looks for, as its options and its table say it."""

    vectors: tuple[str, ...]
    k: int
    candidates: int
    columns: tuple[str, ...]
    filters: tuple[Filter, ...]
    exact: bool
    cosine: bool
    signature: Signature


class SearchHandler(Handler):
    """Searches tables; one class a scheme."""

    has_file: ClassVar[bool] = False

    def signature(self, source: ModelSource) -> Signature:
        """What the table has, with the declared types over it. Opens the table.

        Raises:
            ModelLoadError: when there is no such table, or an option is wrong.
        """
        table = self._open(source)
        try:
            return _plan(source, table).signature
        finally:
            table.close()

    def load(self, source: ModelSource) -> LoadedModel:
        """Open the table; see `signature`."""
        check_cpu(source, self.name)
        table = self._open(source)
        try:
            return SearchModel(table, _plan(source, table), place(source))
        except BaseException:
            table.close()
            raise

    def _open(self, source: ModelSource) -> Table:
        check_options(source, _OPTIONS)
        given = {name: str(source.options[name]) for name in ("metric", "api_key") if name in source.options}
        try:
            address = TableAddress.parse(f"{self.name}:{source.location}")
            return open_table(TableAddress(address.scheme, address.place, address.table, {**address.options, **given}))
        except InputError as error:
            raise ModelLoadError(error.what, where=place(source), hint=error.hint) from error


class _FolderHandler(SearchHandler):
    """Searches tables in folders, whose paths are relative to the graph file."""

    @staticmethod
    def absolute(location: str, base: str) -> str:
        """The path of a table as it is found from anywhere."""
        if location.startswith("/") or "://" in location:
            return location
        return f"{base.rstrip('/')}/{location}" if "://" in base else os.path.join(os.path.abspath(base), location)


class LanceHandler(_FolderHandler):
    """Searches tables of LanceDB."""

    name: ClassVar[str] = "lancedb"
    extra: ClassVar[str] = "lancedb"


class QdrantHandler(_FolderHandler):
    """Searches collections of Qdrant in a folder."""

    name: ClassVar[str] = "qdrant"
    extra: ClassVar[str] = "qdrant"


class QdrantHttpHandler(SearchHandler):
    """Searches collections of a Qdrant over HTTP."""

    name: ClassVar[str] = "qdrant+http"
    extra: ClassVar[str] = "qdrant"


class QdrantHttpsHandler(SearchHandler):
    """Searches collections of a Qdrant over HTTPS."""

    name: ClassVar[str] = "qdrant+https"
    extra: ClassVar[str] = "qdrant"


class QdrantGrpcHandler(SearchHandler):
    """Searches collections of a Qdrant over gRPC."""

    name: ClassVar[str] = "qdrant+grpc"
    extra: ClassVar[str] = "qdrant"


class QdrantGrpcsHandler(SearchHandler):
    """Searches collections of a Qdrant over gRPC with TLS."""

    name: ClassVar[str] = "qdrant+grpcs"
    extra: ClassVar[str] = "qdrant"


class PostgresHandler(SearchHandler):
    """Searches tables of a PostgreSQL with pgvector."""

    name: ClassVar[str] = "postgresql"
    extra: ClassVar[str] = "pgvector"


class SearchModel:
    """A table that is searched. Several threads may call it."""

    fresh_outputs = True

    def __init__(self, table: Table, plan: _Plan, where: str) -> None:
        self._table, self._plan, self._where = table, plan, where

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. A query that has no direction, or is not finite, fails its row.

        Raises:
            InputError: when a row has no value that its filter needs.
        """
        plan = self._plan
        rows = len(next(iter(columns.values())))
        wrong = self._wrong(columns, rows)
        asked = [row for row in range(rows) if row not in wrong]
        filters = [tuple(each.of_row(columns, row, self._where) for each in plan.filters) for row in asked]
        found = [self._found(name, columns, asked, filters) for name in plan.vectors]
        hits = found[0] if len(found) == 1 else _fused(found, plan)
        return self._answers(dict(zip(asked, hits, strict=True)), wrong, rows)

    def _wrong(self, columns: Mapping[str, Array], rows: int) -> dict[int, InputError]:
        wrong: dict[int, InputError] = {}
        for name in self._plan.vectors:
            vectors = np.asarray(columns[name])
            finite = np.isfinite(vectors).all(axis=1)
            zero = np.logical_and(~vectors.any(axis=1), self._plan.cosine)
            for row in np.flatnonzero(~finite | zero).tolist():
                what = (
                    f"{name!r} is all zeros, which has no direction"
                    if zero[row]
                    else f"{name!r} has numbers that are not finite"
                )
                wrong[row] = InputError(what, where=self._where)
        return wrong

    def _found(
        self, name: str, columns: Mapping[str, Array], rows: Sequence[int], filters: Sequence[tuple[Filter, ...]]
    ) -> list[Hits]:
        plan = self._plan
        k = plan.k if len(plan.vectors) == 1 else plan.candidates
        queries = np.ascontiguousarray(columns[name], np.float32)
        searches = [
            Search(name, queries[row], k, each, plan.columns, plan.exact)
            for row, each in zip(rows, filters, strict=True)
        ]
        return self._table.search(searches) if searches else []

    def _answers(self, hits: Mapping[int, Hits], wrong: Mapping[int, InputError], rows: int) -> dict[str, Any]:
        """The columns of an answer: an array a row, or why it has none."""
        answers: dict[str, Any] = {}
        for name, kind in self._plan.signature.outputs.items():
            values: list[Any] = []
            for row in range(rows):
                if row in wrong:
                    values.append(wrong[row])
                    continue
                each = hits[row]
                given = each.ids if name == "id" else each.scores if name == "score" else each.payload[name]
                values.append(self._array(name, given, kind))
            answers[name] = values
        return answers

    def _array(self, name: str, values: Sequence[Any], kind: ColumnType) -> Array | InputError:
        """Values of the rows found, or why there are none: one has no value, which the type has no sign for."""
        if kind.is_object:
            made = np.empty(len(values), object)
            made[:] = values
            return made
        if kind.numpy_dtype.kind == "f":
            values = [np.nan if value is None else value for value in values]
        elif any(value is None for value in values):
            what = f"column {name!r} has no value in a row that was found, and {kind.dtype} has none for that"
            return InputError(what, where=self._where, hint="leave it out of columns, or write it with a value")
        return np.asarray(values, kind.numpy_dtype)

    def close(self) -> None:
        """Close the table."""
        self._table.close()


def _fused(found: Sequence[Sequence[Hits]], plan: _Plan) -> list[Hits]:
    """What several searches of each row have found, by rank; `found` has the hits of all rows for each search."""
    best = fuse(*([objects(hits.ids) for hits in each] for each in found), k=plan.k)
    fused = []
    for row, (ids, scores) in enumerate(zip(best.ids, best.scores, strict=True)):
        payload: dict[Any, tuple[Any, ...]] = {}
        for each in found:
            given = [each[row].payload[name] for name in plan.columns]
            payload |= {key: tuple(column[place] for column in given) for place, key in enumerate(each[row].ids)}
        columns = {name: [payload[key][place] for key in ids] for place, name in enumerate(plan.columns)}
        fused.append(Hits(ids.tolist(), scores.tolist(), columns))
    return fused


def _plan(source: ModelSource, table: Table) -> _Plan:
    try:
        there = table.layout()
    except (InputError, RunError) as error:
        raise ModelLoadError(error.what, where=place(source), hint=error.hint) from error
    if there is None:
        raise load_error(source, "there is no such table", "write it first: motet run GRAPH.yaml --output ADDRESS")
    options = source.options
    vectors = _names(source, "vectors", tuple(there.vectors), tuple(there.vectors), "column of vectors")
    if not vectors:
        raise load_error(source, "the table has no column of vectors", "vectors are written from columns of float32[d]")
    columns = _names(source, "columns", (), there.payload, "column")
    k = _count(source, "k", 10)
    filters = _filters(source, there)
    outputs = {name: _given(there, name, source) for name in columns if name not in ("id", "score")}
    if len(outputs) != len(columns):
        raise load_error(source, "columns that are called id and score cannot be given back", "leave them out")
    inputs = {name: ColumnType("float32", (there.vectors[name],)) for name in vectors}
    for each in filters:
        if isinstance(each.value, FromRow):
            inputs[each.value.name] = _compared(there, each, source)
    own = Signature(inputs, {"id": _id_kind(there), "score": ColumnType("float32", (None,)), **outputs})
    cosine = (there.metric or options.get("metric", "cosine")) == "cosine"
    signature = declared_over(own, source)
    candidates = _count(source, "candidates", min(_MOST, _PER_K * k))
    exact = options.get("exact", False)
    if not isinstance(exact, bool):
        raise load_error(source, f"exact must be true or false; got {exact!r}")
    return _Plan(vectors, k, candidates, columns, filters, exact, cosine, signature)


def _names(
    source: ModelSource, option: str, default: tuple[str, ...], known: tuple[str, ...], kind: str
) -> tuple[str, ...]:
    given = source.options.get(option, default)
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, str(name), known, where=f"{place(source)}: {option}")
    return names


def _count(source: ModelSource, option: str, default: int) -> int:
    given = source.options.get(option, default)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= _MOST:
        raise load_error(source, f"{option} must be a whole number from 1 to {_MOST:,}; got {given!r}")
    return given


def _filters(source: ModelSource, there: TableLayout) -> tuple[Filter, ...]:
    try:
        filters = read_filters(source.options.get("where", {}), f"{place(source)}: where")
    except MotetError as error:
        raise ModelLoadError(error.what, where=error.where, hint=error.hint) from error
    for each in filters:
        known = (there.id, *there.payload)
        if each.column not in known:
            raise UnknownNameError("column", each.column, known, where=f"{place(source)}: where")
    return filters


def _kind(data_type: pa.DataType) -> ColumnType | None:
    """The type of a column's values as graphs have them; None for one that they have as anything."""
    if pa.types.is_string(data_type) or pa.types.is_large_string(data_type):
        return ColumnType("string")
    if pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type):
        return ColumnType("bytes")
    if pa.types.is_boolean(data_type) or pa.types.is_integer(data_type) or pa.types.is_floating(data_type):
        return ColumnType(np.dtype(data_type.to_pandas_dtype()).name)
    return None


def _given(there: TableLayout, name: str, source: ModelSource) -> ColumnType:
    kind = _kind(there.schema.field(name).type)
    if kind is None:
        what = f"column {name!r} is {there.schema.field(name).type}, which a graph has no lists of"
        raise load_error(source, what, "ask for columns of numbers, texts, bytes and truth values")
    return ColumnType(kind.dtype, (None,))


def _id_kind(there: TableLayout) -> ColumnType:
    return ColumnType(
        "string" if _kind(there.schema.field(there.id).type) == ColumnType("string") else "int64", (None,)
    )


def _compared(there: TableLayout, filter: Filter, source: ModelSource) -> ColumnType:
    kind = _kind(there.schema.field(filter.column).type) or ColumnType("string")  # times are compared by their texts
    return ColumnType(kind.dtype, (None,) if filter.operator == "in" else ())
