"""Experiments against the real server, with click rates that are known: `python -m benchmarks.experiments`.

    A/A      experiments without a difference, looked at after every 100 units: how many promote an arm at any look
    A/B      experiments whose second arm clicks 10 % more often, relatively: how many promote it, after how many units, and how
             many of them within the size that their report foretold after the first 1,000 units

All experiments of a kind are users of one server, which is asked over its sockets, told what became of each answer by feedback with
the ids that it gave, and keeps both in SQLite. What a look sees is read from that database, as `motet experiment report` does it.
Then the cost: rows a second of a graph with an experiment beside the same graph without one, in turns.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

import motet as mt
from benchmarks.tables import table
from motet.planning.experiments.experiment import Experiment, experiment_of
from motet.planning.experiments.exposures import Exposures
from motet.planning.experiments.report import report_of
from motet.serving import start
from motet.serving.experiments.database import ExperimentDatabase
from motet.serving.experiments.kept_exposures import kept_exposures

__all__ = ["main"]

LOOK: Final = 100
REQUEST: Final = 250
FORETOLD_AFTER: Final = 1000


def same(x: np.ndarray) -> dict[str, np.ndarray]:
    """A model that gives what it gets."""
    return {"y": x}


def _graph(name: str, *, metric: bool) -> mt.Graph:
    models = {
        arm: mt.Model(f"python:{__name__}:same", arm, inputs={"x": "float32"}, outputs={"y": "float32"})
        for arm in ("a", "b")
    }
    user, x, run = mt.input("user", "string"), mt.input("x", "float32"), mt.input("run", "int64")
    metric_of = {"name": "clicked", "effect": 0.1, "segments": ["run"]} if metric else None
    arm = mt.route(models, x, split={"a": 1, "b": 1}, by=user, metric=metric_of, name="ab", using=[run])
    return mt.Graph(
        name, outputs={"y": arm.y, "arm": arm.member, "run": mt.map(mt.ops.columns.cast, run, dtype="int64")}
    )


class _Server:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.partition("://")[2], timeout=60)

    def post(self, path: str, body: Any) -> Any:
        """What it answers."""
        self._connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        with self._connection.getresponse() as answer:
            found = json.loads(answer.read())
        assert answer.status == 200, found
        return found

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def _traffic(server: _Server, graph: str, runs: int, units: int, rates: tuple[float, float], seed: int) -> None:
    """Each run's users ask once, one after another, and click as often as their arm has them."""
    random = np.random.default_rng(seed)
    for first in range(0, runs * units, REQUEST):
        places = (divmod(place, runs) for place in range(first, min(first + REQUEST, runs * units)))
        asked = [{"user": f"{run}-{unit}", "x": 1.0, "run": run} for unit, run in places]
        answers = server.post(f"/predict/{graph}", {"rows": asked})["rows"]
        clicks = random.random(len(answers)) < [rates[each["arm"] == "b"] for each in answers]
        told = [
            {"id": each["feedback_id"], "outcome": bool(click)} for each, click in zip(answers, clicks, strict=True)
        ]
        assert server.post(f"/feedback/{graph}", told)["accepted"] == len(told)


def _runs(exposures: Exposures, runs: int) -> Iterator[Exposures]:
    """The exposures of each run, in order of time."""
    run = exposures.segments["run"].astype(np.int64)
    order = np.lexsort((exposures.time, run))
    for part in np.split(order, np.searchsorted(run[order], np.arange(1, runs))):
        taken = exposures.take(part)
        yield Exposures.of(taken.arms, taken.unit, taken.arm, outcome=taken.outcome)


@dataclass(frozen=True)
class _Found:
    """What became of an experiment: the arm that the first look promotes, after how many units, and the size foretold."""

    arm: str
    units: int
    foretold: float

    @property
    def in_time(self) -> bool:
        """Whether an arm is promoted at a look within the size foretold."""
        return bool(self.arm) and self.units <= self.foretold


def _decided(experiment: Experiment, exposures: Exposures) -> _Found:
    foretold, arm, seen = math.nan, "", 0
    for seen in range(LOOK, len(exposures) + 1, LOOK):
        report = report_of(experiment, exposures.take(np.arange(seen)))
        foretold = report.comparison("b").planned if seen <= FORETOLD_AFTER else foretold
        if report.decision == "promote":
            arm = report.arm
            break
    return _Found(arm, seen, foretold)


def _kind(name: str, runs: int, units: int, rates: tuple[float, float], seed: int) -> list[str]:
    """Play experiments of one kind: their row of the table."""
    graph, to = _graph(name, metric=True), f"sqlite:///{name}.db"
    started = time.perf_counter()
    with start(graph, port=0, experiments={"to": to}) as server, closing(_Server(server.url)) as asked:
        _traffic(asked, name, runs, units, rates, seed)
    seconds = time.perf_counter() - started
    experiment = experiment_of(graph.checked)
    with closing(ExperimentDatabase(to, Path())) as database:
        exposures = kept_exposures(database, experiment)
    assert len(exposures) == runs * units
    assert not np.isnan(exposures.outcome).any()
    found = [_decided(experiment, each) for each in _runs(exposures, runs)]
    promoted = [each for each in found if each.arm]
    wrong = sum(each.arm != "b" or rates[0] == rates[1] for each in promoted)
    after = f"{np.median([each.units for each in promoted]):,.0f}" if promoted else "-"
    return [
        name, f"{runs:,}", f"{units:,}", f"{rates[0]:g}, {rates[1]:g}", f"{len(promoted) / runs:.1%}", f"{wrong / runs:.1%}",
        after, f"{np.median([each.foretold for each in found]):,.0f}", f"{sum(each.in_time for each in found) / runs:.1%}",
        f"{runs * units / seconds:,.0f}",
    ]  # fmt: skip


def _cost(rounds: int) -> float:
    """How many times as long a graph takes with an experiment as without, of rows asked over HTTP; the median of rounds."""
    ratios, rows = [], [{"user": str(each), "x": 1.0, "run": 0} for each in range(REQUEST)]
    graphs = (_graph("plain", metric=False), _graph("kept", metric=True))
    with (
        start(*graphs, port=0, experiments={"to": "sqlite:///cost.db"}) as server,
        closing(_Server(server.url)) as asked,
    ):
        for _ in range(rounds):
            took = {}
            for name in ("plain", "kept"):
                began = time.perf_counter()
                for _ in range(10):
                    asked.post(f"/predict/{name}", {"rows": rows})
                took[name] = time.perf_counter() - began
            ratios.append(took["kept"] / took["plain"])
    return float(np.median(ratios))


@click.command()
@click.option(
    "--runs", default=1000, show_default=True, help="Experiments without a difference; of those with one a fifth."
)
@click.option("--units", default=1000, show_default=True, help="Units of an experiment without a difference.")
@click.option("--more-units", default=10_000, show_default=True, help="Units of one with a difference.")
@click.option("--rate", default=0.4, show_default=True, help="The control's click rate.")
@click.option("--rounds", default=15, show_default=True, help="Rounds of the comparison of costs.")
@click.option("--seed", default=1, show_default=True)
def main(runs: int, units: int, more_units: int, rate: float, rounds: int, seed: int) -> None:
    """Play experiments against a real server."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        rows = [
            _kind("same", runs, units, (rate, rate), seed),
            _kind("better", max(1, runs // 5), more_units, (rate, rate * 1.1), seed),
        ]
        head = [
            "experiments",
            "runs",
            "units each",
            "click rates",
            "promoted",
            "wrongly",
            "after units (median)",
            "foretold",
            "within that",
            "rows/s",
        ]
        print(table(head, rows))
        print(f"a row with an experiment takes {_cost(rounds):.2f} times as long as without, on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
