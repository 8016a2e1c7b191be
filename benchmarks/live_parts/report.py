"""From rounds to tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.live_parts.work import COLD_START_GOAL, Work
from benchmarks.tables import ratio, shown, spread, table

__all__ = ["Round", "cold_start_table", "goals", "table_of"]

HEADER: Final = ("requests/s", "p50 ms", "p99 ms", "CPU s / 1000", "errors", "Motet is faster by", "and cheaper by")
REASON_CHARACTERS: Final = 100


@dataclass(frozen=True)
class Round:
    """What a server did in one round.

    Attributes:
        per_s: good answers a second.
        p50_ms: median time to an answer.
        p99_ms: 99th percentile of it.
        cpu_s_per_1000: processor time of all its processes for 1000 answers.
        errors: requests without a good answer.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float
    errors: int


def table_of(title: str, rounds: Mapping[str, Sequence[Round | None]], reasons: Mapping[str, str]) -> str:
    """A line for each server.

    Args:
        title: what was asked.
        rounds: of each server, None where one failed.
        reasons: why others are not there.
    """
    ours = next((several for name, several in rounds.items() if name.partition(":")[0] == "motet"), None)
    lines = [(name, *_cells(several, ours)) for name, several in rounds.items()]
    text = table((title, *HEADER), lines)
    shortened = (f"{name}: {' '.join(reason.split())[:REASON_CHARACTERS]}" for name, reason in reasons.items())
    return "\n".join([text, *shortened])


def _cells(several: Sequence[Round | None], ours: Sequence[Round | None] | None) -> tuple[str, ...]:
    good = [each for each in several if each is not None]
    if not good:
        return ("failed", *[""] * (len(HEADER) - 1))
    p50, p99 = median(each.p50_ms for each in good), median(each.p99_ms for each in good)
    return (
        shown(spread([each.per_s for each in good]), ",.0f"),
        f"{p50:.2f}",
        f"{p99:.2f}",
        f"{median(each.cpu_s_per_1000 for each in good):.4f}",
        f"{sum(each.errors for each in good):,}",
        shown(ratio(_of(ours, "per_s", inverse=True), _of(several, "per_s", inverse=True)) if ours else None, ".2f"),
        shown(ratio(_of(ours, "cpu_s_per_1000"), _of(several, "cpu_s_per_1000")) if ours else None, ".2f"),
    )


def _of(several: Sequence[Round | None], name: str, *, inverse: bool = False) -> list[float | None]:
    values = [getattr(each, name) if each else None for each in several]
    return [(1 / value if inverse else value) if value else None for value in values]


def goals(work: Work) -> str:
    """What is aimed at; empty where nothing is."""
    return "goals: " + "; ".join(f"{value:g} {what}" for what, value in work.goals.items()) if work.goals else ""


def cold_start_table(seconds: Mapping[str, Sequence[float | None]]) -> str:
    """A line for each server, from the seconds of each round, None where it failed."""
    ours = next((values for name, values in seconds.items() if name.partition(":")[0] == "motet"), None)
    lines = []
    for name, values in seconds.items():
        good = [value for value in values if value is not None]
        by = ratio(ours, values) if ours else None
        lines.append((name, shown(spread(good) if good else None, ".3f"), shown(by, ".2f")))
    header = ("cold start", "s to the first right answer", "Motet is faster by")
    return table(header, lines) + f"\ngoal: {COLD_START_GOAL:g} s"
