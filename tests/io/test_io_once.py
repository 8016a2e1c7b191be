"""What can be read once (standard input, pipes) and what is compressed, in every format."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import motet.io.once as once
from helpers.number_graph import GRAPH
from motet.cli import cli
from motet.errors import InputError
from motet.io import open_source, open_writer

ROWS = 3000
TABLE = pa.table({"x": range(ROWS), "k": [f"row {row}" for row in range(ROWS)]})


def contents() -> dict[str, bytes]:
    stream, file, parquet = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with pa.ipc.new_stream(stream, TABLE.schema) as out:
        out.write_table(TABLE, max_chunksize=100)
    with pa.ipc.new_file(file, TABLE.schema) as out:
        out.write_table(TABLE, max_chunksize=100)
    pq.write_table(TABLE, parquet, row_group_size=100)
    text = "".join(f"{row},row {row}\n" for row in range(ROWS))
    lines = "".join(f'{{"x":{row},"k":"row {row}"}}\n' for row in range(ROWS))
    return {
        "csv": f"x,k\n{text}".encode(),
        "jsonl": lines.encode(),
        "parquet": parquet.getvalue(),
        "arrow": file.getvalue(),
        "arrow stream": stream.getvalue(),
    }


CONTENTS = contents()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / ".cache"))
    Path("g.yaml").write_text(GRAPH)
    return tmp_path


def run(source: str, *more: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["run", "g.yaml", "--input", source, "--output", "o.parquet", *more], input=stdin)


def write_to(path: str, data: bytes) -> threading.Thread:
    thread = threading.Thread(target=lambda: Path(path).write_bytes(data))
    thread.start()
    return thread


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("workers", ["1", "3"])
def test_standard_input_is_read_in_every_format(kind: str, workers: str) -> None:
    told = run("-", "--format", kind.split()[0], "--batch-rows", "70", "--workers", workers, stdin=CONTENTS[kind])
    assert told.exit_code == 0, told.output
    assert pq.read_table("o.parquet").select(["k", "y"]).to_pydict() == {
        "k": TABLE["k"].to_pylist(),
        "y": [float(row) for row in range(ROWS)],
    }


@pytest.mark.parametrize("kind", CONTENTS)
def test_pipes_are_read_by_name(kind: str) -> None:
    name = f"pipe.{kind.split()[0]}"
    os.mkfifo(name)
    thread = write_to(name, CONTENTS[kind])
    told = run(name, "--batch-rows", "70")
    thread.join()
    assert told.exit_code == 0, told.output
    assert pq.read_table("o.parquet")["y"].to_pylist() == list(range(ROWS))


def motet(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "motet.cli", "run", "g.yaml", "--output", "o.parquet", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("source", ["-", "/dev/stdin", "/dev/fd/0"])
def test_a_process_reads_its_standard_input(source: str) -> None:
    done = motet("--input", source, "--format", "csv", input=CONTENTS["csv"])
    assert done.returncode == 0, done.stderr
    assert pq.read_table("o.parquet").num_rows == ROWS
    Path("i.csv").write_bytes(CONTENTS["csv"])
    with open("i.csv", "rb") as file:
        done = motet("--input", source, "--format", "csv", "--overwrite", stdin=file)
    assert done.returncode == 0, done.stderr
    assert pq.read_table("o.parquet").num_rows == ROWS


def test_what_standard_input_comes_from_is_not_written_over() -> None:
    Path("i.csv").write_bytes(CONTENTS["csv"])
    command = [sys.executable, "-m", "motet.cli", "run", "g.yaml", "--input", "-", "--format", "csv"]
    with open("i.csv", "rb") as file:
        done = subprocess.run(
            [*command, "--output", "i.csv", "--overwrite"], stdin=file, capture_output=True, timeout=60, check=False
        )
    assert (done.returncode, b"would write over it" in done.stderr) == (2, True)
    assert Path("i.csv").read_bytes() == CONTENTS["csv"]


def test_standard_input_that_is_closed_is_said() -> None:
    done = motet("--input", "-", "--format", "csv", preexec_fn=lambda: os.close(0))
    assert done.returncode == 2
    assert b"standard input: is closed" in done.stderr


def test_a_run_that_waits_for_input_ends_by_a_signal() -> None:
    command = [
        sys.executable,
        "-m",
        "motet.cli",
        "run",
        "g.yaml",
        "--input",
        "-",
        "--format",
        "csv",
        "--output",
        "o.csv",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(CONTENTS["csv"] * 4)  # more than a pipe holds: it is being read
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, lambda data: bytes(pa.Codec("zstd").compress(data))]
)
def test_compressed_standard_input_is_told_by_its_first_bytes(kind: str, compress: Any) -> None:
    told = run("-", "--format", kind, stdin=compress(CONTENTS[kind]))
    assert told.exit_code == 0, told.output
    assert pq.read_table("o.parquet").num_rows == ROWS


def test_the_format_must_be_named() -> None:
    told = run("-", stdin=CONTENTS["csv"])
    assert told.exit_code == 2
    assert "name one with --format" in told.stderr


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_run_over_what_is_read_once_is_not_gone_on_with(kind: str) -> None:
    with pytest.raises(InputError, match="can be read only once, so a run over it cannot be resumed"):
        piped(kind).fingerprint()


def piped(kind: str) -> Any:
    name = f"p{len(list(Path().iterdir()))}.{kind}"
    os.mkfifo(name)
    thread = write_to(name, CONTENTS[kind])
    source: Any = open_source(name)
    for batch in source.batches(1000):
        assert len(batch) == 1000
    thread.join()
    return source


def test_csv_of_any_length_is_read_as_it_comes_and_nothing_is_kept_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "_HEAD_BYTES", 1 << 20)
    monkeypatch.setattr(once, "SPOOL_BYTES", 0)
    os.mkfifo("p.csv")
    body = CONTENTS["csv"][4:]
    thread = write_to("p.csv", b"x,k\n" + body * 60)
    source: Any = open_source("p.csv")
    assert source.reads_again is False
    assert sum(len(batch) for batch in source.batches(999)) == 60 * ROWS
    thread.join()
    with pytest.raises(InputError, match="can be read only once"):
        list(source.batches(999))


def test_too_much_for_a_temporary_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "SPOOL_BYTES", 1000)
    told = run("-", "--format", "parquet", stdin=CONTENTS["parquet"])
    assert told.exit_code == 2
    assert "standard input: is more than 0 GiB, which is the most that is put into a temporary file" in told.stderr


def test_no_room_for_a_temporary_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(once.tempfile, "TemporaryFile", lambda prefix, dir: Full())  # type: ignore[attr-defined]
    told = run("-", "--format", "parquet", stdin=CONTENTS["parquet"])
    assert told.exit_code == 2
    assert "No space left on device" in told.stderr
    assert "TMPDIR" in told.stderr


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_pipe_that_nobody_writes_to_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(once, "WRITER_S", 0.2)
    monkeypatch.setattr(once, "_LOOK_MS", 20)
    os.mkfifo(f"p.{kind}")
    told = run(f"p.{kind}")
    assert told.exit_code == 2
    assert f"p.{kind}: is a pipe that nobody has written to for 0 s" in told.stderr


def test_a_slow_writer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "WRITER_S", 0.1)
    monkeypatch.setattr(once, "_LOOK_MS", 10)
    looked = threading.Event()
    plain = once._Pipe._of_somebody

    def of_somebody(self: Any, size: int) -> bytes:
        looked.set()
        return plain(self, size)

    monkeypatch.setattr(once._Pipe, "_of_somebody", of_somebody)
    os.mkfifo("p.csv")

    def write() -> None:
        with open("p.csv", "wb") as file:
            looked.wait(60)
            file.write(CONTENTS["csv"])

    thread = threading.Thread(target=write)
    thread.start()
    told = run("p.csv")
    thread.join()
    assert told.exit_code == 0, told.output


def test_a_pipe_in_a_folder_is_left_out_and_it_is_said() -> None:
    Path("in").mkdir()
    Path("in/a.csv").write_bytes(CONTENTS["csv"])
    os.mkfifo("in/b.csv")
    for what in ("in", "in/*", "in/**/*.csv"):
        source: Any = open_source(what)
        assert sum(len(batch) for batch in source.batches(999)) == ROWS
        assert source.left_out == "1 file left out: 1 no regular file"
    os.mkfifo("alone.csv")
    Path("in/a.csv").unlink()
    with pytest.raises(InputError, match="there is nothing to read but 1 file left out: 1 no regular file"):
        open_source("in")


PEERS: dict[str, Any] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": lambda data: bytes(pa.Codec("zstd").compress(data)),
    "lz4": lambda data: bytes(pa.Codec("lz4").compress(data)), "br": lambda data: bytes(pa.Codec("brotli").compress(data)),
}  # fmt: skip
UNPACK = {"gz": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}


@pytest.mark.parametrize("suffix", PEERS)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_compressed_text_is_read_and_what_is_damaged_is_an_error_with_its_name(suffix: str, kind: str) -> None:
    packed, name = PEERS[suffix](CONTENTS[kind]), f"i.{kind}.{suffix}"
    Path(name).write_bytes(packed)
    assert [value for batch in open_source(name).batches(999, ["k"]) for value in batch["k"].to_pylist()] == TABLE[
        "k"
    ].to_pylist()
    for damaged in (packed[: len(packed) // 2], packed[:-1], packed + b"something else", CONTENTS[kind]):
        Path(name).write_bytes(damaged)
        told = run(name)
        assert told.exit_code in (1, 2)
        assert f"error: {name}: " in told.stderr
        assert not Path("o.parquet").exists()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_xz_may_have_several_streams_and_zeros_between(kind: str) -> None:
    half = len(CONTENTS[kind]) // 2
    one, two = (lzma.compress(part) for part in (CONTENTS[kind][:half], CONTENTS[kind][half:]))
    Path(f"i.{kind}.xz").write_bytes(one + b"\0" * 8 + two + b"\0" * 4)
    assert sum(len(batch) for batch in open_source(f"i.{kind}.xz").batches(999)) == ROWS


@pytest.mark.parametrize("suffix", UNPACK)
def test_what_is_written_is_read_by_others(suffix: str) -> None:
    for kind in ("csv", "jsonl"):
        writer = open_writer(f"o.{kind}.{suffix}", TABLE.schema)
        for batch in TABLE.to_batches(100):
            writer.write(batch)
        writer.close()
        text = UNPACK[suffix](Path(f"o.{kind}.{suffix}").read_bytes()).decode()
        assert text.splitlines()[-1] == ('2999,"row 2999"' if kind == "csv" else '{"x":2999,"k":"row 2999"}')
        assert len(text.splitlines()) == ROWS + (kind == "csv")
