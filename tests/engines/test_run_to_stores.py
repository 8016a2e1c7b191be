"""Runs whose output is on an object store: nothing of them is on this machine, one at a time writes, and any machine goes on."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.engines.local import lease
from motet.errors import RunError

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
PROGRAM = """
import sys
import motet as mt

def plus(x):
    if (x == 777).any():
        raise ValueError("not this one")
    return x + 1

graph = mt.Graph("plus", outputs={"y": mt.map(plus, mt.input("x", "int64"), outputs="int64")})

import motet.engines.local.pending as pending
pending.COMMIT_SECONDS = 0.0
source, output, *more = sys.argv[1:]
report = graph.run(
    source, output, batch_rows=50, workers=1, part_rows=300, resume=True,
    progress=lambda *told: print(*told, flush=True),
)
print("resumed", report.resumed_rows, flush=True)
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server on a socket, with a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    client.create_bucket(Bucket="bucket")
    client.close()
    yield url
    server.stop()


@pytest.fixture
def s3(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server's file system, with nothing in its bucket."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint, "HOME": str(tmp_path / "home")}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    for path in files.find("bucket"):
        files.rm_file(path)
    files.clear_multipart_uploads("bucket")
    yield files
    s3fs.S3FileSystem.clear_instance_cache()


def graph() -> mt.Graph:
    return mt.Graph("plus", outputs={"y": mt.map(lambda x: x + 1, mt.input("x", "int64"), outputs="int64")})


def table(rows: int = 100) -> pa.Table:
    return pa.table({"x": np.arange(rows)})


def below(files: Any, folder: str) -> list[str]:
    """The files below a folder, by their paths in it."""
    files.invalidate_cache()
    return sorted(path.removeprefix(f"{folder}/") for path in files.find(folder))


def run_elsewhere(folder: Path, source: Path, output: str, lines: int | None = None) -> list[str]:
    """Run the program with home, cache and temporary folder of its own, and kill it after so many lines; what it printed."""
    places = {name: folder / name.lower() for name in ("HOME", "TMPDIR", "MOTET_CACHE_DIR")}
    for place in places.values():
        place.mkdir(parents=True)
    program = folder.with_name("program.py")
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(source), output]
    environment = os.environ | {name: str(place) for name, place in places.items()}
    told = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line.strip())
            if len(told) == lines:
                process.kill()
                break
    assert list(places["TMPDIR"].iterdir()) == []
    return told


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out/"])
def test_a_run_that_was_killed_goes_on_on_another_machine(s3: Any, tmp_path: Path, name: str) -> None:
    source = tmp_path / "rows.parquet"
    pq.write_table(table(1000), source)
    run_elsewhere(tmp_path / "whole", source, f"s3://bucket/whole/{name}")
    run_elsewhere(tmp_path / "first", source, f"s3://bucket/broken/{name}", lines=8)
    unfinished = "out/_unfinished" if name == "out/" else f"{name}.unfinished"
    assert f"{unfinished}/_manifest.json" in below(s3, "bucket/broken")
    assert all(path.startswith(f"{unfinished}/_") for path in below(s3, "bucket/broken"))
    *_, said = run_elsewhere(tmp_path / "second", source, f"s3://bucket/broken/{name}")
    assert re.fullmatch(r"resumed ([3-9]\d0|\d00)", said)
    whole = {path: s3.cat_file(f"bucket/whole/{path}") for path in below(s3, "bucket/whole")}
    assert whole == {path: s3.cat_file(f"bucket/broken/{path}") for path in below(s3, "bucket/broken")}
    assert [path for path in whole if path.endswith("failed.parquet")] == [
        "out.failed.parquet" if name == "out/" else f"{name}.failed.parquet"
    ]


def test_uploads_that_a_killed_run_left_are_given_up(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = {"machine": lease._machine(), "pid": os.getpid(), "started": "1", "run": "other"}
    s3.pipe_file("bucket/out.parquet.unfinished/_lock", json.dumps(dead).encode())
    for key in ("out.parquet", "out.parquet.unfinished/_parts/x", "out.parquet2"):
        s3.call_s3("create_multipart_upload", Bucket="bucket", Key=key)
    graph().run(table(), "s3://bucket/out.parquet")
    left = s3.call_s3("list_multipart_uploads", Bucket="bucket")["Uploads"]
    assert [upload["Key"] for upload in left] == ["out.parquet2"]
    assert below(s3, "bucket") == ["out.parquet"]


def test_large_outputs_are_uploaded_while_they_are_written(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.uploads.SMALL_BYTES", 1000)
    seen: list[list[str]] = []
    report = graph().run(
        table(5000), "s3://bucket/out.csv", batch_rows=500, progress=lambda *_: seen.append(below(s3, "bucket"))
    )
    assert report.rows == 5000
    assert seen == [["out.csv.unfinished/_lock"]] * 10
    assert below(s3, "bucket") == ["out.csv"]
    assert s3.cat_file("bucket/out.csv").decode() == "".join(
        ['"x","y"\n', *(f"{row},{row + 1}\n" for row in range(5000))]
    )


def test_a_run_that_fails_leaves_no_upload(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.uploads.SMALL_BYTES", 1000)
    monkeypatch.setattr(s3, "default_block_size", 5 << 20)
    monkeypatch.setattr("motet.io.sink.GROUP_BYTES", 1000)
    begun: list[str] = []

    def stop(done: int, *_: Any) -> None:
        begun.extend(each["Key"] for each in s3.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", []))
        if done == 5000:
            raise KeyError("stop")

    rows = table(5000).append_column("text", pa.array(["x" * 2000] * 5000))
    with pytest.raises(KeyError):
        graph().run(rows, "s3://bucket/out.csv", batch_rows=500, progress=stop)
    assert begun
    assert s3.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", []) == []
    assert all(path.startswith("out.csv.unfinished/_") for path in below(s3, "bucket"))


def test_a_folder_is_replaced_at_the_end(s3: Any) -> None:
    graph().run(table(), "s3://bucket/out/", part_rows=30)
    before = below(s3, "bucket/out")
    assert before == ["_finished.json", *(f"part-{place:05d}.parquet" for place in range(4))]
    seen: list[list[str]] = []

    def look(*_: Any) -> None:
        seen.append([name for name in below(s3, "bucket/out") if not name.startswith("_unfinished/")])

    graph().run(table(40), "s3://bucket/out/", part_rows=30, batch_rows=10, overwrite=True, progress=look)
    assert seen == [before] * 4
    assert below(s3, "bucket/out") == ["_finished.json", "part-00000.parquet", "part-00001.parquet"]
    assert json.loads(s3.cat_file("bucket/out/_finished.json")) == {"parts": 2, "rows": 40}
    with s3.open("bucket/out/part-00001.parquet") as file:
        assert pq.read_table(file)["x"].to_pylist() == list(range(30, 40))


def test_failures_of_an_earlier_run_go(s3: Any) -> None:
    s3.pipe_file("bucket/out.parquet.failed.parquet", b"of an earlier run")
    graph().run(table(), "s3://bucket/out.parquet")
    assert below(s3, "bucket") == ["out.parquet"]


def test_the_requests_of_a_small_run_are_few(s3: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="werkzeug"):
        graph().run(table(), "s3://bucket/out.parquet", batch_rows=1)
    assert len(caplog.records) <= 16


def test_a_second_run_is_refused(s3: Any) -> None:
    told: list[str] = []

    def second(*_: Any) -> None:
        if not told:
            with pytest.raises(RunError, match="another run is writing this output") as caught:
                graph().run(table(), "s3://bucket/out.parquet", overwrite=True)
            told.append(str(caught.value))

    graph().run(table(), "s3://bucket/out.parquet", progress=second)
    assert f"process {os.getpid()}" in told[0]
    assert below(s3, "bucket") == ["out.parquet"]


MEMORY = "memory://leases/out"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file system in memory, and leases of other machines that end soon."""
    monkeypatch.setattr(lease, "POLL_S", 0.001)
    monkeypatch.setattr(lease, "LEASE_S", 0.05)
    files = fsspec.filesystem("memory")
    if files.exists("/leases"):
        files.rm("/leases", recursive=True)
    return files


def other(beats: int = 0) -> bytes:
    return json.dumps({"run": "other", "host": "elsewhere", "machine": "another", "pid": 7, "beats": beats}).encode()


def test_what_a_dead_owner_on_another_machine_had_is_taken_over(quick: Any) -> None:
    quick.pipe_file("/leases/lock", other())
    taken = lease.OutputLease(quick, "/leases/lock", MEMORY)
    assert taken.take()
    taken.verify()
    taken.release()
    assert not quick.exists("/leases/lock")


def test_an_owner_on_another_machine_that_is_alive_keeps_it(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 60.0)
    quick.pipe_file("/leases/lock", other())
    beats = iter(range(1, 1_000_000))
    read = lease.OutputLease._read

    def read_and_beat(self: Any) -> Any:
        found = read(self)
        quick.pipe_file("/leases/lock", other(next(beats)))
        return found

    monkeypatch.setattr(lease.OutputLease, "_read", read_and_beat)
    with pytest.raises(RunError, match=r"out \(elsewhere, process 7\): another run is writing this output"):
        lease.OutputLease(quick, "/leases/lock", MEMORY).take()


def test_an_owner_whose_lease_was_taken_over_ends(quick: Any) -> None:
    def steal(*_: Any) -> None:
        quick.pipe_file("/leases/out.parquet.unfinished/_lock", other())

    with pytest.raises(RunError, match="another run has taken this output over"):
        graph().run(table(), "memory://leases/out.parquet", progress=steal)
    assert not quick.exists("/leases/out.parquet")


def test_an_owner_that_lives_beats(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.001)
    beaten = threading.Event()
    put = quick.pipe_file

    def see(path: str, data: bytes, **more: Any) -> None:
        put(path, data, **more)
        if json.loads(data)["beats"] > 3:
            beaten.set()

    monkeypatch.setattr(quick, "pipe_file", see)
    taken = lease.OutputLease(quick, "/leases/lock", MEMORY)
    assert not taken.take()
    assert beaten.wait(30)
    taken.release()
    assert not quick.exists("/leases/lock")


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.arrow", "out/"])
def test_a_run_to_a_store_in_memory_goes_on(quick: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("motet.engines.local.pending.COMMIT_SECONDS", 0.0)

    def stop(done: int, *_: Any) -> None:
        if done >= 50:
            raise KeyError("stop")

    with pytest.raises(KeyError):
        graph().run(table(), f"memory://leases/{name}", batch_rows=10, workers=1, progress=stop)
    names = below(quick, "/leases")
    assert names
    assert all("/_" in path for path in names)
    report = graph().run(table(), f"memory://leases/{name}", resume=True)
    assert report.resumed_rows == 50
    graph().run(table(), f"memory://leases/whole/{name}", batch_rows=10)
    for path in below(quick, "/leases/whole"):
        assert quick.cat_file(f"/leases/{path}") == quick.cat_file(f"/leases/whole/{path}")


@pytest.mark.parametrize("where", ["s3://bucket", "memory://leases"])
def test_names_that_look_like_patterns_are_names(s3: Any, quick: Any, where: str) -> None:
    files, root = (s3, "bucket") if where.startswith("s3") else (quick, "/leases")
    graph().run(table(), f"{where}/a [1]*?/o.csv")
    graph().run(table(), f"{where}/a [1]*?/p/", part_rows=50)
    graph().run(table(40), f"{where}/a [1]*?/p/", part_rows=50, overwrite=True)
    assert below(files, root) == ["a [1]*?/o.csv", "a [1]*?/p/_finished.json", "a [1]*?/p/part-00000.parquet"]


def test_a_run_with_nothing_to_go_on_with_says_so(quick: Any, caplog: pytest.LogCaptureFixture) -> None:
    graph().run(table(), "memory://leases/out.parquet", resume=True)
    assert caplog.messages == [
        "memory://leases/out.parquet: there is no unfinished run to go on with; this one begins anew"
    ]


def test_failures_and_reports_go_to_urls(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from motet.cli import cli

    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text(
        "motet: 1\nname: g\ninputs: {x: int32}\nnodes: {a: {map: motet.ops.columns.cast, inputs: [x], with: {dtype: int64}}}\noutputs: {y: a}\n"
    )
    pq.write_table(pa.table({"x": pa.array([1, None, 3], pa.int32())}), "in.parquet")
    command = ["run", "g.yaml", "--input", "in.parquet", "--overwrite", "--output"]
    given = [
        "s3://bucket/out.parquet",
        "--failed",
        "s3://bucket/bad/rows.jsonl",
        "--report",
        "s3://bucket/r/report.json",
    ]
    done = CliRunner().invoke(cli, [*command, *given])
    assert done.exit_code == 3, done.output
    assert below(s3, "bucket") == ["bad/rows.jsonl", "out.parquet", "r/report.json"]
    assert json.loads(s3.cat_file("bucket/bad/rows.jsonl"))["row"] == 1
    report = json.loads(s3.cat_file("bucket/r/report.json"))
    assert (report["rows"], report["failed"], report["failed_output"]) == (3, 1, "s3://bucket/bad/rows.jsonl")
    assert not Path("s3:").exists()
    assert "row 1: node input: InputError: " in done.stderr
    for option in ("--failed", "--report"):
        refused = CliRunner().invoke(cli, [*command, "other.parquet", option, "s3://nowhere/x.json"])
        assert (refused.exit_code, "there is no bucket 'nowhere'" in refused.stderr) == (2, True), refused.output
    assert not Path("other.parquet").exists()
    pq.write_table(pa.table({"x": pa.array([1], pa.int32())}), "in.parquet")
    done = CliRunner().invoke(cli, [*command, "s3://bucket/out.parquet", "--failed", "s3://bucket/bad/rows.jsonl"])
    assert done.exit_code == 0
    assert s3.cat_file("bucket/bad/rows.jsonl") == b""
