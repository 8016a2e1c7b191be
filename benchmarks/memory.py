"""Memory: the most that a process tree takes for ten (and a hundred) times the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.jobs import JOBS, images_file, repeated
from benchmarks.measure import Measured
from benchmarks.tables import table

if TYPE_CHECKING:
    from benchmarks.bulk import Settings

__all__ = ["play"]

TIMES = (1, 10)
TIMES_LONG = (1, 10, 100)
TIMEOUT_FACTOR = 10
JOB = "ensemble"


def play(settings: Settings) -> dict[str, Any]:
    """Run each candidate once at each size, print the table, and give every figure."""
    times = TIMES_LONG if settings.long else TIMES
    runs = {name: [_run(name, settings, factor) for factor in times] for name in _installed(settings)}
    rows = [(name, *map(_cell, each)) for name, each in runs.items()]
    header = (f"memory, {JOB}", *(f"{factor * JOBS[JOB].rows:,} rows" for factor in times))
    print(table(header, rows), "peak MiB of the process tree: PSS, sampled (sum of VmHWM)", sep="\n", end="\n\n")
    return {name: [vars(run) for run in each] for name, each in runs.items()}


def _installed(settings: Settings) -> list[str]:
    from benchmarks.bulk import installed

    return [name for name in settings.candidates if installed(name)]


def _run(candidate: str, settings: Settings, times: int) -> Measured:
    from dataclasses import replace

    from benchmarks.bulk import run_once

    source = images_file(settings.folder, settings.storage)
    patient = replace(settings, timeout_s=settings.timeout_s * max(1, times / TIMEOUT_FACTOR))
    return run_once(candidate, JOBS[JOB], patient, repeated(source, times), watch_memory=True)


def _cell(run: Measured) -> str:
    if run.error:
        return run.error.splitlines()[0]
    return f"{run.peak_pss_bytes / 2**20:,.0f} ({run.peak_hwm_bytes / 2**20:,.0f})"
