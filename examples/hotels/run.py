"""Serve the hotel's prices to spiky traffic while a bulk run takes what is left, and show the pool breathe.

    python examples/hotels/run.py [--seconds 60] [--rate 60] [--stay]

    train.py ──► models/         hotels.yaml ──► motet serve ◄── quiet, spike, night: motet.client
                                      └────────► motet run   ◄── the bookings, again and again
                                                    └──── both borrow from one pool: a folder

Everything happens on a free port and in a temporary folder, and ends with this program; `--stay` leaves the server up until
Ctrl-C. Needs `pip install 'motet[sklearn,client]' pandas`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import traffic

from train import MODELS, markets, train

HERE = Path(__file__).parent.resolve()
NEEDED: Final = ("sklearn", "joblib", "pandas", "httpx")
START_S: Final = 120
BULK_ROWS: Final = 256
"""Rows of a batch: bulk gives way between two, so they are short."""


def check_installed() -> None:
    """See that what the example needs is installed; it installs nothing itself."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"{', '.join(missing)} cannot be imported: pip install 'motet[sklearn,client]' pandas")


def trained(columns: dict[str, Any]) -> None:
    """Have all models, trained where one is missing."""
    wanted = [*markets(columns), "rest", "usual"]
    if all((MODELS / f"{name}.joblib").is_file() for name in wanted):
        return
    began = time.monotonic()
    right = train(MODELS)
    print(f"trained {len(wanted)} models in {time.monotonic() - began:.1f} s, halfway R2 {right['halfway_r2']:.3f}")


def bookings(columns: dict[str, Any], path: Path, times: int) -> None:
    """Write the bookings, so many times over, for the bulk run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: column for name, column in columns.items() if name != "price"})
    pq.write_table(pa.concat_tables([table] * times), path)


@contextmanager
def server(folder: Path, port: int) -> Iterator[str]:
    """`motet serve` until the block ends; gives its URL. It shares `folder/pool` with whoever else names it."""
    (folder / "serve.yaml").write_text(f"pool: {{folder: {folder / 'pool'}}}\n")
    command = [sys.executable, "-m", "motet.cli", "serve", str(HERE / "hotels.yaml"), "--grpc-port", "-1"]
    command += ["--config", str(folder / "serve.yaml"), "--port", str(port)]
    log = folder / "serve.log"
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if found := re.search(r"(http://\S+?:\d+)", log.read_text()):
            return found[1]
        if process.poll() is not None:
            raise SystemExit(f"the server ended: {log.read_text()}")
        time.sleep(0.05)
    raise SystemExit(f"the server did not start within {START_S} s: {log.read_text()}")


@contextmanager
def bulk(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`motet run` over the bookings, in turns with what else shares the pool; stopped where it is at the end of the block."""
    command = [sys.executable, "-m", "motet.cli", "run", str(HERE / "hotels.yaml"), "--quiet", "--overwrite"]
    command += ["--input", str(folder / "bookings.parquet"), "--output", str(folder / "prices.parquet")]
    command += ["--pool", str(folder / "pool"), "--batch-rows", str(BULK_ROWS), "--workers", "1"]
    with (folder / "run.log").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        process.wait(60)


async def play(url: str, columns: dict[str, Any], options: argparse.Namespace) -> traffic.Seen:
    """Drive the traffic, and look at the server the while."""
    load = traffic.Load(url, columns, np.random.default_rng(options.seed))
    await load.until_ready(START_S)
    return await load.drive(traffic.day(options.seconds, options.rate))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Spiky traffic and a bulk run on one pool.")
    parser.add_argument("--seconds", type=float, default=60, help="of the traffic: two spikes and a night")
    parser.add_argument("--rate", type=float, default=60, help="bookings a second in a spike")
    parser.add_argument("--port", type=int, default=0, help="of the server; a free one where nothing is said")
    parser.add_argument(
        "--bulk-times", type=int, default=20, help="how many times over the bookings are priced in bulk"
    )
    parser.add_argument("--stay", action="store_true", help="leave the server up")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    check_installed()
    from hotel_data import PackageError, load

    try:
        columns = load()
    except PackageError as error:
        raise SystemExit(str(error)) from None
    trained(columns)
    with tempfile.TemporaryDirectory(prefix="motet-hotels-") as name:
        folder = Path(name)
        bookings(columns, folder / "bookings.parquet", options.bulk_times)
        with server(folder, options.port) as url:
            print(f"serving at {url}")
            with bulk(folder) as running:
                seen = asyncio.run(play(url, columns, options))
                if running.poll():
                    print(f"the bulk run ended: {(folder / 'run.log').read_text()}")
            print(seen.table())
            print(seen.summary())
            if options.stay:
                print(f"the page is at {url}; Ctrl-C ends the server")
                with suppress(KeyboardInterrupt):
                    signal.pause()


if __name__ == "__main__":
    main()
