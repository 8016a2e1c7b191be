"""What an object store is asked: a listing tells of all files, and each small file is fetched once."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from helpers.number_graph import GRAPH
from helpers.object_store import ObjectStore
from motet.cli import cli
from motet.errors import InputError, RunError
from motet.io import open_source
from motet.io.files import look_for

FILES = 24


def parquet(*values: int) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"x": values}), out)
    return out.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    store = ObjectStore().start()
    yield store
    store.stop()


@pytest.fixture
def store(server: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text(GRAPH)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if not files.exists("bucket/in"):
        for number in range(FILES):
            files.pipe_file(f"bucket/in/p{number:02}.parquet", parquet(2 * number, 2 * number + 1))
            files.pipe_file(f"bucket/text/day={number}/p.csv", f"x\n{2 * number}\n{2 * number + 1}\n".encode())
            files.pipe_file(
                f"bucket/lines/p{number:02}.jsonl", f'{{"x":{2 * number}}}\n{{"x":{2 * number + 1}}}\n'.encode()
            )
        files.pipe_file("bucket/in/_temporary/0/p00.parquet", parquet(1))
    server.requests.clear()
    s3fs.S3FileSystem.clear_instance_cache()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    "what",
    [
        "s3://bucket/in/*.parquet", "s3://bucket/in/", "s3://bucket/in", "S3A://bucket/in/**", "s3://bucket/in/p??.parquet",
        "s3://bucket/text/*/*.csv", "s3://bucket/text/**/*.csv", "s3://bucket/lines/",
    ],
)  # fmt: skip
def test_a_folder_costs_one_listing_and_one_request_a_file(store: ObjectStore, what: str) -> None:
    told = CliRunner().invoke(cli, ["run", "g.yaml", "--input", what, "--output", "o.parquet"])
    assert told.exit_code == 0, told.output
    assert sorted(pq.read_table("o.parquet")["y"].to_pylist()) == list(range(2 * FILES))
    asked = Counter(request.split()[0] for request in store.requests)
    assert asked["GET"] == FILES
    assert asked["LIST"] <= 3  # the last one to see that each is still what it was
    assert asked["HEAD"] <= 2
    gets = [request for request in store.requests if request.startswith("GET")]
    assert max(Counter(gets).values()) == 1


def test_heads_are_read_side_by_side(store: ObjectStore) -> None:
    store.most, store.delay_s = 0, 0.02
    try:
        source: Any = open_source("s3://bucket/in/")
    finally:
        store.delay_s = 0
    assert source.num_rows == 2 * FILES
    assert 4 <= store.most <= 16


def test_one_file_is_asked_for_twice(store: ObjectStore) -> None:
    source: Any = open_source("s3://bucket/in/p03.parquet")
    assert [value for batch in source.batches(1) for value in batch["x"].to_pylist()] == [6, 7]
    source.fingerprint()
    assert [request for request in store.requests if request.startswith("GET")] == ["GET /bucket/in/p03.parquet"]
    assert len(store.requests) <= 3


def test_a_listing_is_never_an_old_one(store: ObjectStore) -> None:
    import boto3

    with pytest.raises(InputError, match="grows"):
        look_for("s3://bucket/grows/")
    client = boto3.client("s3", endpoint_url=store.url, region_name="us-east-1")
    for number in range(2):
        client.put_object(Bucket="bucket", Key=f"grows/{number}.parquet", Body=parquet(number))
        assert open_source("s3://bucket/grows/").num_rows == number + 1
    client.close()


def test_the_state_of_a_file_is_the_same_listed_or_asked_for(store: ObjectStore) -> None:
    for file in look_for("s3://bucket/in/").files[:3]:
        assert file.state_found() == file.state()


def test_large_files_are_read_in_parts(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.io.files._SMALL_BYTES", 100)
    monkeypatch.setattr("motet.io.remote._BLOCK_BYTES", 64)
    for what in ("s3://bucket/in/", "s3://bucket/text/", "s3://bucket/lines/"):
        source: Any = open_source(what)
        values = [int(value) for batch in source.batches(5) for value in batch["x"].to_pylist()]
        assert sorted(values) == list(range(2 * FILES))


def test_no_output_goes_over_an_input_of_a_store(store: ObjectStore) -> None:
    import s3fs

    files = s3fs.S3FileSystem()
    before = files.cat_file("bucket/in/p00.parquet")
    for source, output in (
        ("s3://bucket/in/p00.parquet", "s3a://bucket/in/p00.parquet"),
        ("S3://bucket/in/*.parquet", "s3://bucket/in/p00.parquet"),
        ("s3://bucket/in/", "s3://bucket/in/"),
        ("s3://bucket/in/p00.parquet", "s3://bucket/"),
        ("simplecache::s3://bucket/in/p00.parquet", "s3://bucket/in/p00.parquet"),
    ):
        told = CliRunner().invoke(cli, ["run", "g.yaml", "--input", source, "--output", output, "--overwrite"])
        assert (told.exit_code, "would write over it" in told.stderr) == (2, True), told.output
    for option in ("--failed", "--report"):
        asked = ["run", "g.yaml", "--input", "s3://bucket/in/p00.parquet", "--output", "o.parquet", option]
        assert CliRunner().invoke(cli, [*asked, "S3://bucket/in/p00.parquet"]).exit_code == 2
    assert files.cat_file("bucket/in/p00.parquet") == before


@pytest.mark.parametrize("what", ["s3://bucket/in/", "s3://bucket/text/", "s3://bucket/lines/"])
def test_files_that_are_too_many_to_hold_are_fetched_some_at_once(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("motet.io.content_cache._HELD_BYTES", 0)
    source: Any = open_source(what)
    store.requests.clear()
    store.most, store.delay_s = 0, 0.02
    try:
        values = [int(value) for batch in source.batches(5) for value in batch["x"].to_pylist()]
    finally:
        store.delay_s = 0
    assert sorted(values) == list(range(2 * FILES))
    gets = Counter(request for request in store.requests if request.startswith("GET"))
    assert max(gets.values()) == 1
    assert 4 <= store.most <= 16


def test_a_store_that_says_nothing_is_not_waited_for_forever(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motet.io.remote.SILENCE_S", 0.3)
    Path("i.csv").write_text("x\n1\n")
    store.delay_s = 2.0
    try:
        for source, output in (("s3://bucket/in/", "o.parquet"), ("i.csv", "s3://bucket/o.parquet")):
            told = CliRunner().invoke(cli, ["run", "g.yaml", "--input", source, "--output", output, "--format", "csv"])
            assert told.exit_code == 1, told.output
            assert "does not answer: nothing came within" in told.stderr
    finally:
        store.delay_s = 0


@pytest.mark.parametrize("what", ["s3://bucket/changes/", "s3://bucket/changes/p0*.csv"])
@pytest.mark.parametrize("change", ["grown", "replaced", "gone"])
def test_what_changes_while_it_is_read_is_noticed(store: ObjectStore, what: str, change: str) -> None:
    import s3fs

    files = s3fs.S3FileSystem()
    for number in range(FILES):
        files.pipe_file(f"bucket/changes/p{number:02}.csv", f"x\n{number}\n".encode())
    source: Any = open_source(what)
    source.check_unchanged()
    if change == "gone":
        files.rm_file("bucket/changes/p07.csv")
    else:
        files.pipe_file("bucket/changes/p07.csv", b"x\n7\n8\n" if change == "grown" else b"x\n9\n")
    with pytest.raises(RunError, match=r"changes/p07.csv: (has changed since the run began|is gone)"):
        source.check_unchanged()
