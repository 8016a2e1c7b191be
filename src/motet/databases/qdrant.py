"""Collections of Qdrant: of a server over HTTP or gRPC, or in a folder of this machine.

An id that is a whole number of 0 or more is the point's; of any other one the point's is the UUID of version 5 of its text. The id
itself stands in the payload too, with the columns. In a folder it is the local mode of Qdrant's own client, which compares with every
row and is for small collections: it writes and searches slowly, and one process at a time may have it open.
"""

from __future__ import annotations

import datetime
import os
import threading
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from motet.databases.address import TableAddress
from motet.databases.filters import Filter
from motet.databases.layout import TableLayout, vectors_of
from motet.databases.matching import check_matches
from motet.databases.retry import tried
from motet.databases.table import Hits, Search
from motet.errors import InputError, RunError
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["QdrantTable", "point_id"]

NAMESPACE = uuid.UUID("6d6f7465-7400-5000-8000-000000000001")
"""Of the UUIDs of ids."""
COLUMNS, ID = "motet.columns", "motet.id"
"""What a collection's metadata say: its columns with their types, and which of them the ids are in."""
POINTS = 1_000
"""Points of a request."""
TIMEOUT_S = 30
_PATH = frozenset('.[]"')
"""Signs by which a key of a payload is a path into it."""
_METRICS = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}
_KINDS = {str(kind): kind for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
          pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.bool_(), pa.date32())}  # fmt: skip


def point_id(value: Any) -> int | str:
    """The id of a point: the whole number itself, else the UUID of its text."""
    if isinstance(value, int) and 0 <= value < 1 << 64:
        return value
    return str(uuid.uuid5(NAMESPACE, str(value)))


class QdrantTable:
    """A collection of Qdrant; see `Table`."""

    database: ClassVar[str] = "Qdrant"
    keeps_text: ClassVar[bool] = True

    def __init__(self, address: TableAddress) -> None:
        self._qdrant: Any = imported("qdrant_client", "qdrant-client", "qdrant", str(address))
        self._models: Any = self._qdrant.models
        self._address, self._where, self._name = address, str(address), address.table
        self._lock = threading.RLock()
        self._open: Any = None
        self._layout: TableLayout | None = None

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._open is None:
                self._open = self._connected()
            return self._open

    def _connected(self) -> Any:
        scheme, place = self._address.scheme, self._address.place
        if scheme == "qdrant":
            try:
                return self._qdrant.QdrantClient(path=place)
            except RuntimeError as error:
                hint = "one process at a time may have it; a server takes several: qdrant+http://HOST:6333"
                raise InputError(f"cannot be opened: {summary(error)}", where=self._where, hint=hint) from error
        protocol, secure = scheme.removeprefix("qdrant+").removesuffix("s"), scheme.endswith("s")
        host, _, port = place.removeprefix("//").rstrip("/").rpartition(":")
        if not port.isdecimal():
            host, port = place.removeprefix("//").rstrip("/"), ""
        by_grpc = protocol == "grpc"
        ports = {"grpc_port": int(port or 6334), "port": None} if by_grpc else {"port": int(port or 6333)}
        return self._qdrant.QdrantClient(
            host=host, **ports, prefer_grpc=by_grpc, https=secure, api_key=self._address.secret, timeout=TIMEOUT_S,
            check_compatibility=False,
        )  # fmt: skip

    def _asked(self, method: str, *arguments: Any, **named: Any) -> Any:
        """What the client answers; asked again where the server could not be reached.

        Raises:
            RunError: when it cannot be, or refuses.
        """
        try:
            return tried(lambda: getattr(self._client, method)(*arguments, **named), _passes, self._where)
        except (RunError, InputError):
            raise
        except Exception as error:
            raise RunError(f"{method} was refused: {summary(error)}", where=self._where) from error

    def layout(self) -> TableLayout | None:
        """See `Table`; of a collection that others made columns are told by what its first points have."""
        if self._address.scheme == "qdrant" and not os.path.isdir(self._address.place):
            return None
        if not self._asked("collection_exists", self._name):
            return None
        config = self._asked("get_collection", self._name).config
        given = config.params.vectors
        if not isinstance(given, Mapping):
            hint = "make a collection whose vectors have names"
            raise InputError("its vectors have no names", where=self._where, hint=hint)
        vectors = {name: each.size for name, each in given.items()}
        metrics = {str(getattr(each.distance, "value", each.distance)) for each in given.values()}
        metric = next((name for name, theirs in _METRICS.items() if metrics == {theirs}), None)
        said = config.metadata or {}
        kinds = said.get(COLUMNS) or self._shown()
        fields = [pa.field(name, _arrow(kind)) for name, kind in kinds.items() if name not in vectors]
        fields += [pa.field(name, pa.list_(pa.float32(), size)) for name, size in vectors.items()]
        return TableLayout(said.get(ID, "id"), vectors, pa.schema(fields), metric)

    def _shown(self) -> dict[str, str]:
        points, _ = self._asked("scroll", self._name, limit=100)
        found = {"id": "string" if any(isinstance(point.id, str) for point in points) else "int64"}
        for point in points:
            for name, value in (point.payload or {}).items():
                kind = {bool: "bool", int: "int64", float: "double", str: "string"}.get(type(value))
                if kind is not None:
                    found[name] = kind
        return found

    def check(self, layout: TableLayout) -> None:
        """See `Table`."""
        layout.check_held(_holds, self.database, self._where)
        for name in (layout.id, *layout.payload):
            if not _PATH.isdisjoint(name):
                hint = f"rename it, or leave it out: --drop {name} where it is the source's"
                raise InputError(f"Qdrant would take the column {name!r} for a path", where=self._where, hint=hint)
        check_matches(self.layout(), layout, self._where)

    def prepare(self, layout: TableLayout) -> None:
        """See `Table`."""
        self.check(layout)
        self._layout = layout
        if self.layout() is not None:
            return
        distance = self._models.Distance(_METRICS[layout.metric or "cosine"])
        vectors = {
            name: self._models.VectorParams(size=size, distance=distance) for name, size in layout.vectors.items()
        }
        kinds = {name: str(layout.schema.field(name).type) for name in (layout.id, *layout.payload)}
        self._asked("create_collection", self._name, vectors_config=vectors, metadata={COLUMNS: kinds, ID: layout.id})

    def upsert(self, batch: pa.RecordBatch) -> None:
        """See `Table`."""
        for first in range(0, batch.num_rows, POINTS):
            points = self._points(batch.slice(first, POINTS))
            with warnings.catch_warnings(action="ignore"):  # that a folder is for few points
                self._asked("upsert", self._name, points=points, wait=True)

    def _points(self, batch: pa.RecordBatch) -> list[Any]:
        layout = self._layout
        assert layout is not None
        payload = _plain(batch.select([layout.id, *layout.payload])).to_pylist()
        vectors: list[dict[str, Any]] = [{} for _ in payload]
        for name in layout.vectors:
            column = batch.column(name)
            there = column.is_valid().to_pylist()
            for row, values in enumerate(vectors_of(column).tolist()):
                if there[row]:
                    vectors[row][name] = values
        return [
            self._models.PointStruct.model_construct(id=point_id(row[layout.id]), vector=vectors[place], payload=row)
            for place, row in enumerate(payload)
        ]

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """See `Table`."""
        there = self._layout = self._layout or self.layout()
        assert there is not None
        requests = [self._request(there, each) for each in searches]
        found = self._asked("query_batch_points", self._name, requests=requests)
        return [_hits(each.points, there, search) for each, search in zip(found, searches, strict=True)]

    def _request(self, there: TableLayout, search: Search) -> Any:
        models = self._models
        must = [self._condition(_as_stored(each, there)) for each in search.filters]
        exact = search.exact and self._address.scheme != "qdrant"  # which is exact anyway, and says so
        return models.QueryRequest(
            query=search.query.tolist(), using=search.vector, limit=search.k,
            with_payload=[there.id, *search.columns], filter=models.Filter(must=must) if must else None,
            params=models.SearchParams(exact=True) if exact else None,
        )  # fmt: skip

    def _condition(self, filter: Filter) -> Any:
        models, value = self._models, filter.value
        if filter.operator == "in":
            if any(isinstance(each, float) for each in value):
                bounds = [
                    models.FieldCondition(key=filter.column, range=models.Range(gte=each, lte=each)) for each in value
                ]
                return models.Filter(should=bounds)
            return models.FieldCondition(key=filter.column, match=models.MatchAny(any=value))
        if filter.operator == "==" and not isinstance(value, float):
            return models.FieldCondition(key=filter.column, match=models.MatchValue(value=value))
        names = {"==": ("gte", "lte"), "<": ("lt",), "<=": ("lte",), ">": ("gt",), ">=": ("gte",)}[filter.operator]
        kind = models.DatetimeRange if isinstance(value, str) else models.Range
        return models.FieldCondition(key=filter.column, range=kind(**dict.fromkeys(names, value)))

    def close(self) -> None:
        """See `Table`."""
        with self._lock:
            found, self._open = self._open, None
        if found is not None:
            found.close()


def _as_stored(filter: Filter, there: TableLayout) -> Filter:
    """A condition whose whole numbers are floats where the column's are: to a server 3 and 3.0 are not equal."""
    kind = there.schema.field(filter.column).type
    if not pa.types.is_floating(kind):
        return filter
    given = filter.value if isinstance(filter.value, list) else [filter.value]
    stored = [_float(each, kind) for each in given]
    return replace(filter, value=stored if isinstance(filter.value, list) else stored[0])


def _float(value: Any, kind: pa.DataType) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(np.dtype(kind.to_pandas_dtype()).type(value)) if is_number else value


def _hits(points: Sequence[Any], there: TableLayout, search: Search) -> Hits:
    sign = -1.0 if there.metric == "l2" else 1.0
    columns = {name: [point.payload.get(name) for point in points] for name in search.columns}
    return Hits(
        [point.payload.get(there.id, point.id) for point in points], [sign * point.score for point in points], columns
    )


def _passes(error: Exception) -> bool:
    """Whether a server may answer the next time."""
    status = getattr(error, "status_code", None)
    name = type(error).__name__
    return status in (429, 500, 502, 503, 504) or name in (
        "ResponseHandlingException",
        "_InactiveRpcError",
        "ConnectError",
    )


def _holds(kind: pa.DataType) -> bool:
    leaf = kind.value_type if pa.types.is_list(kind) else kind
    return str(leaf) in _KINDS or pa.types.is_timestamp(leaf)


def _arrow(kind: str) -> pa.DataType:
    if kind.startswith("timestamp["):
        unit, _, zone = kind[10:-1].partition(", tz=")
        return pa.timestamp(unit, zone or None)
    if kind.startswith("list<"):
        return pa.list_(_arrow(kind[5:-1].partition(": ")[2]))
    return _KINDS[kind]


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times as texts of RFC 3339, which Qdrant compares as times."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            values = [None if each is None else _time(each) for each in batch.column(place).to_pylist()]
            batch = batch.set_column(place, field.name, pa.array(values, pa.string()))
    return batch


def _time(value: Any) -> str:
    text: str = value.isoformat()
    return text if not isinstance(value, datetime.datetime) or value.tzinfo else f"{text}Z"
