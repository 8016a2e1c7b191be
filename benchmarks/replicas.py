"""What replicas in other processes cost and bring: `python -m benchmarks.replicas`.

    transport   an array there and back: through shared memory, and pickled through a `multiprocessing.Pipe`
    bulk        a Python model that holds the interpreter's lock, in `motet run`: in threads, and in two processes
    remote      a model behind a server's address, over HTTP and gRPC, against the same one in this process

Everything that is compared is played in turn, in the same run. `--only` chooses.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.jobs import MODELS
from benchmarks.measure import ROOT, measure
from benchmarks.tables import ratio, shown, spread, table

__all__ = ["main"]

SIZES: Final = {"8 B": 8, "64 KB": 2**16, "1 MB": 2**20, "8 MB": 2**23}
CALLS: Final = 10
TEXTS, TEXT_LETTERS = 20_000, 4_000
BATCHES: Final = (1, 32, 256)
START_S: Final = 60.0
TIMEOUT_S: Final = 300.0
SAYS: Final = re.compile(r"on (http://(\S+):\d+), grpc on port (\d+)")
Ask = Callable[[Any], Any]


@click.command()
@click.option("--only", type=click.Choice(["transport", "bulk", "remote"]), multiple=True)
@click.option("--rounds", default=40, show_default=True, help="Turns of transport and remote; bulk has a tenth.")
@click.option("--output", type=click.Path(path_type=Path), help="Where every figure is written, as JSON.")
def main(only: tuple[str, ...], rounds: int, output: Path | None) -> None:
    """Compare replicas in this process, in others and behind an address."""
    parts = {"transport": transport, "bulk": bulk, "remote": remote}
    figures = {}
    for name in only or parts:
        print(f"\n{name}\n")
        figures[name] = parts[name](max(1, rounds))
    if output is not None:
        output.write_text(json.dumps(figures, indent=1) + "\n")


def transport(rounds: int) -> dict[str, Any]:
    """Arrays there and back."""
    ways: dict[str, Ask] = {}
    with _replica("echo") as echo, _replica("fresh") as fresh, _piped() as piped:
        ways["shared memory, given back as it came"] = echo
        ways["shared memory, written anew"] = fresh
        ways["pickled through a pipe"] = piped
        ways["two copies in this process alone"] = lambda x: x.copy().copy()
        return {size: _transport(ways, np.random.default_rng(0).random(num_bytes // 8), rounds, size)
                for size, num_bytes in SIZES.items()}  # fmt: skip


def _transport(ways: Mapping[str, Ask], array: Any, rounds: int, size: str) -> dict[str, Any]:
    spent_us = _in_turn({name: lambda ask=ask: ask(array) for name, ask in ways.items()}, rounds, 1e6)
    rows = []
    pipe = spent_us["pickled through a pipe"]
    for name, each in spent_us.items():
        rows.append([name, shown(spread(each), ".0f"), shown(ratio(each, pipe), ".1f")])
    print(table([f"{size} there and back", "us a call", "times as fast as the pipe"], rows) + "\n")
    return spent_us


def _in_turn(works: Mapping[str, Callable[[], Any]], rounds: int, scale: float) -> dict[str, list[float]]:
    """The median of a few calls of each, once a round."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            calls = []
            for _ in range(CALLS):
                began = time.perf_counter()
                kept = work()  # as a caller does, who looks at one answer before the next one
                calls.append((time.perf_counter() - began) * scale)
            del kept
            if turn:  # the first one warms up
                spent[name].append(median(calls))
    return spent


@contextmanager
def _replica(model: str) -> Iterator[Ask]:
    from motet.models import ModelSource, handler_by_name
    from motet.runtime.replicas.process.replica import ProcessReplica

    source = ModelSource(model, f"benchmarks.replica_models:{model}")
    replica = ProcessReplica(handler_by_name("python"), source)
    replica.start()
    try:
        yield lambda array: replica.call({"x": array})["output"]
    finally:
        replica.close()


@contextmanager
def _piped() -> Iterator[Ask]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_give_back, args=(theirs,), daemon=True)
    process.start()
    theirs.close()

    def ask(array: Any) -> Any:
        ours.send(array)
        return ours.recv()

    try:
        yield ask
    finally:
        ours.close()
        process.join(START_S)


def _give_back(end: Any) -> None:
    try:
        while True:
            end.send(end.recv())
    except EOFError:
        return


def bulk(rounds: int) -> dict[str, Any]:
    """A model that holds the interpreter's lock, in `motet run`."""
    placements = {
        "in threads": "placement: thread",
        "in one process": "placement: process",
        "in two processes": "placement: process, replicas: 2",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = _texts(folder / "texts.parquet")
        commands = {name: _run(folder, name, said, source) for name, said in placements.items()}
        seconds: dict[str, list[float | None]] = {name: [] for name in commands}
        processor_s: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(max(3, rounds // 10)):
            for name, command in commands.items():
                before = _processor_s()
                run = measure(command, TIMEOUT_S, {})
                processor_s[name].append(_processor_s() - before)
                if run.error:
                    print(f"{name} failed: {run.error}")
                seconds[name].append(None if run.error else run.process_s)
        same = {_answers(folder, name) for name in commands if None not in seconds[name]}
    rows = []
    for name, each in seconds.items():
        kept = [spent for spent in each if spent is not None]
        took = shown(spread(kept), ".2f") if kept else "failed"
        faster = shown(ratio(each, seconds["in threads"]), ".2f")
        rows.append([name, took, faster, shown(spread(processor_s[name]), ".2f")])
    print(table([f"motet run, {TEXTS} texts", "s", "times as fast as in threads", "processor s"], rows))
    print("all answers are the same bytes" if len(same) == 1 else "THE ANSWERS DIFFER")
    return {"seconds": seconds, "processor_s": processor_s}


def _processor_s() -> float:
    """Seconds of processors that ended children, and theirs, have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _texts(path: Path) -> Path:
    letters = np.random.default_rng(0).integers(97, 123, (TEXTS, TEXT_LETTERS), np.uint8)
    pq.write_table(pa.table({"text": [row.tobytes().decode() for row in letters]}), path)
    return path


def _run(folder: Path, name: str, placement: str, source: Path) -> list[str]:
    stem = name.replace(" ", "-")
    graph = folder / f"{stem}.yaml"
    graph.write_text(f"""\
motet: 1
name: letters
inputs: {{text: string}}
models:
  count: {{uri: "python:benchmarks.replica_models:letters", {placement}, batch: {{max_rows: 64}},
          inputs: {{text: string}}, outputs: {{counts: "float32[26]"}}}}
nodes:
  counted: {{model: count, inputs: [text]}}
outputs: {{counts: counted}}
""")
    output = str(folder / f"{stem}.parquet")
    return [
        "python", "-m", "motet.cli", "run", str(graph),
        "--input", str(source), "--output", output, "--overwrite", "--quiet",
    ]  # fmt: skip


def _answers(folder: Path, name: str) -> bytes:
    column = pq.read_table(folder / f"{name.replace(' ', '-')}.parquet").column("counts").combine_chunks()
    return bytes(column.to_numpy_ndarray().tobytes())


def remote(rounds: int) -> dict[str, Any]:
    """A model behind an address against the same one here, by the rows of a batch."""
    from motet.models import ModelSource, handler_by_name

    with tempfile.TemporaryDirectory() as folder, _served(Path(folder)) as (http, grpc):
        sources = {
            "in this process": ("onnx", MODELS["mlp"]),
            "oip+http": ("oip+http", f"//{http}/v2/models/mlp"),
            "oip+grpc": ("oip+grpc", f"//{grpc}/mlp"),
        }
        loaded = {
            name: handler_by_name(handler).load(ModelSource("mlp", location))
            for name, (handler, location) in sources.items()
        }
        try:
            return {str(rows): _remote(loaded, rows, rounds) for rows in BATCHES}
        finally:
            for model in loaded.values():
                model.close()


def _remote(loaded: Mapping[str, Any], rows: int, rounds: int) -> dict[str, Any]:
    columns = {"image": np.random.default_rng(0).random((rows, 28, 28), np.float32)}
    answers = {name: next(iter(model(columns).values())) for name, model in loaded.items()}
    here = answers["in this process"]
    same = all(np.array_equal(each, here) for each in answers.values())
    spent_ms = _in_turn({name: lambda m=m: m(columns) for name, m in loaded.items()}, rounds, 1e3)
    base = spent_ms["in this process"]
    lines = []
    for name, each in spent_ms.items():
        over = [ms - own for ms, own in zip(each, base, strict=True)]
        lines.append([name, shown(spread(each), ".3f"), shown(spread(over), ".3f")])
    print(table([f"mlp, {rows} rows a batch", "ms a call", "ms more than here"], lines))
    print("the same bits\n" if same else "THE ANSWERS DIFFER\n")
    return spent_ms


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, str]]:
    """The addresses, HTTP and gRPC, of a server of the mlp."""
    graph, log = folder / "mlp.yaml", folder / "log"
    graph.write_text(f"""\
motet: 1
name: picture
inputs: {{image: "float32[28,28]"}}
models: {{mlp: {{uri: {json.dumps(MODELS["mlp"])}}}}}
nodes: {{n: {{model: mlp, inputs: [image]}}}}
outputs: {{probabilities: n}}
""")
    command = [sys.executable, "-m", "motet.cli", "serve", str(graph), "--port", "0", "--grpc-port", "0"]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT) as server:
        try:
            end = time.monotonic() + START_S
            while not (said := SAYS.search(log.read_text())):
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the server did not start:\n{log.read_text()}")
                time.sleep(0.05)
            yield said[1].removeprefix("http://"), f"{said[2]}:{said[3]}"
        finally:
            server.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
