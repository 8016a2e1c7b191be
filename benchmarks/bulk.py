"""Bulk: Motet beside hand-written loops and other systems, on the same files, in the same minutes.

    python -m benchmarks.bulk                                 # everything that is installed
    python -m benchmarks.bulk --jobs ensemble,tiny --candidates motet,loop2 --rounds 20
    python -m benchmarks.bulk --jobs forest,pipeline,keyed200  # scikit-learn, and many models by key: see estimators.py
    python -m benchmarks.bulk --json results.json

Every run is a process of its own, and candidates take turns (A B C A B C ...), so that what else the machine does hits
all alike. First each candidate runs once, and its answers are compared with those of `loop2`; one that disagrees is not
timed. The main figure is the job: from the opening of the source to the closing of the output, models loaded inside,
imports before. A ratio is their seconds over Motet's in the same round: above 1, Motet is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks import estimators, memory, startup
from benchmarks.agree import difference
from benchmarks.bulk_child import CANDIDATES
from benchmarks.estimators import ESTIMATORS
from benchmarks.jobs import JOBS, Job, Storage, images_file, tiny_file
from benchmarks.measure import Measured, measure
from benchmarks.tables import Spread, ratio, shown, spread, table

__all__ = ["main"]

NEEDS: Final = {"daft": "daft", "beam": "apache_beam", "ray": "ray"}
OURS: Final = "motet"
REFERENCE: Final = "loop2"
FIGURES: Final = ("job_s", "process_s", "cpu_s")
PARTS: Final = (*JOBS, *ESTIMATORS, "startup", "memory")


@dataclass
class Settings:
    """What is run.

    Attributes:
        candidates: who takes part, in their order in a round; names of `CANDIDATES`, or `motet:FOLDER`, Motet's source
            in that folder.
        rounds: how often each runs.
        timeout_s: of one run.
        folder: where files are kept; inputs are made once.
        storage: how images are stored.
        long: whether `memory` also plays 6,000,000 rows.
    """

    candidates: list[str]
    rounds: int
    timeout_s: float
    folder: Path
    storage: Storage
    long: bool = False

    def environment(self, candidate: str) -> dict[str, str]:
        """What a candidate's process is told: a cache of its own, compiled modules, and where Motet's source is."""
        name, _, source = candidate.partition(":")
        cache = self.folder / "cache" / candidate.replace("/", "_")
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}
        place = {"PYTHONPATH": source} if source and name == OURS else {}
        return {"MOTET_CACHE_DIR": str(cache), **compiled, **place}


@dataclass
class Outcome:
    """What the runs of one candidate at one job took, by round; None where a run failed."""

    job_s: list[float | None] = field(default_factory=list)
    process_s: list[float | None] = field(default_factory=list)
    cpu_s: list[float | None] = field(default_factory=list)
    error: str = ""

    def add(self, run: Measured) -> None:
        """Take a run in."""
        good = not run.error
        self.job_s.append(run.report["job_s"] if good else None)
        self.cpu_s.append(run.report["cpu_s"] if good else None)
        self.process_s.append(run.process_s if good else None)
        self.error = self.error or run.error


def installed(candidate: str) -> bool:
    """Whether what a candidate needs is there."""
    module = NEEDS.get(candidate)
    return module is None or find_spec(module) is not None


def source_of(job: Job, settings: Settings) -> Path:
    """The job's input, made when it is not there."""
    return tiny_file(settings.folder) if job.name == "tiny" else images_file(settings.folder, settings.storage)


def run_once(candidate: str, job: Job, settings: Settings, sources: Sequence[Path], **options: Any) -> Measured:
    """Run a candidate in a process of its own; its output stays until it runs again."""
    output = output_of(candidate, job, settings)
    if output.is_dir():
        shutil.rmtree(output)
    output.unlink(missing_ok=True)
    name = candidate.partition(":")[0]
    command = ["python", "-m", "benchmarks.bulk_child", name, job.name, str(output), *map(str, sources)]
    return measure(command, settings.timeout_s, settings.environment(candidate), **options)


def output_of(candidate: str, job: Job, settings: Settings) -> Path:
    """Where a candidate's answers are."""
    return settings.folder / f"out-{candidate.replace('/', '_')}-{job.name}.parquet"


def agreeing(job: Job, settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The candidates whose answers are those of the reference, and why the others are not."""
    good: list[str] = []
    reasons: dict[str, str] = {}
    sources = [source_of(job, settings)]
    reference = output_of(REFERENCE, job, settings)
    run = run_once(REFERENCE, job, settings, sources)
    if run.error:
        sys.exit(f"bulk: the reference {REFERENCE} failed at {job.name}: {run.error}")
    for candidate in settings.candidates:
        if not installed(candidate):
            reasons[candidate] = "not installed"
            continue
        run = Measured(0.0) if candidate == REFERENCE else run_once(candidate, job, settings, sources)
        reason = run.error or difference(reference, output_of(candidate, job, settings))
        if reason:
            reasons[candidate] = reason
        else:
            good.append(candidate)
    return good, reasons


def compare(job: Job, settings: Settings) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Check that answers agree, then take turns."""
    good, reasons = agreeing(job, settings)
    outcomes = {candidate: Outcome() for candidate in good}
    sources = [source_of(job, settings)]
    for turn in range(settings.rounds):
        for candidate, outcome in outcomes.items():
            outcome.add(run_once(candidate, job, settings, sources))
        if sys.stderr.isatty():
            print(f"{job.name}: round {turn + 1} of {settings.rounds}", end="\r", file=sys.stderr, flush=True)
    return outcomes, reasons


def ours_of(outcomes: Mapping[str, Outcome]) -> Outcome | None:
    """The outcome that ratios are of: the first of Motet's."""
    return next((outcome for name, outcome in outcomes.items() if name.partition(":")[0] == OURS), None)


def show(job: Job, outcomes: Mapping[str, Outcome], reasons: Mapping[str, str]) -> str:
    """The table of a job."""
    ours = ours_of(outcomes)
    rows = [_line(job, name, outcome, ours) for name, outcome in outcomes.items()]
    rows += [(name, reason.splitlines()[0], *[""] * 4) for name, reason in reasons.items()]
    header = (job.name, "rows/s, median (range)", "s", "motet is faster by", "whole process", "CPU time")
    return table(header, rows)


def _line(job: Job, name: str, outcome: Outcome, ours: Outcome | None) -> tuple[str, ...]:
    seconds = [each for each in outcome.job_s if each is not None]
    if not seconds:
        return (name, outcome.error.splitlines()[0], *[""] * 4)
    rates = shown(spread([job.rows / each for each in seconds]), ",.0f")
    ratios = [shown(_faster(ours, outcome, what), ".2f") for what in FIGURES]
    return (name, rates, f"{spread(seconds).median:.3f}", *ratios)


def _faster(ours: Outcome | None, outcome: Outcome, what: str) -> Spread | None:
    return ratio(getattr(ours, what), getattr(outcome, what)) if ours else None


def as_json(job: Job, outcomes: Mapping[str, Outcome], reasons: Mapping[str, str]) -> dict[str, Any]:
    """What `--json` keeps of a job: every run, and the ratios."""
    ours = ours_of(outcomes)
    found: dict[str, Any] = {}
    for name, outcome in outcomes.items():
        seconds = [each for each in outcome.job_s if each is not None]
        found[name] = asdict(outcome)
        found[name]["rows_per_s"] = asdict(spread([job.rows / each for each in seconds])) if seconds else None
        for what in FIGURES:
            each = _faster(ours, outcome, what)
            found[name][f"motet_faster_by_{what}"] = asdict(each) if each else None
    return {"rows": job.rows, "candidates": found, "left_out": dict(reasons)}


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    names = ("motet", "numpy", "pyarrow", "onnxruntime", *NEEDS.values())
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name.replace("_", "-"))
    except PackageNotFoundError:
        return None


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--candidates", default=",".join(CANDIDATES), help="who takes part (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--storage", choices=("tensor", "binary"), default="tensor", help="how images are stored")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds that one run may take (default: 300)")
    parser.add_argument("--long", action="store_true", help="memory: also 6,000,000 rows")
    parser.add_argument("--folder", type=Path, help="where inputs and outputs are kept (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="file to write every figure to")
    options = parser.parse_args(given)
    for name, known in (("jobs", PARTS), ("candidates", CANDIDATES)):
        chosen = getattr(options, name).split(",")
        wrong = [each for each in chosen if each.partition(":")[0] not in known]
        if wrong or options.rounds < 1:
            parser.error(f"--{name}: unknown {', '.join(wrong)}; known: {', '.join(known)}; --rounds is 1 or more")
        setattr(options, name, chosen)
    return options


def play(jobs: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Run the parts that are asked for, print their tables, and give what `--json` keeps."""
    found: dict[str, Any] = {"machine": machine(), "storage": settings.storage, "rounds": settings.rounds, "jobs": {}}
    for name in jobs:
        if name in JOBS:
            outcomes, reasons = compare(JOBS[name], settings)
            print(show(JOBS[name], outcomes, reasons), end="\n\n", flush=True)
            found["jobs"][name] = as_json(JOBS[name], outcomes, reasons)
        elif name in ESTIMATORS:
            found["jobs"] |= estimators.play(settings, [name])
        else:
            part = startup if name == "startup" else memory
            found[name] = part.play(settings)
    return found


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    with tempfile.TemporaryDirectory(prefix="motet-bulk-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(options.candidates, options.rounds, options.timeout, folder, options.storage, options.long)
        found = play(options.jobs, settings)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
