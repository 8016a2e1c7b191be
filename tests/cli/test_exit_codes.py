"""Exit codes tell what happened: wrong arguments are 2, data and disks that fail a run are 1, and a run that goes on says how."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.container import container
from helpers.number_graph import GRAPH


@pytest.fixture
def graph(tmp_path: Path) -> str:
    (tmp_path / "g.yaml").write_text(GRAPH)
    return str(tmp_path / "g.yaml")


def motet(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "motet.cli", *args], capture_output=True, text=True, check=False, timeout=60
    )


def run(graph: str, source: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return motet(
        "run",
        graph,
        "--input",
        str(source),
        "--output",
        str(source.parent / "out.parquet"),
        "--batch-rows",
        "500",
        *more,
    )


def test_a_part_that_is_damaged_inside_fails_the_run(graph: str, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    table = pa.table({"x": np.arange(5000) * 3})
    for part in ("a", "b"):
        pq.write_table(
            table, tmp_path / f"parts/{part}.parquet", row_group_size=500, compression="zstd", use_dictionary=False
        )
    place = pq.ParquetFile(tmp_path / "parts/b.parquet").metadata.row_group(6).column(0).data_page_offset
    data = bytearray((tmp_path / "parts/b.parquet").read_bytes())
    data[place + 60 : place + 160] = bytes(100)
    (tmp_path / "parts/b.parquet").write_bytes(data)
    with pytest.raises(OSError, match="ZSTD"):
        pq.read_table(tmp_path / "parts/b.parquet")
    done = run(graph, tmp_path / "parts")
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr


def test_a_stream_that_ends_too_early_fails_the_run(graph: str, tmp_path: Path) -> None:
    whole = gzip.compress(
        b"x\n" + b"".join(b"%d\n" % row for row in np.random.default_rng(0).integers(0, 1 << 60, 50_000))
    )
    (tmp_path / "in.csv.gz").write_bytes(whole[: len(whole) // 2])
    done = run(graph, tmp_path / "in.csv.gz")
    assert (done.returncode, done.stderr.count("cannot be read any further")) == (1, 1), done


@pytest.mark.parametrize("what", ["graph", "input", "option", "column"])
def test_what_is_asked_wrongly_is_2(graph: str, tmp_path: Path, what: str) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x" if what != "column" else "z": [1, 2]}), source)
    if what == "graph":
        Path(graph).write_text("motet: 1\nnodes: {}\n")
    if what == "input":
        source = tmp_path / "nothing.parquet"
    assert run(graph, source, *["--nonsense"][: what == "option"]).returncode == 2


def test_a_disk_that_is_full_names_the_output_and_how_to_go_on(graph: str, tmp_path: Path) -> None:
    """The disk for temporary files of a container has 2 MiB."""
    table = pa.table({"x": np.random.default_rng(0).integers(0, 1 << 50, 400_000)})
    pq.write_table(table, tmp_path / "in.parquet")
    output = str(tmp_path / "temporary/out.parquet")
    args = ["run", graph, "--input", str(tmp_path / "in.parquet"), "--output", output]
    code, _, err = container(tmp_path, *args).ended()
    assert code == 1
    assert "No space left on device" in err
    assert "--resume goes on with what is finished" in err
    assert str(tmp_path / "temporary") in err


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n", 2, "no server of Motet"),
        (b"", 1, "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 1, "cannot be reached"),
    ],
    ids=["the port of gRPC", "nothing", "an answer that is cut off"],
)
def test_what_is_asked_and_is_no_server_is_told_without_a_traceback(answer: bytes, code: int, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_one() -> None:
            with listening.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        answering = threading.Thread(target=answer_one)
        answering.start()
        done = motet("status", f"http://127.0.0.1:{listening.getsockname()[1]}", "--key", "k")
        answering.join()
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert told in done.stderr
