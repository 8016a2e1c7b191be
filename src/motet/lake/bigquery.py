"""Tables of BigQuery, by its storage write API: rows go into a pending stream, each at its offset, and one commit lets them appear.

The stream's name is noted before its commit, which may be asked for again: who is told that it was made makes no other.
https://cloud.google.com/bigquery/docs/write-api-batch
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from motet.databases.retry import TRIES, pauses, tried
from motet.errors import InputError, RunError
from motet.lake.address import LakeAddress
from motet.lake.table import Rows
from motet.lake.types import common, stored_type
from motet.system.extras import imported
from motet.tracebacks import summary

__all__ = ["BigQueryTable"]

T = TypeVar("T")
REQUEST_BYTES = 4 << 20
"""The most bytes of rows of a request; BigQuery takes 10 MB."""
TIMEOUT_S = 60.0
"""How long a call that is no stream may take."""
CONNECTION_S = 600.0
"""How long a connection that rows are sent by may last; another one sends what it has not acknowledged."""
_PASSING = ("UNAVAILABLE", "ABORTED", "INTERNAL", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN", "RESOURCE_EXHAUSTED")
_ALREADY_EXISTS, _COMMITTED = 6, "STREAM_ALREADY_COMMITTED"
_TYPES = {
    "INT64": pa.int64(), "DOUBLE": pa.float64(), "BYTES": pa.binary(), "BOOL": pa.bool_(), "TIMESTAMP": pa.timestamp("us", "UTC"),
    "DATE": pa.date32(), "TIME": pa.time64("us"), "DATETIME": pa.timestamp("us"), "NUMERIC": pa.decimal128(38, 9),
}  # fmt: skip


@dataclass
class _Progress:
    """How many rows of a stream are acknowledged, and whether these are all."""

    rows: int = 0
    whole: bool = False


class BigQueryTable:
    """A table of BigQuery that rows are added to; see `LakeTable`."""

    database: ClassVar[str] = "BigQuery"
    replaces: ClassVar[bool] = False

    def __init__(self, address: LakeAddress) -> None:
        where = str(address)
        self._address, self._where = address, where
        self._types: Any = imported(
            "google.cloud.bigquery_storage_v1.types", "google-cloud-bigquery-storage", "bigquery", where
        )
        self._errors: Any = imported("google.api_core.exceptions", "google-cloud-bigquery-storage", "bigquery", where)
        project, dataset, table = address.parts
        self._name = f"projects/{project}/datasets/{dataset}/tables/{table}"

    @cached_property
    def _client(self) -> Any:
        """What calls BigQuery, with the credentials that the library finds; an emulator is called without."""
        package = "google.cloud.bigquery_storage_v1.services.big_query_write"
        services = imported(package, "google-cloud-bigquery-storage", "bigquery", self._where)
        endpoint = self._address.options.get("endpoint")
        if endpoint is None:
            found = imported("google.auth.exceptions", "google-auth", "bigquery", self._where)
            try:
                return services.BigQueryWriteClient()
            except found.GoogleAuthError as error:
                hint = "set GOOGLE_APPLICATION_CREDENTIALS, or log in with gcloud auth application-default login"
                raise InputError(
                    f"no credentials were found: {summary(error)}", where=self._where, hint=hint
                ) from error
        transports = imported(f"{package}.transports", "google-cloud-bigquery-storage", "bigquery", self._where)
        channel = imported("grpc", "grpcio", "bigquery", self._where).insecure_channel(endpoint)
        return services.BigQueryWriteClient(transport=transports.BigQueryWriteGrpcTransport(channel=channel))

    def _called(self, call: Callable[[], T]) -> T:
        """What a call gives, made again where the service could not be reached."""
        return tried(call, self._passes, self._where)

    def _passes(self, error: Exception) -> bool:
        code = getattr(getattr(error, "grpc_status_code", None), "name", None)
        return code in _PASSING

    def schema(self) -> pa.Schema | None:
        """See `LakeTable`; the service says it of the stream that each table has."""
        view = self._types.WriteStreamView.FULL
        request = self._types.GetWriteStreamRequest(name=f"{self._name}/streams/_default", view=view)
        try:
            found = self._called(lambda: self._client.get_write_stream(request=request, retry=None, timeout=TIMEOUT_S))
        except self._errors.NotFound:
            return None
        except (self._errors.GoogleAPICallError, RunError) as error:
            raise InputError(f"cannot be looked at: {summary(error)}", where=self._where) from error
        return pa.schema([_field(each) for each in found.table_schema.fields])

    def partitions(self) -> list[str]:
        """See `LakeTable`: rows are not replaced."""
        return []

    def stored(self, kind: pa.DataType) -> pa.DataType | None:
        """See `LakeTable`."""
        return stored_type(kind, _leaf)

    def prepare(self, schema: pa.Schema) -> None:
        """See `LakeTable`: the table is there."""
        if self.schema() is None:
            columns = ",".join(f"{each.name}:{_said(each.type)}" for each in schema)
            hint = f"make it first: bq mk --table {'{}:{}.{}'.format(*self._address.parts)} {columns}"
            raise InputError("there is no such table", where=self._where, hint=hint)

    def commit(
        self, rows: Rows, schema: pa.Schema, noted: str, note: Callable[[str], None], *, replaces: bool, creates: bool
    ) -> None:
        """See `LakeTable`."""
        if not any(map(len, rows())):  # then there is nothing to add, and no stream
            return
        try:
            if not noted:
                noted = self._written(rows, schema)
                note(noted)
            self._commit(noted)
        except self._errors.GoogleAPICallError as error:
            raise self._refused(summary(error)) from error

    def _refused(self, why: str) -> RunError:
        return RunError(f"cannot be written: {why}", where=self._where, hint="--resume adds what is finished")

    def _written(self, rows: Rows, schema: pa.Schema) -> str:
        """The name of a stream that has all rows, and takes no more; they do not appear yet."""
        kind = self._types.WriteStream(type_=self._types.WriteStream.Type.PENDING)
        made = self._called(
            lambda: self._client.create_write_stream(
                parent=self._name, write_stream=kind, retry=None, timeout=TIMEOUT_S
            )
        )
        total = self._sent(made.name, rows, schema)
        done = self._called(lambda: self._client.finalize_write_stream(name=made.name, retry=None, timeout=TIMEOUT_S))
        if done.row_count != total:
            raise self._refused(f"{total:,} rows were sent, and the stream has {done.row_count:,}")
        return str(made.name)

    def _sent(self, stream: str, rows: Rows, schema: pa.Schema) -> int:
        """Send rows, each at its offset, until all are acknowledged; how many there are.

        Connections that bring nothing forward are so many, with such pauses between them, as tries of a call.
        """
        progress, waits = _Progress(), pauses()
        while not progress.whole:
            before, lost = progress.rows, None
            try:
                self._connected(stream, rows, schema, progress)
            except self._errors.GoogleAPICallError as error:
                if not self._passes(error):
                    raise
                lost = error
            if progress.rows > before:
                waits = pauses()
            elif not progress.whole:
                self._wait(waits, lost or self._refused(f"connections end behind row {before:,}, after {TRIES} tries"))
        return progress.rows

    @staticmethod
    def _wait(waits: Iterator[float], error: Exception) -> None:
        """Wait before the next connection; where there is none, raise what the last one ended by."""
        wait_s = next(waits, None)
        if wait_s is None:
            raise error
        time.sleep(wait_s)

    def _connected(self, stream: str, rows: Rows, schema: pa.Schema, progress: _Progress) -> None:
        """Send what is not acknowledged yet, by one connection, and note what is."""
        sent: list[tuple[int, int]] = []
        ended: list[bool] = []

        def requests() -> Iterator[Any]:
            for offset, batch in _parts(rows(), progress.rows):
                sent.append((offset, offset + len(batch)))
                yield self._request(stream, schema, offset, batch)
            ended.append(True)

        place = 0
        for place, answer in enumerate(self._client.append_rows(requests(), retry=None, timeout=CONNECTION_S), 1):
            first, end = sent[place - 1]
            if answer.error.code and answer.error.code != _ALREADY_EXISTS:  # which a connection before has sent
                said = "; ".join(f"row {first + each.index}: {each.message}" for each in answer.row_errors)
                raise self._refused(said or answer.error.message)
            progress.rows = end
        progress.whole = bool(ended) and place == len(sent)

    def _request(self, stream: str, schema: pa.Schema, offset: int, batch: pa.RecordBatch) -> Any:
        types = self._types
        data = types.AppendRowsRequest.ArrowData(
            writer_schema=types.ArrowSchema(serialized_schema=schema.serialize().to_pybytes()),
            rows=types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes()),
        )
        return types.AppendRowsRequest(write_stream=stream, offset=offset, arrow_rows=data)

    def _commit(self, stream: str) -> None:
        """Let the rows of a stream appear, unless they have."""
        request = self._types.BatchCommitWriteStreamsRequest(parent=self._name, write_streams=[stream])
        done = self._called(
            lambda: self._client.batch_commit_write_streams(request=request, retry=None, timeout=TIMEOUT_S)
        )
        wrong = [each for each in done.stream_errors if each.code.name != _COMMITTED]
        if wrong:
            what = f"{wrong[0].code.name}: {wrong[0].error_message}"
            hint = f"look whether the rows of {stream} are there; if not, begin anew with --overwrite"
            raise RunError(f"the stream cannot be committed: {what}", where=self._where, hint=hint)

    def close(self) -> None:
        """See `LakeTable`."""
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.transport.close()


def _parts(batches: Iterator[pa.RecordBatch], skip: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Rows behind the first ones in pieces that a request holds, with how many come before each."""
    offset = 0
    for batch in batches:
        rows = max(1, int(len(batch) * REQUEST_BYTES / max(batch.nbytes, 1)))
        for start in range(0, len(batch), rows):
            part = batch.slice(start, rows)
            if offset + len(part) > skip:
                cut = max(0, skip - offset)
                yield offset + cut, part.slice(cut)
            offset += len(part)


def _leaf(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_time(kind):
        return pa.time64("us")
    found = common(kind)
    if found is not None and pa.types.is_integer(found):
        return pa.int64()
    return pa.float64() if found is not None and pa.types.is_floating(found) else found


def _field(column: Any) -> pa.Field:
    """A column as Arrow has it; text for what it has nothing like. What repeats has no nulls in it."""
    name = column.type_.name
    if name == "STRUCT":
        kind: pa.DataType = pa.struct([_field(each) for each in column.fields])
    elif name == "BIGNUMERIC":
        kind = pa.decimal128(38, min(int(column.scale) or 18, 38))
    else:
        kind = _TYPES.get(name, pa.string())
    if column.mode.name == "REPEATED":
        return pa.field(column.name, pa.list_(pa.field("element", kind, nullable=False)))
    return pa.field(column.name, kind, nullable=column.mode.name != "REQUIRED")


def _said(kind: pa.DataType) -> str:
    """What BigQuery calls a type, for the command that makes a table."""
    if pa.types.is_list(kind):
        return f"{_said(kind.value_type)}..."  # repeated, which the command has in its JSON alone
    if pa.types.is_struct(kind):
        return "RECORD"
    names = {found: name for name, found in _TYPES.items()}
    return "NUMERIC" if pa.types.is_decimal(kind) else names.get(kind, "STRING").replace("DOUBLE", "FLOAT64")
