"""Tables of LanceDB: a folder of this machine, or a URL of objects.

Rows are written by `merge_insert`, a version of the table each time, so that who reads sees all of a write or none of it. How
alike vectors are stands in the schema's metadata.
"""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.filters import Filter
from motet.databases.layout import TableLayout, vector_length
from motet.databases.matching import check_matches
from motet.databases.table import Hits, Search
from motet.errors import InputError, RunError
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["LanceTable"]

METRIC, ID = b"motet.metric", b"motet.id"
OPTIMIZED_AFTER = 32
"""Writes after which small pieces are put together when the table is closed."""
_OWN = ("_distance", "_rowid", "_rowaddr", "query_index")
"""What LanceDB calls columns that it adds to those of a table."""
_TAKEN = frozenset(".`")
"""Signs that a name of a column cannot have."""
_SIMPLE = (
    pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string,
    pa.types.is_binary, pa.types.is_timestamp, pa.types.is_date, pa.types.is_decimal,
)  # fmt: skip


class LanceTable:
    """A table of LanceDB; see `Table`."""

    database: ClassVar[str] = "LanceDB"
    keeps_text: ClassVar[bool] = True

    def __init__(self, address: TableAddress) -> None:
        self._lancedb: Any = imported("lancedb", "lancedb", "lancedb", str(address))
        self._address, self._where = address, str(address)
        self._lock, self._writes = threading.Lock(), 0
        self._layout: TableLayout | None = None

    @cached_property
    def _base(self) -> Any:
        """The database; its folder is made with its first table."""
        try:  # what others have written is seen at once
            return self._lancedb.connect(self._address.place, read_consistency_interval=datetime.timedelta(0))
        except (ValueError, RuntimeError, OSError) as error:
            raise InputError(f"cannot be opened: {summary(error)}", where=self._where) from error

    @cached_property
    def _table(self) -> Any:
        """The table, None where there is none."""
        if self._address.is_local and not os.path.isdir(self._address.place):
            return None
        with self._lock:
            if self._address.table not in self._names():
                return None
            return self._base.open_table(self._address.table)

    def _names(self) -> set[str]:
        found, token = set[str](), None
        while True:
            page = self._base.list_tables(page_token=token)
            found.update(page.tables)
            token = page.page_token
            if not token:
                return found

    def layout(self) -> TableLayout | None:
        """See `Table`."""
        if self._table is None:
            return None
        schema = self._table.schema
        said = schema.metadata or {}
        plain = pa.schema([pa.field(field.name, field.type) for field in schema])
        sizes = {field.name: vector_length(field.type) for field in plain}
        vectors = {name: size for name, size in sizes.items() if size is not None}
        return TableLayout(said.get(ID, b"id").decode(), vectors, plain, said.get(METRIC, b"").decode() or None)

    def check(self, layout: TableLayout) -> None:
        """See `Table`."""
        layout.check_held(_holds, self.database, self._where)
        for name in layout.schema.names:
            if name in _OWN or not _TAKEN.isdisjoint(name):
                hint = f"rename it, or leave it out: --drop {name} where it is the source's"
                raise InputError(f"LanceDB cannot have a column called {name!r}", where=self._where, hint=hint)
        check_matches(self.layout(), layout, self._where)

    def prepare(self, layout: TableLayout) -> None:
        """See `Table`."""
        self.check(layout)
        self._layout = layout
        if self._table is None:
            metadata = {METRIC: layout.metric or "cosine", ID: layout.id}
            self.__dict__["_table"] = self._base.create_table(
                self._address.table, schema=layout.schema.with_metadata(metadata), exist_ok=True
            )

    def upsert(self, batch: pa.RecordBatch) -> None:
        """See `Table`."""
        assert self._layout is not None
        merge = self._table.merge_insert(self._layout.id).when_matched_update_all().when_not_matched_insert_all()
        try:
            merge.execute(pa.Table.from_batches([batch]))
        except (RuntimeError, ValueError, OSError) as error:
            hint = "--resume goes on with what is finished"
            raise RunError(f"cannot be written: {summary(error)}", where=self._where, hint=hint) from error
        self._writes += 1

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """See `Table`."""
        found: list[Hits] = []
        for first, last in _alike(searches):
            found += self._found(searches[first:last])
        return found

    def _found(self, searches: Sequence[Search]) -> list[Hits]:
        """What searches of the same filters find, at once."""
        one, there = searches[0], self.layout()
        assert there is not None
        metric = there.metric or self._address.options.get("metric", "cosine")
        queries = [each.query for each in searches] if len(searches) > 1 else one.query
        query = self._table.search(queries, vector_column_name=one.vector)
        query = query.distance_type(metric).limit(one.k).select([there.id, *one.columns, "_distance"])
        if where := " AND ".join(_condition(each, there.schema, self._where) for each in one.filters):
            query = query.where(where, prefilter=True)
        if one.exact:
            query = query.bypass_vector_index()
        table = query.to_arrow()
        places = table["query_index"].to_numpy() if len(searches) > 1 else np.zeros(len(table), int)
        return [_hits(table.filter(pa.array(places == place)), there.id, one, metric) for place in range(len(searches))]

    def close(self) -> None:
        """See `Table`: many small writes are put together, so that searches need not look at each."""
        if self._writes >= OPTIMIZED_AFTER:
            self._table.optimize()
        self._writes = 0


def _hits(table: pa.Table, id: str, search: Search, metric: str) -> Hits:
    far = table["_distance"].to_numpy().astype(np.float64)
    scores = -np.sqrt(np.maximum(far, 0)) if metric == "l2" else 1 - far
    return Hits(table[id].to_pylist(), scores.tolist(), {name: table[name].to_pylist() for name in search.columns})


def _alike(searches: Sequence[Search]) -> list[tuple[int, int]]:
    """Stretches of searches whose filters are the same."""
    ends = [at for at in range(1, len(searches)) if searches[at].filters != searches[at - 1].filters]
    return list(zip([0, *ends], [*ends, len(searches)], strict=True)) if searches else []


def _holds(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return any(test(kind) for test in _SIMPLE)


def _condition(filter: Filter, schema: pa.Schema, where: str) -> str:
    """A condition in the SQL of DataFusion."""
    kind = schema.field(filter.column).type
    name = "`" + filter.column.replace("`", "``") + "`"
    if filter.operator == "in":
        return f"{name} IN ({', '.join(_literal(each, kind) for each in filter.value)})" if filter.value else "false"
    return f"{name} {'=' if filter.operator == '==' else filter.operator} {_literal(filter.value, kind)}"


def _literal(value: Any, kind: pa.DataType) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = "'" + str(value).replace("'", "''") + "'"
    if pa.types.is_timestamp(kind):
        return f"timestamp {text}"
    return f"date {text}" if pa.types.is_date(kind) else text
