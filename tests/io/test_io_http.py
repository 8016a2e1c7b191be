"""Rows over HTTP from servers of every kind: with parts or without, without a length, signed, broken, and silent."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import motet.io.files
import motet.io.remote
from helpers.number_graph import GRAPH
from motet.cli import cli
from motet.io import open_source

ROWS = 2000
_PARQUET = io.BytesIO()
pq.write_table(pa.table({"x": range(ROWS)}), _PARQUET, row_group_size=100)
_ARROW = io.BytesIO()
with pa.ipc.new_file(_ARROW, pa.schema({"x": pa.int64()})) as _out:
    _out.write_table(pa.table({"x": range(ROWS)}), max_chunksize=99)
FILES = {
    "rows.parquet": _PARQUET.getvalue(),
    "rows.arrow": _ARROW.getvalue(),
    "rows.csv": ("x\n" + "".join(f"{row}\n" for row in range(ROWS))).encode(),
    "rows.jsonl": "".join(f'{{"x":{row}}}\n' for row in range(ROWS)).encode(),
}
FILES["rows.csv.gz"] = gzip.compress(FILES["rows.csv"])
WAYS = ("parts", "whole", "chunked", "signed", "identity", "encoded", "redirect")


class Handler(BaseHTTPRequestHandler):
    """Serves `/WAY/NAME`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_error(403)

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        _, way, name = urlsplit(self.path).path.split("/", 2)
        server.asked.append(f"{way} {self.headers.get('Range', 'all')}")
        if way == "silent":
            server.over.wait(60)
            self.close_connection = True
            return
        if way.isdecimal():
            self.send_error(int(way))
            return
        if way == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/parts/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if way == "signed" and "sig=" not in self.path:
            self.send_error(403)
            return
        if name not in FILES:
            self.send_error(404)
            return
        self._give(way, FILES[name])

    def _give(self, way: str, data: bytes) -> None:
        wanted = self.headers.get("Range") if way in ("parts", "signed", "changing") else None
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            part = data[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
            data = part[:-1] if way == "changing" and len(part) > 1 else part
        else:
            self.send_response(200)
        if way == "encoded":
            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        if way in ("chunked", "breaks"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(data), 1000):
                if way == "breaks" and start > len(data) // 2:
                    self.close_connection = True
                    return
                part = data[start : start + 1000]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        if way == "identity":
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(data) + (100 if way == "short" else 0)))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = self.close_connection or way == "short"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has read enough goes away."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import fsspec

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / ".cache"))
    Path("g.yaml").write_text(GRAPH)
    found = Server()
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.over.set()
    found.shutdown()
    thread.join()
    found.server_close()
    fsspec.get_filesystem_class("http").clear_instance_cache()


def address(server: Server, way: str, name: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{way}/{name}?sig=a/b.c%2F*&x=[1]"


def run(source: str, *more: str) -> Result:
    return CliRunner().invoke(cli, ["run", "g.yaml", "--input", source, "--output", "o.parquet", *more])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", WAYS)
def test_rows_are_read_from_every_server(server: Server, way: str, name: str) -> None:
    told = run(address(server, way, name), "--batch-rows", "70")
    assert told.exit_code == 0, told.output
    assert pq.read_table("o.parquet")["y"].to_pylist() == list(range(ROWS))
    assert len([asked for asked in server.asked if not asked.startswith("redirect")]) <= 3 + (way == "parts")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl"])
def test_large_files_are_read_in_parts(server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(motet.io.files, "_SMALL_BYTES", 100)
    monkeypatch.setattr(motet.io.remote, "_BLOCK_BYTES", 3000)
    assert run(address(server, "parts", name)).exit_code == 0
    assert pq.read_table("o.parquet")["y"].to_pylist() == list(range(ROWS))


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl"])
@pytest.mark.parametrize(
    ("way", "code", "message"),
    [
        ("404", 2, "there is no file"), ("410", 2, "there is no file"), ("403", 2, "is not allowed: 403"), ("401", 2, "is not allowed: 401"),
        ("500", 1, "does not answer: ConnectionError: 500"), ("503", 1, "does not answer"), ("breaks", 1, "does not answer: ClientPayloadError"),
        ("short", 1, "does not answer"), ("changing", 1, "bytes of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_address_and_without_its_secrets(
    server: Server, name: str, way: str, code: int, message: str
) -> None:
    told = run(address(server, way, name))
    assert told.exit_code == code, told.output
    assert message in told.stderr
    assert f"/{way}/{name}?..." in told.stderr
    assert "sig=" not in told.stderr
    assert not Path("o.parquet").exists()


def test_a_server_that_accepts_and_says_nothing_is_not_waited_for_forever(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motet.io.remote, "SILENCE_S", 0.3)
    told = run(address(server, "silent", "rows.csv"))
    assert told.exit_code == 1
    assert "does not answer: nothing came within" in told.stderr
    assert "/silent/rows.csv" in told.stderr


def test_several_addresses_are_one_input(server: Server) -> None:
    source = open_source([address(server, way, "rows.csv") for way in ("parts", "chunked", "whole")])
    assert sum(len(batch) for batch in source.batches(999)) == 3 * ROWS


@pytest.mark.parametrize("scheme", ["hdfs://name:9000/a.csv", "nope://x/a.csv", "HDFS://name/a/"])
def test_what_cannot_be_opened_is_said(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text(GRAPH)
    told = run(scheme)
    assert told.exit_code == 2
    assert told.stderr.startswith("error: cannot open '")
