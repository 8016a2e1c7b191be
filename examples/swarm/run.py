"""Start both servers of the example, ask the gateway, and show what it kept.

    python examples/swarm/run.py [--rows 200]

    swarm.yaml ──► motet serve ◄── motet.client (this program)
                     │    └── predictions.db: a record for each row and model
                     └─ mlp ──► tfserving_server.py

Everything happens in a temporary folder and on free ports, and ends with this program.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent.resolve()
sys.path.insert(0, str(HERE.parent / "fashion"))

import data  # noqa: E402  (examples/fashion/data.py)
from motet.client import Client  # noqa: E402

START_S = 60
BATCH_ROWS = 50


@contextmanager
def started(command: list[str], log: Path, ready: str) -> Iterator[str]:
    """Run a server until the block ends; gives what `ready` found in what it printed first."""
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        try:
            yield _found(process, log, ready)
        finally:
            process.terminate()
            process.wait(30)


def _found(process: subprocess.Popen[bytes], log: Path, ready: str) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if match := re.search(ready, log.read_text()):
            return match[1]
        if process.poll() is not None:
            raise SystemExit(f"a server ended: {log.read_text()}")
        time.sleep(0.05)
    raise SystemExit(f"a server did not start within {START_S} s: {log.read_text()}")


def topology(folder: Path, tfs_port: str) -> Path:
    """The example's file for these ports, its models where they are."""
    text = (HERE / "swarm.yaml").read_text().replace("127.0.0.1:8501", f"127.0.0.1:{tfs_port}")
    path = folder / "swarm.yaml"
    path.write_text(text.replace("../fashion", str(HERE.parent / "fashion")))
    return path


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        far = [sys.executable, str(HERE / "tfserving_server.py"), "--port", "0"]
        with started(far, folder / "far.log", r"http://127\.0\.0\.1:(\d+)") as tfs_port:
            graph = str(topology(folder, tfs_port))
            gateway = [sys.executable, "-m", "motet.cli", "serve", graph, "--port", "0", "--grpc-port", "-1"]
            with started(gateway, folder / "gateway.log", r"(http://\S+?:\d+)") as url, Client(url) as client:
                ask(client, rows)
        show(folder / "predictions.db")  # now that the gateway has ended, all is written


def ask(client: Client, rows: int) -> None:
    """Ask for pictures of the test set, several in a request."""
    images, labels = data.load("test")
    _wait_until_ready(client)
    began, right = time.monotonic(), 0
    for first in range(0, rows, BATCH_ROWS):
        end = min(first + BATCH_ROWS, rows)
        answer = client.infer("swarm", {"image": images[first:end]}, request_id=f"rows-{first}")
        right += int((answer["label"] == labels[first:end]).sum())
    print(f"{rows} rows answered in {time.monotonic() - began:.2f} s, {right / rows:.1%} right")
    print("one row:", client.predict("swarm", {"image": images[0]}))


def _wait_until_ready(client: Client) -> None:
    end = time.monotonic() + START_S
    while not client.ready():
        if time.monotonic() > end:
            raise SystemExit(f"the gateway was not ready within {START_S} s")
        time.sleep(0.05)


def show(path: Path) -> None:
    """Print what the gateway kept of each model."""
    with sqlite3.connect(path) as base:
        counts = base.execute("SELECT member, COUNT(*) FROM predictions GROUP BY member ORDER BY member").fetchall()
        one = base.execute("SELECT request, row, member, version, outputs FROM predictions LIMIT 1").fetchone()
    base.close()
    print("kept:", ", ".join(f"{count} of {member}" for member, count in counts))
    print("one of them:", one)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200, help="pictures that are asked for, at most 10000")
    main(parser.parse_args().rows)
