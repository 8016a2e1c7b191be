"""Spiky traffic: the bookings, asked for by `motet.client` as fast as a day of few hours says; and what is seen meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from motet.client import AsyncClient
from motet.errors import MotetError

__all__ = ["Load", "Phase", "Seen", "day"]

GRAPH: Final = "hotels"
MOST_OUTSTANDING: Final = 256
"""Requests that are under way at the same time; further ones wait in this program, and are counted as late by as much."""
TIMEOUT_S: Final = 60.0
LOOK_S: Final = 1.0


@dataclass(frozen=True)
class Phase:
    """A part of the day.

    Attributes:
        name: what it is called.
        seconds: how long it is.
        rate: bookings a second.
    """

    name: str
    seconds: float
    rate: float


def day(seconds: float, rate: float) -> list[Phase]:
    """A day: quiet, a spike, quiet, a night in which nobody asks, and a spike that wakes everybody up."""
    parts = [
        ("quiet", 0.2, 0.1),
        ("spike", 0.15, 1.0),
        ("quiet", 0.15, 0.1),
        ("night", 0.35, 0.0),
        ("spike", 0.15, 1.0),
    ]
    return [Phase(name, share * seconds, part * rate) for name, share, part in parts]


@dataclass
class Seen:
    """What was seen of a day.

    Attributes:
        looks: each second the time, the phase, and what `/status.json` said.
        asked: for each request the phase, when it was to be asked, and how long its answer took, in seconds.
        failed: what requests that were not answered were told, and how many.
    """

    looks: list[tuple[float, str, Mapping[str, Any]]] = field(default_factory=list)
    asked: list[tuple[str, float, float]] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def table(self) -> str:
        """The day, a line about every two seconds."""
        head = ["s", "", "requests/s", "p50 ms", "p99 ms", "loads", "loaded", "usual", "live cores", "bulk cores", "of"]
        lines = [head]
        every = max(2, round(len(self.looks) / 30))
        before = 0.0
        loads = 0
        for at, phase, status in self.looks[::every]:
            took = [seconds for _, asked, seconds in self.asked if before <= asked < at]
            place = places(status)
            now_loads = place.get("loads", 0)
            counts = [f"+{now_loads - loads}", str(place.get("loaded", 0)), str(replicas(status, "usual"))]
            shares = [f"{cores(status, 'live'):.1f}", f"{cores(status, 'bulk'):.1f}", f"{capacity(status):g}"]
            rate = len(took) / max(at - before, 1e-9)
            lines.append([f"{at:.0f}", phase, f"{rate:.0f}", *_quantiles(took), *counts, *shares])
            before, loads = at, now_loads
        widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        )

    def summary(self) -> str:
        """The day in a few lines."""
        place = places(self.looks[-1][2])
        rows = len(self.asked)
        hits = 1 - place.get("loads", 0) / max(rows, 1)
        said = [f"{rows:,} requests, {sum(self.failed.values())} failed {self.failed or ''}".rstrip()]
        said.append(
            f"{place.get('models_known', 0)} models, {place.get('max_loaded')} places: {place.get('loads', 0)} loads, "
            f"{hits:.1%} of the requests brought none"
        )
        for phase in dict.fromkeys(name for name, _, _ in self.asked):
            took = [seconds for name, _, seconds in self.asked if name == phase]
            half, most = _quantiles(took)
            said.append(f"{phase}: {len(took):,} requests, half within {half} ms, 99 % within {most} ms")
        used = [cores(status, "live") + cores(status, "bulk") for _, _, status in self.looks]
        said.append(f"cores borrowed, in the mean: {np.mean(used):.2f} of {capacity(self.looks[-1][2]):g}")
        counts = [replicas(status, "usual") for _, _, status in self.looks]
        said.append(f"replicas of usual: from {min(counts)} to {max(counts)}")
        return "\n".join(said)


class Load:
    """Asks a server.

    Args:
        url: of the server.
        columns: bookings by column.
        random: chooses which booking is asked for.
    """

    def __init__(self, url: str, columns: Mapping[str, Sequence[Any]], random: np.random.Generator) -> None:
        self._url, self._random = url, random
        self._columns = {name: column for name, column in columns.items() if name != "price"}
        self._turn = asyncio.Semaphore(MOST_OUTSTANDING)
        self.seen = Seen()
        self._phase, self._began = "", 0.0

    async def until_ready(self, timeout_s: float) -> None:
        """Wait until the server is ready.

        Raises:
            TimeoutError: when it is not, after so many seconds.
        """
        async with asyncio.timeout(timeout_s), AsyncClient(self._url) as client:
            while True:
                with contextlib.suppress(MotetError):
                    if await client.ready():
                        return
                await asyncio.sleep(0.1)

    async def drive(self, phases: Sequence[Phase]) -> Seen:
        """Ask as the day goes, whether or not earlier answers are there; gives what was seen when all are."""
        self._began = time.monotonic()
        async with AsyncClient(self._url, timeout_s=TIMEOUT_S, connections=MOST_OUTSTANDING) as client:
            looking = asyncio.create_task(self._look())
            async with asyncio.TaskGroup() as asking:
                for phase in phases:
                    await self._ask(phase, client, asking)
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
        return self.seen

    async def _ask(self, phase: Phase, client: AsyncClient, asking: asyncio.TaskGroup) -> None:
        """The requests of one phase, at times that are as random as a Poisson process makes them."""
        self._phase = phase.name
        at, end = self._now(), self._now() + phase.seconds
        while phase.rate and (at := at + self._random.exponential(1 / phase.rate)) < end:
            await asyncio.sleep(max(0.0, at - self._now()))
            asking.create_task(self._one(phase.name, at, client))
        await asyncio.sleep(max(0.0, end - self._now()))

    async def _one(self, phase: str, at: float, client: AsyncClient) -> None:
        row = int(self._random.integers(len(self._columns["market"])))
        try:
            async with self._turn:
                await client.predict(GRAPH, {name: _plain(column[row]) for name, column in self._columns.items()})
        except MotetError as error:
            said = type(error).__name__
            self.seen.failed[said] = self.seen.failed.get(said, 0) + 1
        self.seen.asked.append((phase, at, self._now() - at))

    async def _look(self) -> None:
        import httpx

        async with httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT_S) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    status = (await client.get("/status.json")).json()
                    self.seen.looks.append((self._now(), self._phase, status))
                await asyncio.sleep(LOOK_S)

    def _now(self) -> float:
        return time.monotonic() - self._began


def places(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The places of the route."""
    return next(iter(status.get("places") or []), {})


def replicas(status: Mapping[str, Any], model: str) -> int:
    """How many replicas of a model answer."""
    return sum(each["model"] == model and each["state"] == "READY" for each in status.get("replicas") or [])


def cores(status: Mapping[str, Any], priority: str) -> float:
    """Cores that live work (of any urgency), or bulk work, has borrowed."""
    holders = (status.get("pool") or {}).get("holders", [])
    return sum(each["held"]["cpu"] for each in holders if (each["priority"] == "bulk") == (priority == "bulk"))


def capacity(status: Mapping[str, Any]) -> float:
    """Cores that there are to borrow."""
    return float((status.get("pool") or {}).get("capacity", {}).get("cpu", 0))


def _quantiles(seconds: Sequence[float]) -> list[str]:
    return [f"{1000 * float(np.quantile(seconds, part)):.0f}" if seconds else "–" for part in (0.5, 0.99)]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
