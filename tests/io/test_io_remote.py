"""Rows and answers on object stores: what is wrong with credentials, buckets, files and the network is told."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from motet.cli import cli
from motet.errors import InputError, RunError
from motet.io import open_source, open_writer
from motet.io.files import FoundFile
from motet.io.remote import RemoteFile, asking

GRAPH = """
motet: 1
name: numbers
inputs: {x: float32}
nodes:
  double: {map: motet.ops.columns.cast, inputs: [x], with: {dtype: float64}}
outputs: {y: double}
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Any]:
    """An S3 server on a socket, with a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=url, **keys)
    client.create_bucket(Bucket="bucket")
    client.close()
    yield url
    server.stop()


@pytest.fixture
def s3(endpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The address and credentials of the server in the environment; and its file system, with a file of five rows."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("numbers.yaml").write_text(GRAPH)
    pq.write_table(pa.table({"x": np.arange(5, dtype=np.float32)}), "rows.parquet")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.put_file("rows.parquet", "bucket/rows.parquet")
    yield files
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def without_credentials(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    type(s3).clear_instance_cache()


@pytest.fixture
def without_server(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        type(s3).clear_instance_cache()
        yield


def run(source: str, output: str, *more: str) -> Result:
    return CliRunner().invoke(cli, ["run", "numbers.yaml", "--input", source, "--output", output, *more])


HOW = "hint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where the machine has a role"


def test_rows_are_read_and_answers_written(s3: Any) -> None:
    told = run("s3://bucket/rows.parquet", "s3://bucket/answers.parquet")
    assert told.exit_code == 0, told.output
    with s3.open("bucket/answers.parquet") as file:
        assert pq.read_table(file)["y"].to_pylist() == [0, 1, 2, 3, 4]
    again = run("s3://bucket/rows.parquet", "s3://bucket/answers.parquet")
    assert (again.exit_code, "s3://bucket/answers.parquet is there already" in again.stderr) == (2, True)


def test_a_remote_folder_of_parts_says_that_it_is_finished_and_loses_old_parts(s3: Any) -> None:
    s3.pipe_file("bucket/parts/part-00007.parquet", b"of an earlier run")
    told = run("rows.parquet", "s3://bucket/parts/", "--overwrite")
    assert told.exit_code == 0, told.output
    s3.invalidate_cache()
    assert sorted(s3.ls("bucket/parts", detail=False)) == [
        "bucket/parts/_finished.json",
        "bucket/parts/part-00000.parquet",
    ]
    assert s3.cat_file("bucket/parts/_finished.json") == b'{"parts": 1, "rows": 5}\n'
    assert not Path("s3:").exists()


@pytest.mark.usefixtures("without_credentials")
@pytest.mark.parametrize(
    ("source", "output", "more", "where"),
    [
        ("s3://bucket/rows.parquet", "answers.parquet", [], "s3://bucket/rows.parquet"),
        ("s3://bucket/*.parquet", "answers.parquet", [], "s3://bucket/*.parquet"),
        ("rows.parquet", "s3://bucket/other.parquet", [], "s3://bucket/other.parquet"),
        ("rows.parquet", "s3://bucket/other.parquet", ["--overwrite"], "s3://bucket/other.parquet"),
        ("rows.parquet", "s3://bucket/others/", ["--overwrite"], "s3://bucket/others/"),
    ],
)
def test_missing_credentials_are_told(source: str, output: str, more: Any, where: str) -> None:
    told = run(source, output, *more)
    assert told.exit_code == 2
    assert told.stderr == (
        f"error: {where}: no credentials that hold were found: Unable to locate credentials\n  {HOW}\n"
    )


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("s3://bucket/row.parquet", "answers.parquet", "there is no file 's3://bucket/row.parquet'\n  hint: near it: rows"),
        ("s3://nowhere/rows.parquet", "answers.parquet", "s3://nowhere/rows.parquet: there is no bucket 'nowhere'\n  hint"),
        ("s3://nowhere/*.parquet", "answers.parquet", "s3://nowhere/*.parquet: there is no bucket 'nowhere'\n  hint"),
        ("rows.parquet", "s3://nowhere/a.parquet", "s3://nowhere/a.parquet: there is no bucket 'nowhere'\n  hint"),
        ("rows.parquet", "s3://nowhere/a/", "s3://nowhere/a/: there is no bucket 'nowhere'\n  hint"),
    ],
)  # fmt: skip
def test_a_missing_bucket_or_file_is_told(s3: Any, source: str, output: str, message: str) -> None:
    told = run(source, output)
    assert told.exit_code == 2, told.output
    assert told.stderr.startswith(f"error: {message}")


@pytest.mark.usefixtures("without_server")
@pytest.mark.parametrize(
    ("source", "output"),
    [("s3://bucket/rows.parquet", "answers.parquet"), ("rows.parquet", "s3://bucket/other.parquet")],
)
def test_a_server_that_does_not_answer_is_told_as_what_may_pass(source: str, output: str) -> None:
    told = run(source, output)
    assert told.exit_code == 1
    where = source if ":" in source else output
    assert f"error: {where}: does not answer: EndpointConnectionError" in told.stderr
    assert "hint: check the address and the network, then try again; --resume goes on with a run" in told.stderr


class Refusing:
    """A file system whose every call raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def unstrip_protocol(self, path: str) -> str:
        return f"s3://{path}"

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            raise self.error

        return call


@pytest.mark.parametrize("call", ["open", "read", "stream", "state"])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (PermissionError("Access Denied"), InputError, "s3://bucket/a: is not allowed: Access Denied"),
        (FileNotFoundError("bucket/a"), InputError, "s3://bucket/a: there is no such file or bucket"),
        (TimeoutError(), RunError, "s3://bucket/a: does not answer: TimeoutError: TimeoutError"),
    ],
)
def test_each_way_of_reading_tells_what_is_wrong(call: str, error: Any, kind: Any, message: str) -> None:
    file = FoundFile("bucket/a", Refusing(error))
    with pytest.raises(kind) as told:
        getattr(file, call)()
    assert str(told.value).partition("\n")[0] == message
    assert told.value.__cause__ is error


def test_a_connection_that_is_lost_while_rows_are_read_is_told_through_arrow(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("rows.csv").write_text("x\n1.5\n2.5\n")
    s3.put_file("rows.csv", "bucket/rows.csv")
    monkeypatch.setattr("motet.io.files._SMALL_BYTES", 0)
    source = open_source("s3://bucket/rows.csv")
    monkeypatch.setattr(s3, "_cat_file", Refusing(ConnectionResetError("reset by peer")).anything)
    with pytest.raises(RunError, match=r"s3://bucket/rows.csv: does not answer: ConnectionResetError: reset by peer"):
        list(source.batches(1000))


def test_answers_that_cannot_be_put_there_are_told(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer("s3://bucket/late.parquet", pa.schema({"x": pa.int64()}))
    writer.write(pa.record_batch({"x": [1, 2]}))
    monkeypatch.setattr(s3, "pipe_file", Refusing(PermissionError("Access Denied")).anything)
    with pytest.raises(InputError, match=r"s3://bucket/late.parquet: is not allowed: Access Denied"):
        writer.close()


def test_errors_of_this_machines_files_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), asking("here", None):
        raise ZeroDivisionError


class _OfNoSize(io.BytesIO):
    """A file whose file system knows no size: where it goes to places it tells."""

    size = None


class _Streamed(_OfNoSize):
    def seek(self, place: int, whence: int = 0) -> int:
        raise ValueError("Cannot seek streaming HTTP file")


class _CountsFromNone(_OfNoSize):
    def seek(self, place: int, whence: int = 0) -> int:
        return self.size + place  # (as fsspec's AbstractBufferedFile does)


def _opened(file: Any) -> RemoteFile:
    class Files:
        def open(self, path: str, mode: str) -> Any:
            return file

    return RemoteFile("far://rows", Files(), "rows")


def test_the_size_of_a_file_is_asked_of_it_where_its_file_system_knows_none() -> None:
    file = _opened(_OfNoSize(b"0123456789"))
    assert (file.size(), file.read(3), file.seek(-2, 2), file.read()) == (10, b"012", 8, b"89")
    for kind in (_Streamed, _CountsFromNone):
        given = kind(b"0123456789")
        with pytest.raises(InputError, match="far://rows: its file system does not tell how many bytes it has"):
            _opened(given)
        assert given.closed
