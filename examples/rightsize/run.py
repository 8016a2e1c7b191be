"""Plan machines for four kinds of work, and see that the plan is true: by hand, simulated, and really played at a small size.

    python examples/rightsize/run.py                  # some ten seconds
    python examples/rightsize/run.py --rows 500 --deadline 1

Needs nothing but Motet. What stands for models waits as long as it is told, so the machine that this runs on does not matter.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import played
import pyarrow as pa
import pyarrow.parquet as pq

import motet as mt
from motet.planning.capacity.pools import PoolPlan
from motet.planning.capacity.result import CapacityPlan
from motet.planning.capacity.simulation import simulated

HERE = Path(__file__).parent.resolve()
BATCH_ROWS = 25
"""Rows of a batch: few, so that there are some for every machine at this size."""
LARGE = 100_000_000


def sample(folder: Path, rows: int) -> tuple[str, dict[str, Any]]:
    """Rows as a file, and as columns."""
    records = np.random.default_rng(0).normal(size=(rows, 16)).astype(np.float32)
    path = folder / "records.parquet"
    pq.write_table(pa.table({"record": list(records)}), path)
    return str(path), {"record": records}


def planned(graph: mt.Graph, path: str, rows: int, deadline_s: float, seconds: float) -> CapacityPlan:
    """The plan for so many rows in batches of few."""
    first = graph.plan(path, machines=str(HERE / "machines.yaml"), seconds=seconds)
    profile = replace(first.profile, batch_rows=BATCH_ROWS)
    return graph.plan(profile=profile, machines=str(HERE / "machines.yaml"), rows=rows, deadline=deadline_s)


def compared(graph: mt.Graph, plan: CapacityPlan, columns: dict[str, Any], folder: Path) -> Iterator[list[str]]:
    """For both plans what was computed, what the pool's code gives in simulated time, and what was measured."""
    costs = []
    for name, pools in (("one pool for all", plan.uniform), ("a pool for each stage", plan.right_sized)):
        assert pools is not None
        simulation, measured = simulated(pools), played.play(graph.checked, pools, columns, folder)
        assert measured.rows == len(columns["record"])
        each = pools.cost, simulation.cost, measured.cost
        costs.append(each)
        yield [name, _machines(pools), *(f"{cost * 1e6:,.1f}" for cost in each)]
    yield ["saved", "", *(f"{1 - right / one:.1%}" for one, right in zip(*costs, strict=True))]


def _machines(pools: PoolPlan) -> str:
    counts = pools.pools[:1] if pools.shared else pools.pools
    return ", ".join(f"{pool.count} {pool.machine.name}" for pool in counts)


def show(rows: list[list[str]]) -> None:
    """Print a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Plan machines for four kinds of work, and see that the plan is true.")
    parser.add_argument("--rows", type=int, default=2000, help="that are really played")
    parser.add_argument("--deadline", type=float, default=1.5, help="until when, in seconds")
    parser.add_argument("--seconds", type=float, default=4, help="that measuring takes")
    options = parser.parse_args(arguments)
    graph = mt.load(HERE / "rightsize.yaml")
    with tempfile.TemporaryDirectory(prefix="motet-rightsize-") as name:
        folder = Path(name)
        path, columns = sample(folder, options.rows)
        plan = planned(graph, path, options.rows, options.deadline, options.seconds)
        large = graph.plan(profile=plan.profile, machines=str(HERE / "machines.yaml"), rows=LARGE, deadline="2h")
        print(large)
        print(f"\nAt a small size, {options.rows:,} rows in {options.deadline:g} s; millionths of what prices are in:")
        head = ["", "machines", "computed", "simulated", "measured"]
        show([head, *compared(graph, plan, columns, folder)])


if __name__ == "__main__":
    main()
