"""Measure one graph with its model in three places, and a graph of a CPU stage and an accelerator stage, here and on Beam.

    python examples/placements/run.py [--seconds 2] [--rows 2000]

    placements.yaml   the model ─┬─ in the worker
                                 ├─ in processes of its own
                                 └─ behind `motet serve` (server.yaml): Open Inference Protocol over HTTP, over gRPC
    stages.yaml       files of pictures ──► pixels, a first look (CPU) ──► the network (accelerator)

Everything happens in a temporary folder and on free ports, and ends with this program.
Needs `pip install 'motet[onnx,image,serve,client,grpc,beam]'`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE: Final = Path(__file__).parent.resolve()
sys.path.insert(0, str(HERE.parent / "fashion"))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

import data  # noqa: E402  (examples/fashion/data.py)
import motet as mt  # noqa: E402
from motet.client import Client  # noqa: E402
from motet.ops import image as images_of  # noqa: E402

START_S: Final = 60
BULK_ROWS: Final = 512
"""Rows of a call in bulk."""
CALLERS: Final = 2
"""Threads that call in bulk, and processes of a model that has its own."""
ROUNDS: Final = 3
"""How often all are measured in turn; the median is shown."""
MODELS: Final = ("linear", "cnn", "rules")
PLACES: Final = ("worker", "process", "http", "grpc")
WHY: Final = """
In the worker nothing is copied and nobody waits for a queue: best for models that fit there, above all for small ones.
A process of its own costs a copy of each row. It wins for Python, which holds the interpreter's lock (rules), and for code
that may crash, leak or get stuck.
A server costs each row's bytes over the network, twice. It wins for models that compute much for few bytes, where it has
what workers lack: an accelerator, or memory for one copy instead of one for each worker.
"""


@dataclass(frozen=True)
class Speed:
    """What was measured of a model in a place, once a round.

    Attributes:
        rows_per_s: rows a second, of calls with `BULK_ROWS` rows, `CALLERS` at a time.
        call_ms: how long one of these takes, in milliseconds.
        row_ms: how long a call with one row takes, one at a time, in milliseconds.
    """

    rows_per_s: list[float] = field(default_factory=list)
    call_ms: list[float] = field(default_factory=list)
    row_ms: list[float] = field(default_factory=list)

    @property
    def row_us(self) -> float:
        """Microseconds a row in bulk."""
        return 1e6 / statistics.median(self.rows_per_s)


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, str]]:
    """`motet serve` until the block ends; gives its addresses over HTTP and gRPC."""
    command = [sys.executable, "-m", "motet.cli", "serve", str(HERE / "server.yaml"), "--port", "0", "--grpc-port", "0"]
    log = folder / "serve.log"
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield _addresses(process, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _addresses(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        said = log.read_text()
        if found := re.search(r"http://([\w.]+:\d+), grpc on port (\d+)", said):
            with Client(f"http://{found[1]}") as client:
                if client.ready():
                    return found[1], f"127.0.0.1:{found[2]}"
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {log.read_text()}")


def placed(http: str, grpc: str) -> dict[tuple[str, str], mt.Graph]:
    """The graph with each model in each place."""
    graph = mt.load(HERE / "placements.yaml")
    local = mt.load(HERE / "server.yaml").models
    found = {}
    for name in MODELS:
        parts: dict[str, Any] = {"inputs": local[name].inputs, "outputs": local[name].outputs}
        process = mt.Model(local[name].uri, placement="process", replicas=CALLERS, **parts)
        found[name, "worker"] = graph.with_models(net=local[name])
        found[name, "process"] = graph.with_models(net=process)
        found[name, "http"] = graph.with_models(net=f"oip+http://{http}/v2/models/server.{name}")
        found[name, "grpc"] = graph.with_models(net=f"oip+grpc://{grpc}/server.{name}")
    return found


def bulk(graph: mt.Graph, images: Any, seconds: float) -> tuple[float, float]:
    """Rows a second, and milliseconds a call, of calls with many rows."""
    end, batch = time.perf_counter() + seconds, {"image": images[:BULK_ROWS]}

    def call(_: int) -> list[float]:
        took = []
        while not took or time.perf_counter() < end:
            began = time.perf_counter()
            graph(batch)
            took.append(time.perf_counter() - began)
        return took

    began = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        took = [each for calls in pool.map(call, range(CALLERS)) for each in calls]
    return len(took) * len(batch["image"]) / (time.perf_counter() - began), 1000 * statistics.median(took)


def single(graph: mt.Graph, images: Any, seconds: float) -> float:
    """Milliseconds a call, of calls with one row."""
    took, end, rows = list[float](), time.perf_counter() + seconds, iter(range(10**9))
    while len(took) < 10 or time.perf_counter() < end:
        row = next(rows) % len(images)
        began = time.perf_counter()
        graph({"image": images[row : row + 1]})
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took)


def measured(graphs: dict[tuple[str, str], mt.Graph], images: Any, seconds: float) -> dict[tuple[str, str], Speed]:
    """Each graph, in turn; all of a model's have to give the same answers."""
    for name in MODELS:
        answers = [graphs[name, place]({"image": images[:64]})["label"] for place in PLACES]
        assert all(np.array_equal(answers[0], each) for each in answers), f"{name} answers otherwise somewhere"
    speeds = {key: Speed() for key in graphs}
    for _ in range(ROUNDS):
        for key, graph in graphs.items():
            rows_per_s, call_ms = bulk(graph, images, seconds / ROUNDS / 2)
            speeds[key].rows_per_s.append(rows_per_s)
            speeds[key].call_ms.append(call_ms)
            speeds[key].row_ms.append(single(graph, images, seconds / ROUNDS / 2))
    return speeds


def show(speeds: dict[tuple[str, str], Speed]) -> None:
    """Print what was measured."""
    print(f"{'model':8}{'place':9}{'rows/s':>10}{f'ms a call of {BULK_ROWS}':>20}{'ms a row':>12}")
    for (name, place), speed in speeds.items():
        rows_per_s, call_ms, row_ms = map(statistics.median, (speed.rows_per_s, speed.call_ms, speed.row_ms))
        print(f"{name:8}{place:9}{rows_per_s:>10,.0f}{call_ms:>20.2f}{row_ms:>12.2f}")


def explain(speeds: dict[tuple[str, str], Speed], row_bytes: int) -> None:
    """Print when which place wins, from what was measured."""
    print(f"\n{row_bytes:,} bytes go to the model and come back for each row; what it computes for them decides.")
    for name in MODELS:
        here = speeds[name, "worker"]
        print(f"{name}: {here.row_us:.1f} us a row in the worker, in bulk")
        for place in PLACES[1:]:
            print(f"  {place + ':':9}{_against(here, speeds[name, place], remote=place != 'process')}")
    print(WHY)


def _against(here: Speed, there: Speed, *, remote: bool) -> str:
    """A place against the worker, and by how much its machine must be faster to win."""
    ratios = [other / own for own, other in zip(here.rows_per_s, there.rows_per_s, strict=True)]
    if min(ratios) <= 1 <= max(ratios):
        return "no slower and no faster that these rounds agree on"
    ratio, cost = statistics.median(ratios), there.row_us - here.row_us
    if ratio > 1:
        return f"{ratio:.2f} times as fast, with cores that the worker does not use"
    if not remote:
        return f"{1 / ratio:.2f} times as slow"
    if cost >= here.row_us:
        return f"{1 / ratio:.2f} times as slow; the way alone takes longer than the model, so no server can win"
    needed = here.row_us / (here.row_us - cost)
    return f"{1 / ratio:.2f} times as slow; wins on a machine that computes {needed:.1f} times as fast, or more"


def write_files(images: Any, path: Path) -> None:
    """The pictures at twice their size, as files of PNG, a row each."""
    large = np.kron(images, np.ones((1, 2, 2), np.uint8))
    pq.write_table(pa.table({"picture": pa.array(list(images_of.encode(large)), pa.binary())}), path)


def stages(images: Any, folder: Path) -> None:
    """Play the graph of two stages in this process and on Beam, and print what each stage took."""
    path, pictures = folder / "stages.yaml", folder / "pictures.parquet"
    write_files(images, pictures)
    graph = mt.load(HERE / "stages.yaml")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        parts = {"uri": str(HERE / graph.models["cnn"].uri), "resources": graph.models["cnn"].resources}
        graph = graph.with_models(cnn=mt.Model(**parts, device="cuda"))
        print("The network of stages.yaml runs on the GPU of this machine.")
    else:
        print("There is no accelerator here: the network of stages.yaml, which asks for one, runs on the CPU.")
    graph.save(path)
    print(_stages_of(path))
    local = graph.run(pictures, folder / "local.parquet")
    print(f"local: {local.rows_per_second:,.0f} rows/s")
    seconds = {node.name: node.seconds_compute for node in local.nodes}
    cpu = sum(seconds[name] for name in ("small", "pixels", "look"))
    rest, rows = seconds["scores"], local.rows
    print(
        f"  the CPU stage takes {1e6 * cpu / rows:.0f} us a row, the network {1e6 * rest / rows:.0f}: one that computes ten"
    )
    print(f"  times as fast, on an accelerator, keeps {10 * cpu / rest:.1f} cores busy that read pictures for it.")
    for name, options in (("two stages", []), ("--one-stage", ["--one-stage"])):
        report = graph.run(pictures, folder / f"{name}.parquet", engine="beam", engine_options=options)
        assert pq.read_table(folder / f"{name}.parquet").equals(pq.read_table(folder / "local.parquet"))
        print(f"beam, {name}: {report.rows_per_second:,.0f} rows/s, the same answers")
    print(
        "  Between stages pixels are written and read, 3,136 bytes a row. That pays where few machines have an accelerator"
    )
    print("  and many read pictures for them; where each machine has both, one stage does it.")


def _stages_of(path: Path) -> str:
    """What `motet check --engine beam` says of stages."""
    command = [sys.executable, "-m", "motet.cli", "check", str(path), "--engine", "beam"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return f"$ motet check stages.yaml --engine beam\n...\n{said[said.index('stages on beam') :].rstrip()}"


def main(seconds: float, rows: int) -> None:
    images, _ = data.load("test")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder) as addresses:
            graphs = placed(*addresses)
            speeds = measured(graphs, images[:rows], seconds)
            show(speeds)
            explain(speeds, 4 * 28 * 28 + 4 * 10)
            for graph in graphs.values():
                graph.close()
        with contextlib.redirect_stderr(io.StringIO()):
            stages(images[:rows], folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model in each place")
    parser.add_argument("--rows", type=int, default=2000, help="pictures, at most 10000")
    options = parser.parse_args()
    main(options.seconds, options.rows)
