"""Many models by key on few places: `python -m benchmarks.keys`.

    plan   which models are loaded when, on paper: Motet's plan, the least recently used one going, and the future known
    bulk   the same for real, in `motet run`: 200 ONNX models, 8 places, skewed keys
    live   the same for real, behind a gateway: a fixed number of requests outstanding

All see the same window: the rows that wait at a moment. Plain LRU looks at one row after the other. The oracle puts rows of one
model in the window together, and lets that model go whose next row is farthest away (Belady); it is played in two ways
(the model loaded next is that of the oldest row, or that of most rows), of which the one with fewer loads counts.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Literal

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import motet as mt
from benchmarks.tables import ratio, shown, spread, table
from motet.runtime.residency.policy import ResidencyGroup, ResidencyPolicy, Waiter

__all__ = ["FEATURES", "Plan", "lru", "main", "oracle", "ours", "write_model", "zipf"]

MODELS, PLACES = 200, 8
ROWS: Final = 20_000
WINDOWS: Final = (16, 64, 256, 1024)
SKEWS: Final = (0.8, 1.0, 1.2)
FEATURES, HIDDEN = 16, 128
FAIR: Final = 8
"""No row waits longer than so many windows of rows."""
Plan = list[tuple[int | None, int | None, list[int]]]
"""What is done one after the other: the model that is loaded, the one that goes for it, and the rows that are played then."""


def zipf(rows: int, models: int, skew: float, seed: int = 0) -> list[int]:
    """Keys of rows: the n-th most frequent one has a share of n ** -skew."""
    random = np.random.default_rng(seed)
    share = np.arange(1, models + 1) ** -skew
    found: list[int] = random.permutation(models)[random.choice(models, rows, p=share / share.sum())].tolist()
    return found


def lru(keys: Sequence[int], places: int, window: int) -> Plan:
    """One row after the other, as they come; the model goes that was used least recently. The window is of no use to it."""
    loaded: dict[int, None] = {}
    plan: Plan = []
    for row, key in enumerate(keys):
        if key in loaded:
            del loaded[key]
            plan.append((None, None, [row]))
        else:
            going = next(iter(loaded)) if len(loaded) == places else None
            loaded.pop(going, None) if going is not None else None
            plan.append((key, going, [row]))
        loaded[key] = None
    return plan


def ours(keys: Sequence[int], places: int, window: int) -> Plan:
    """What Motet does: its own code, on paper."""
    policy, group = ResidencyPolicy(), ResidencyGroup("all", places, max_wait_s=FAIR * window)
    for key in set(keys):
        policy.add(key, group)
    plan: Plan = []
    rows_of: dict[int, list[int]] = defaultdict(list)
    waiting = came = 0
    while came < len(keys) or waiting:
        while came < len(keys) and waiting < window:
            key = keys[came]
            if policy.ask(key, 1, came) is True:
                policy.give_back(key)
                plan.append((None, None, [came]))
            else:
                policy.wait(Waiter(key, 1, came, Future()))
                rows_of[key].append(came)
                waiting += 1
            came += 1
        if waiting:
            swap = policy.next(came, {})
            assert swap is not None
            policy.dropped(swap.drop)
            key = swap.load  # type: ignore[assignment]
            for waiter in policy.done(key):
                policy.give_back(waiter.key)
            rows = rows_of.pop(key)
            waiting -= len(rows)
            plan.append((key, swap.drop[0] if swap.drop else None, rows))  # type: ignore[arg-type]
    return plan


def oracle(keys: Sequence[int], places: int, window: int) -> Plan:
    """The better of two plans that know every row that is still to come."""
    ways: tuple[Literal["oldest", "most"], ...] = ("oldest", "most")
    return min((_oracle(keys, places, window, way) for way in ways), key=loads)


def _oracle(keys: Sequence[int], places: int, window: int, way: Literal["oldest", "most"]) -> Plan:
    to_come: dict[int, deque[int]] = defaultdict(deque)
    for row, key in enumerate(keys):
        to_come[key].append(row)
    loaded: set[int] = set()
    rows_of: dict[int, list[int]] = {}
    plan: Plan = []
    waiting = came = 0
    while came < len(keys) or waiting:
        while came < len(keys) and waiting < window:
            key = keys[came]
            to_come[key].popleft()
            if key in loaded:
                plan.append((None, None, [came]))
            else:
                rows_of.setdefault(key, []).append(came)
                waiting += 1
            came += 1
        if waiting:
            oldest = min(rows_of, key=lambda key: rows_of[key][0])
            late = came - rows_of[oldest][0] > FAIR * window
            chosen = oldest if way == "oldest" or late else max(rows_of, key=lambda key: len(rows_of[key]))
            going = None
            if len(loaded) == places:
                going = max(loaded, key=lambda key: to_come[key][0] if to_come[key] else len(keys))
                loaded.discard(going)
            loaded.add(chosen)
            rows = rows_of.pop(chosen)
            waiting -= len(rows)
            plan.append((chosen, going, rows))
    return plan


def loads(plan: Plan) -> int:
    """How many times a model is loaded."""
    return sum(model is not None for model, _, _ in plan)


PLANS: Final[Mapping[str, Callable[[Sequence[int], int, int], Plan]]] = {"Motet": ours, "LRU": lru, "oracle": oracle}


@click.command()
@click.option("--only", type=click.Choice(["plan", "bulk", "live"]), multiple=True)
@click.option("--rounds", default=5, show_default=True, help="Turns of what is timed.")
@click.option("--rows", default=ROWS, show_default=True, help="Rows that are played.")
@click.option("--output", type=click.Path(path_type=Path), help="Where every figure is written, as JSON.")
def main(only: tuple[str, ...], rounds: int, rows: int, output: Path | None) -> None:
    """Compare how often models are loaded, and how many rows a second are answered."""
    parts: dict[str, Callable[[int, int], Any]] = {"plan": plan_part, "bulk": bulk_part, "live": live_part}
    figures = {}
    for name in only or parts:
        print(f"\n{name}\n")
        figures[name] = parts[name](max(1, rounds), rows)
    if output is not None:
        output.write_text(json.dumps(figures, indent=1) + "\n")


def plan_part(rounds: int, rows: int) -> list[dict[str, Any]]:
    """Loads on paper, for several skews and windows."""
    found, lines = [], []
    for skew in SKEWS:
        for window in WINDOWS:
            counted = {name: [] for name in PLANS}
            for seed in range(min(rounds, 3)):
                keys = zipf(rows, MODELS, skew, seed)
                for name, make in PLANS.items():
                    counted[name].append(loads(make(keys, PLACES, window)))
            against = [a / b for a, b in zip(counted["Motet"], counted["oracle"], strict=True)]
            plain = [a / b for a, b in zip(counted["LRU"], counted["Motet"], strict=True)]
            cells = [f"{np.median(counted[name]):,.0f}" for name in PLANS]
            lines.append([f"{skew:g}", str(window), *cells, shown(spread(against), ".2f"), shown(spread(plain), ".1f")])
            found.append({"skew": skew, "window": window, **counted})
    print(table(["skew", "window", *PLANS, "Motet / oracle", "LRU / Motet"], lines))
    return found


def bulk_part(rounds: int, rows: int) -> dict[str, Any]:
    """`motet run` against the same models loaded and called by hand, by plain LRU and as the oracle says."""
    keys = zipf(rows, MODELS, 1.0)
    batch_rows = max(64, rows // 8)
    with _Models() as models:
        source = models.folder / "rows.parquet"
        x = np.random.default_rng(1).random((rows, FEATURES), dtype=np.float32)
        kinds = pa.FixedShapeTensorArray.from_numpy_ndarray(x)
        pq.write_table(pa.table({"x": kinds, "k": pa.array(keys)}), source)
        plans = {name: PLANS[name](keys, PLACES, batch_rows) for name in ("LRU", "oracle")}
        counted: dict[str, list[int]] = defaultdict(list)
        seconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            graph = models.graph()
            started = time.perf_counter()
            report = graph.run(source, models.folder / "out.parquet", batch_rows=batch_rows, overwrite=True, workers=1)
            seconds["Motet"].append(time.perf_counter() - started)
            counted["Motet"].append(_loads_of(report))
            for name, plan in plans.items():
                seconds[name].append(models.play(plan, keys, x))
                counted[name].append(loads(plan))
        return _shown(counted, seconds, rows)


def _loads_of(report: Any) -> int:
    return int(sum(model.loads for model in report.models))


def live_part(rounds: int, rows: int) -> dict[str, Any]:
    """Requests of one row, 256 outstanding at any moment, against the same by hand."""
    keys, window = zipf(rows, MODELS, 1.0), 256
    with _Models() as models:
        x = np.random.default_rng(1).random((rows, FEATURES), dtype=np.float32)
        plans = {name: PLANS[name](keys, PLACES, window) for name in ("LRU", "oracle")}
        counted: dict[str, list[int]] = defaultdict(list)
        seconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            spent, count = asyncio.run(_ask(models.graph(), keys, x, window))
            seconds["Motet"].append(spent)
            counted["Motet"].append(count)
            for name, plan in plans.items():
                seconds[name].append(models.play(plan, keys, x))
                counted[name].append(loads(plan))
        return _shown(counted, seconds, rows)


async def _ask(graph: mt.Graph, keys: Sequence[int], x: Any, window: int) -> tuple[float, int]:
    """Ask a gateway for every row, so many at the same time; gives the seconds, and how many models were loaded."""
    from motet.serving.batching.request import Reply, Request
    from motet.serving.repository.repository import ModelRepository

    repository = ModelRepository()
    repository.add(graph)
    await repository.load_all()
    served, left, done = repository.find(graph.name), iter(range(len(keys))), asyncio.Event()
    answered = 0

    class Asked(Request):
        __slots__ = ()

        def answered(self, reply: Reply) -> None:
            nonlocal answered
            assert not reply.failures, reply.failures[0]
            answered += 1
            again() if answered < len(keys) else done.set()

        def failed(self, error: Any) -> None:
            raise error

    def again() -> None:
        row = next(left, None)
        if row is not None:
            columns = {"k": np.array([keys[row]]), "x": x[row : row + 1]}
            asyncio.get_running_loop().call_soon(repository.submit, served, Asked(columns, 1))

    started = time.perf_counter()
    for _ in range(window):
        again()
    await done.wait()
    spent = time.perf_counter() - started
    count = sum(held.loads for held in repository.residency.held())
    repository.close()
    return spent, count


class _Models:
    """200 small models in a folder that goes when the context ends."""

    def __enter__(self) -> _Models:
        self._folder = tempfile.TemporaryDirectory(prefix="motet-keys-")
        self.folder = Path(self._folder.name)
        for number in range(MODELS):
            write_model(self.folder / f"m{number}.onnx", number)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def graph(self) -> mt.Graph:
        """A route by key to all of them."""
        members = {str(number): mt.Model(str(self.folder / f"m{number}.onnx")) for number in range(MODELS)}
        kinds = mt.input("x", f"float32[{FEATURES}]"), mt.input("k", "int64")
        chosen = mt.route(members, kinds[0], key=kinds[1], max_loaded=PLACES, name="by_key")
        return mt.Graph("keys", {"y": chosen})

    def play(self, plan: Plan, keys: Sequence[int], x: Any) -> float:
        """Seconds to carry out a plan by hand: rows that follow each other and share a model are one call."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        sessions: dict[int, Any] = {}
        started = time.perf_counter()
        for model, going, rows in _calls(plan, keys):
            if going is not None:
                del sessions[going]
            if model is not None:
                sessions[model] = ort.InferenceSession(
                    str(self.folder / f"m{model}.onnx"), options, providers=["CPUExecutionProvider"]
                )
            sessions[keys[rows[0]]].run(None, {"x": x[rows]})
        return time.perf_counter() - started


def _calls(plan: Plan, keys: Sequence[int]) -> Iterator[tuple[int | None, int | None, list[int]]]:
    """A plan in which rows that come between two loads are called by model, as whoever waits for them together could."""
    between: dict[int, list[int]] = {}
    for model, going, rows in plan:
        if model is None:
            between.setdefault(keys[rows[0]], []).extend(rows)
            continue
        for together in between.values():
            yield None, None, together
        between = {}
        yield model, going, rows
    for together in between.values():
        yield None, None, together


def write_model(path: Path, seed: int) -> None:
    """Write a small ONNX model, `x: float32[16]` to `y: float32[1]`, whose weights go by the seed."""
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(seed)
    weights = {
        "w1": random.normal(size=(FEATURES, HIDDEN)),
        "w2": random.normal(size=(HIDDEN, HIDDEN)),
        "w3": random.normal(size=(HIDDEN, 1)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w3"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, path.stem, [value("x", TensorProto.FLOAT, ["n", FEATURES])], [value("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )  # fmt: skip
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def _shown(counted: Mapping[str, list[int]], seconds: Mapping[str, list[float]], rows: int) -> dict[str, Any]:
    lines = []
    for name, each in seconds.items():
        against = spread([a / b for a, b in zip(counted[name], counted["oracle"], strict=True)])
        faster = ratio(seconds["Motet"], each)
        rate = spread([rows / spent for spent in each])
        lines.append(
            [name, f"{np.median(counted[name]):,.0f}", shown(against, ".2f"), shown(rate, ",.0f"), shown(faster, ".2f")]
        )
    print(table(["", "loads", "loads / oracle's", "rows/s", "seconds / Motet's"], lines))
    return {"loads": dict(counted), "seconds": dict(seconds)}


if __name__ == "__main__":
    main()
