"""Many small models by key, played as one call: `python -m benchmarks.stacked`.

    called  a graph called with batches of several sizes, its models stacked and one by one
    bulk    `motet run` over 400,000 rows with random keys, with stacks and without, against loops by hand that group the rows
            of each batch by key; whole processes
    live    requests of one row on 64 connections, to a server with stacks and one without

200 perceptrons (32-64-1) of ONNX files, or of scikit-learn with `--models sklearn`. Within a round all take their turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import motet as mt
from benchmarks.live_parts.bodies import Ask
from benchmarks.live_parts.load import drive, driver, written
from benchmarks.measure import ROOT, measure
from benchmarks.tables import ratio, shown, spread, table

__all__ = ["main"]

FEATURES, HIDDEN, MODELS = 32, 64, 200
ROWS: Final = 400_000
BATCHES: Final = (1, 4, 16, 64, 256, 2_048, 16_384)
LOOP_ROWS: Final = (256, 1_024, 8_192, 65_536)
CONNECTIONS: Final = 64
WAYS: Final = {"stacked": "", "one by one": ", stack: false"}

LOOP: Final = """
import sys, glob, numpy as np, pyarrow as pa, pyarrow.parquet as pq
suffix, rows = sys.argv[1], int(sys.argv[2])
names = glob.glob("models/*." + suffix)
if suffix == "onnx":
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [ort.InferenceSession(name, options, providers=["CPUExecutionProvider"]) for name in names]
    calls = [lambda x, own=own: own.run(["y"], {"x": x})[0][:, 0] for own in sessions]
else:
    import joblib
    calls = [joblib.load(name).predict for name in names]
call_of = {name[7:].partition(".")[0]: call for name, call in zip(names, calls)}
writer = None
for batch in pq.ParquetFile("rows.parquet").iter_batches(rows):
    x = batch["x"].flatten().to_numpy().reshape(len(batch), -1)
    keys, which = np.unique(batch["k"].to_numpy(zero_copy_only=False), return_inverse=True)
    order = np.argsort(which, kind="stable")
    y = np.empty(len(batch), x.dtype)
    for key, share in zip(keys, np.split(order, np.cumsum(np.bincount(which))[:-1])):
        y[share] = call_of[key](x[share])
    table = pa.table({"y": y})
    writer = writer or pq.ParquetWriter("loop.parquet", table.schema)
    writer.write_table(table)
writer.close()
"""


@click.command()
@click.option("--only", type=click.Choice(["called", "bulk", "live"]), multiple=True)
@click.option("--models", type=click.Choice(["onnx", "sklearn"]), default="onnx", show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Turns of each.")
@click.option("--rows", default=ROWS, show_default=True, help="Rows of the bulk run.")
@click.option("--seconds", default=3.0, show_default=True, help="How long a server is driven in a round.")
@click.option("--output", type=click.Path(path_type=Path), help="Where every figure is written, as JSON.")
def main(only: tuple[str, ...], models: str, rounds: int, rows: int, seconds: float, output: Path | None) -> None:
    """Compare models by key that are played as one call with the same ones called one by one, and with loops by hand."""
    parts: dict[str, Callable[[Path, str], Any]] = {
        "called": lambda folder, suffix: called(folder, rounds),
        "bulk": lambda folder, suffix: bulk(folder, suffix, rounds),
        "live": lambda folder, suffix: live(folder, rounds, seconds),
    }
    figures = {}
    with tempfile.TemporaryDirectory(prefix="motet-stacked-") as name:
        folder, suffix = Path(name), {"onnx": "onnx", "sklearn": "joblib"}[models]
        write(folder, suffix, rows)
        for part in only or parts:
            print(f"\n{part}, {models}\n", flush=True)
            figures[part] = parts[part](folder, suffix)
    if output is not None:
        output.write_text(json.dumps(figures, indent=1) + "\n")


def write(folder: Path, suffix: str, rows: int) -> None:
    """The models, two graphs of them, and rows with random keys."""
    (folder / "models").mkdir()
    for seed in range(MODELS):
        {"onnx": _write_onnx, "joblib": _write_estimator}[suffix](folder / "models" / f"{seed}.{suffix}", seed)
    random, dtype = np.random.default_rng(0), "float32" if suffix == "onnx" else "float64"
    x = random.normal(size=(rows, FEATURES)).astype(dtype)
    keys = random.integers(0, MODELS, rows).astype(str)
    values = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), FEATURES)
    pq.write_table(pa.table({"x": values, "k": pa.array(keys.tolist())}), folder / "rows.parquet")
    output = "y" if suffix == "onnx" else "value"
    for way, said in WAYS.items():
        name = way.replace(" ", "_")
        (folder / f"{name}.yaml").write_text(
            f"motet: 1\nname: {name}\ninputs: {{x: '{dtype}[{FEATURES}]', k: string}}\n"
            f"models: {{each: {{uri: 'models/{{key}}.{suffix}'}}}}\n"
            f"nodes: {{own: {{route: {{'{{key}}': each}}, key: k, inputs: [x]{said}}}}}\noutputs: {{y: own.{output}}}\n"
        )


def _write_onnx(path: Path, seed: int) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(seed)
    weights = {
        "w1": random.normal(size=(FEATURES, HIDDEN)) / 6, "b1": random.normal(size=HIDDEN),
        "w2": random.normal(size=(HIDDEN, 1)) / 8, "b2": random.normal(size=1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])]
    constants = [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()]
    graph = helper.make_graph(nodes, "perceptron", inputs, outputs, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _write_estimator(path: Path, seed: int) -> None:
    import warnings

    import joblib
    from sklearn.neural_network import MLPRegressor

    random = np.random.default_rng(seed)
    x = random.normal(size=(50, FEATURES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joblib.dump(MLPRegressor(hidden_layer_sizes=(HIDDEN,), max_iter=2, random_state=seed).fit(x, x[:, 0]), path)


def called(folder: Path, rounds: int) -> dict[int, dict[str, list[float]]]:
    """A graph called with batches, all of its models loaded."""
    table_of_rows = pq.read_table(folder / "rows.parquet", columns=["x", "k"]).slice(0, max(BATCHES))
    x = table_of_rows["x"].combine_chunks().flatten().to_numpy().reshape(-1, FEATURES)
    keys = np.array(table_of_rows["k"].to_pylist(), dtype=object)
    graphs = {way: mt.load(folder / f"{way.replace(' ', '_')}.yaml") for way in WAYS}
    for graph in graphs.values():
        graph.executor.load()
    seconds: dict[int, dict[str, list[float]]] = {rows: {way: [] for way in WAYS} for rows in BATCHES}
    for rows, found in seconds.items():
        times = max(1, min(200, 4_096 // rows))
        for _ in range(rounds):
            for way, graph in graphs.items():
                graph({"x": x[:rows], "k": keys[:rows]})
                started = time.perf_counter()
                for _ in range(times):
                    graph({"x": x[:rows], "k": keys[:rows]})
                found[way].append((time.perf_counter() - started) / times)
    lines = [
        [
            f"{rows:,}",
            *(shown(spread([each * 1e3 for each in of[way]]), ".2f") for way in WAYS),
            _ratio(of, "one by one"),
        ]
        for rows, of in seconds.items()
    ]
    print(table(["rows", *(f"{way}, ms" for way in WAYS), "one by one / stacked"], lines))
    return seconds


def bulk(folder: Path, suffix: str, rounds: int) -> dict[str, list[float]]:
    """Whole processes."""
    (folder / "loop.py").write_text(LOOP)
    cli = [sys.executable, "-m", "motet.cli", "run"]
    commands = {
        way: [*cli, str(folder / f"{way.replace(' ', '_')}.yaml"), "--input", str(folder / "rows.parquet"), "--output",
              str(folder / "out.parquet"), "--overwrite"]
        for way in WAYS
    }  # fmt: skip
    for rows in LOOP_ROWS:
        start = f"import os, sys; os.chdir({str(folder)!r}); sys.argv = ['loop', {suffix!r}, '{rows}']; exec(open('loop.py').read())"
        commands[f"loop of {rows:,} rows"] = [sys.executable, "-c", start]
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for way, command in commands.items():
            found = measure(command, 300, {"MOTET_CACHE_DIR": str(folder / "cache"), "OPENBLAS_NUM_THREADS": "1"})
            if found.error:
                raise click.ClickException(f"{way}: {found.error}")
            if turn:  # the first one fills caches
                seconds[way].append(found.process_s)
    lines = [[way, shown(spread(each), ".2f"), _ratio(seconds, way)] for way, each in seconds.items()]
    print(table(["", "seconds", "times as long as stacked"], lines))
    return dict(seconds)


def live(folder: Path, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Two servers on loopback, of which one is asked at a time."""
    rows = pq.read_table(folder / "rows.parquet").slice(0, 512).to_pylist()
    rates: dict[str, list[float]] = defaultdict(list)
    print("driven by", driver() or "a client in Python, which is slower than the server", flush=True)
    with _server(folder, "stacked") as one, _server(folder, "one_by_one") as other:
        for _ in range(rounds):
            for way, port in (("stacked", one), ("one by one", other)):
                asks = [_ask(way.replace(" ", "_"), row) for row in rows]
                found = drive(port, written(asks, folder, way), CONNECTIONS, seconds, folder, driver())
                if found.errors:
                    raise click.ClickException(f"{way}: {found.errors} requests without a good answer")
                rates[way].append(found.per_s)
    lines = [[way, shown(spread(each), ",.0f")] for way, each in rates.items()]
    print(table(["", "requests a second"], lines))
    print("stacked / one by one:", shown(ratio(rates["one by one"], rates["stacked"]), ".2f"))
    return dict(rates)


def _ask(graph: str, row: Mapping[str, Any]) -> Ask:
    """A row as a request of the Open Inference Protocol."""
    dtype = "FP32" if isinstance(row["x"][0], float) else "FP64"
    inputs = [
        {"name": "x", "shape": [1, FEATURES], "datatype": dtype, "data": row["x"]},
        {"name": "k", "shape": [1], "datatype": "BYTES", "data": [row["k"]]},
    ]
    body = json.dumps({"inputs": inputs}).encode()
    return Ask(f"/v2/models/{graph}/infer", body, (("Content-Type", "application/json"),))


@contextmanager
def _server(folder: Path, name: str) -> Iterator[int]:
    """A server of one graph, in a process; its port."""
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "motet.cli",
        "serve",
        str(folder / f"{name}.yaml"),
        "--port",
        str(port),
        "--grpc-port",
        "0",
    ]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _ratio(seconds: Mapping[str, list[float]], way: str) -> str:
    return shown(ratio(seconds["stacked"], seconds[way]), ".2f")


if __name__ == "__main__":
    main()
