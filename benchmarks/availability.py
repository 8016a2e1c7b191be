"""How many requests are answered while replicas crash, over a simulated month: `python -m benchmarks.availability`.

The set, the balancer and the restart policy are the real ones; only time, processes and requests are simulated, so that a month
takes seconds. Replicas crash by chance, some of them by getting stuck until their timeout, and some starts fail. Requests
come by chance, and count as answered when they are answered within their deadline. A call itself takes no time, so the
figures say what crashes cost, and nothing about load.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.clockwork import SimulatedClockwork, SimulatedReplica
from benchmarks.tables import table
from motet.batch import Array
from motet.errors import ModelUnavailableError, ReplicaLostError
from motet.runtime.replicas.restart_policy import RestartPolicy
from motet.runtime.replicas.set import ReplicaSet

__all__ = ["Month", "Rates", "main"]

DAY_S = 86_400.0
_COLUMNS: Mapping[str, Array] = {"x": np.zeros(1)}


@dataclass(frozen=True)
class Rates:
    """What happens, and how often.

    Attributes:
        days: how long it goes on.
        crashes_a_day: of each replica.
        stuck: the part of the crashes after which the process does not end.
        failing: the part of the starts that fail.
        loading_s: how long a start takes.
        timeout_s: after which a stuck replica is killed.
        requests_s: requests a second.
        deadline_s: how long a request may take.
    """

    days: float
    crashes_a_day: float
    stuck: float
    failing: float
    loading_s: float
    timeout_s: float
    requests_s: float
    deadline_s: float


class Month:
    """One simulation.

    Args:
        rates: what happens.
        replicas: how many there are.
        seed: of its chance.
    """

    def __init__(self, rates: Rates, replicas: int, seed: int) -> None:
        self.rates, self._chance = rates, random.Random(seed)
        self._clock = SimulatedClockwork()
        self.crashes = self.failed = 0
        self.seconds: list[float] = []
        self._penalties: list[float] = []
        restart_policy = RestartPolicy(look_s=5.0)
        self.set = ReplicaSet(
            "m", self._replica, replicas, timeout_s=rates.timeout_s, clockwork=self._clock, restart_policy=restart_policy,
            chance=self._chance.random,
        )  # fmt: skip
        self._started = False
        self.set.start()
        self._started, self._clock.beside_s = True, rates.loading_s

    def _replica(self) -> SimulatedReplica:
        lost = self._started and self._chance.random() < self.rates.failing
        replica = SimulatedReplica(fails=ReplicaLostError("the start failed") if lost else None)
        crash = self._chance.expovariate(self.rates.crashes_a_day / DAY_S)
        self._clock.later(partial(self._crash, replica), crash)
        return replica

    def _crash(self, replica: SimulatedReplica) -> None:
        if replica.ended:
            return
        self.crashes += 1
        if self._chance.random() < self.rates.stuck:
            replica.answers = partial(self._stuck, replica)
        else:
            replica.die()

    def _stuck(self, replica: SimulatedReplica, columns: Mapping[str, Array]) -> Mapping[str, Any]:
        """The call that is stuck is that much longer, and so is the time until another replica has taken the place."""
        timeout_s = self.rates.timeout_s
        self._penalties[-1] += timeout_s
        self._clock.beside_s = self.rates.loading_s + timeout_s
        self._clock.later(self._usual, 0.0)
        replica.die()
        raise ReplicaLostError(f"did not answer within {timeout_s:g} s")

    def _usual(self) -> None:
        self._clock.beside_s = self.rates.loading_s

    def _request(self) -> None:
        self._clock.later(self._request, self._chance.expovariate(self.rates.requests_s))
        begun = self._clock.now()
        self._penalties.append(0.0)  # requests that come while this one waits are played inside it
        try:
            self.set.call(_COLUMNS, 1)
        except ModelUnavailableError:
            self.failed += 1
        self.seconds.append(self._clock.now() - begun + self._penalties.pop())

    def play(self) -> dict[str, float]:
        """Let the month pass."""
        self._request()
        self._clock.run(self.rates.days * DAY_S)
        seconds = np.array(self.seconds)
        in_time = float((seconds <= self.rates.deadline_s).sum() - self.failed)
        return {
            "requests": len(seconds),
            "crashes": self.crashes,
            "restarts": sum(each.restarts for each in self.set.status()),
            "in_time": in_time / len(seconds),
            "at_once": float((seconds == 0).mean()),
            "p999_s": float(np.quantile(seconds, 0.999)),
            "longest_s": float(seconds.max()),
            "failed": self.failed,
        }


@click.command()
@click.option("--days", default=30.0, show_default=True, help="How long it goes on.")
@click.option("--crashes", default=24.0, show_default=True, help="Crashes of each replica a day.")
@click.option("--stuck", default=0.1, show_default=True, help="The part of them that are stuck processes.")
@click.option("--failing", default=0.05, show_default=True, help="The part of starts that fail.")
@click.option("--loading", default=10.0, show_default=True, help="Seconds that a start takes.")
@click.option("--timeout", default=1.0, show_default=True, help="Seconds after which a stuck replica is killed.")
@click.option("--requests", default=0.2, show_default=True, help="Requests a second.")
@click.option("--deadline", default=5.0, show_default=True, help="Seconds that a request may take.")
@click.option("--seeds", default=1, show_default=True, help="Months, each with another chance.")
@click.option("--output", type=click.Path(path_type=Path), help="Where every figure is written, as JSON.")
def main(
    days: float, crashes: float, stuck: float, failing: float, loading: float, timeout: float, requests: float,
    deadline: float, seeds: int, output: Path | None,
) -> None:  # fmt: skip
    """Play a month with one replica, with two and with three."""
    rates = Rates(days, crashes, stuck, failing, loading, timeout, requests, deadline)
    print(", ".join(f"{name} {value:g}" for name, value in asdict(rates).items()), "\n")
    rows, figures = [], []
    for replicas in (1, 2, 3):
        months = [Month(rates, replicas, seed).play() for seed in range(seeds)]
        figures += [{"replicas": replicas, **month} for month in months]
        asked = sum(month["requests"] for month in months)
        in_time = sum(month["in_time"] * month["requests"] for month in months) / asked
        rows.append(
            [
                str(replicas),
                f"{asked:,.0f}",
                f"{sum(month['crashes'] for month in months):,.0f}",
                f"{in_time:.5%}",
                f"{sum(month['at_once'] * month['requests'] for month in months) / asked:.5%}",
                f"{max(month['p999_s'] for month in months):.2f} s",
                f"{max(month['longest_s'] for month in months):.1f} s",
                f"{sum(month['failed'] for month in months):,.0f}",
            ]
        )
    print(table(["replicas", "requests", "crashes", "in time", "at once", "99.9 %", "longest", "failed"], rows))
    if output is not None:
        output.write_text(json.dumps({"rates": asdict(rates), "months": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
