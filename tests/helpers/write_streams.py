"""A server of BigQuery's storage write API, as far as pending streams go: rows appear when their stream is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

__all__ = ["WriteServer", "write_server"]

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryWrite"


class WriteServer:
    """What the server holds, and what goes wrong next.

    Attributes:
        rows: what everybody sees of the table.
        streams: by name the record batches that were appended to each.
        committed: names of streams.
        columns: name, type and mode of each column.
        faults: called with each request of rows and its context, before (`False`) and after (`True`) it is taken.
        commits: called before the answer to each commit.
    """

    def __init__(self, columns: list[tuple[str, str, str]]) -> None:
        from google.cloud.bigquery_storage_v1 import types

        self.types: Any = types
        self.rows: list[dict[str, Any]] = []
        self.streams: dict[str, list[pa.RecordBatch]] = {}
        self.finalized: set[str] = set()
        self.committed: list[str] = []
        self.columns = columns
        self.faults: Callable[[Any, Any, bool], None] = lambda request, context, taken: None
        self.commits: Callable[[Any], None] = lambda context: None
        self.requests = 0

    def size(self, stream: str) -> int:
        return sum(map(len, self.streams[stream]))

    def get(self, request: Any, context: Any) -> Any:
        import grpc

        if not request.name.startswith("projects/p/datasets/d/tables/t/"):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such table")
        fields = [{"name": name, "type_": kind, "mode": mode} for name, kind, mode in self.columns]
        return self.types.WriteStream(name=request.name, table_schema={"fields": fields})

    def create(self, request: Any, context: Any) -> Any:
        assert request.write_stream.type_.name == "PENDING"
        name = f"{request.parent}/streams/s{len(self.streams)}"
        self.streams[name] = []
        return self.types.WriteStream(name=name)

    def append(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            self.requests += 1
            self.faults(request, context, False)
            yield self._taken(request, context)

    def _taken(self, request: Any, context: Any) -> Any:
        types, stream, data = self.types, request.write_stream, request.arrow_rows
        there = self.size(stream)
        if request.offset < there:
            return types.AppendRowsResponse(error={"code": 6, "message": "the offset exists"})
        if request.offset > there:
            return types.AppendRowsResponse(error={"code": 11, "message": "the offset is out of range"})
        schema = pa.ipc.read_schema(pa.py_buffer(data.writer_schema.serialized_schema))
        batch = pa.ipc.read_record_batch(pa.py_buffer(data.rows.serialized_record_batch), schema)
        for place, row in enumerate(batch.to_pylist()):
            if row.get("name") == "refused":
                error = {"index": place, "code": "FIELDS_ERROR", "message": "it is refused"}
                return types.AppendRowsResponse(error={"code": 3, "message": "rows are wrong"}, row_errors=[error])
        self.streams[stream].append(batch)
        self.faults(request, context, True)
        return types.AppendRowsResponse(append_result={"offset": request.offset})

    def finalize(self, request: Any, context: Any) -> Any:
        self.finalized.add(request.name)
        return self.types.FinalizeWriteStreamResponse(row_count=self.size(request.name))

    def commit(self, request: Any, context: Any) -> Any:
        (name,) = request.write_streams
        found = self.types.BatchCommitWriteStreamsResponse
        code = (
            "STREAM_NOT_FOUND"
            if name not in self.streams
            else "STREAM_ALREADY_COMMITTED"
            if name in self.committed
            else ""
        )
        if code:
            return found(stream_errors=[{"code": code, "error_message": "as it says", "entity": name}])
        assert name in self.finalized
        self.committed.append(name)
        self.rows += [row for batch in self.streams[name] for row in batch.to_pylist()]
        self.commits(context)
        return found(commit_time={"seconds": 1})


@contextmanager
def write_server(columns: list[tuple[str, str, str]]) -> Iterator[tuple[WriteServer, str]]:
    """A server with the table `p.d.t`, and its address, `127.0.0.1:PORT`."""
    import grpc

    made = WriteServer(columns)
    types = made.types
    calls: dict[str, tuple[Any, Any, Any]] = {
        "GetWriteStream": (made.get, types.GetWriteStreamRequest, types.WriteStream),
        "CreateWriteStream": (made.create, types.CreateWriteStreamRequest, types.WriteStream),
        "FinalizeWriteStream": (made.finalize, types.FinalizeWriteStreamRequest, types.FinalizeWriteStreamResponse),
        "BatchCommitWriteStreams": (
            made.commit, types.BatchCommitWriteStreamsRequest, types.BatchCommitWriteStreamsResponse,
        ),
    }  # fmt: skip
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(call, asked.deserialize, given.serialize)
        for name, (call, asked, given) in calls.items()
    }
    handlers["AppendRows"] = grpc.stream_stream_rpc_method_handler(
        made.append, types.AppendRowsRequest.deserialize, types.AppendRowsResponse.serialize
    )
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield made, f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
