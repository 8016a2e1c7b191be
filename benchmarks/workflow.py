"""Workflows: Motet's steps beside others, in the same minutes.

    python -m benchmarks.workflow                                     # every job, every peer that is installed
    python -m benchmarks.workflow --jobs chain --peers motet,joblib --rounds 9
    python -m benchmarks.workflow --peers-python PEERS/bin/python --json workflow.json

    chain    100 trivial steps one after the other: milliseconds a step
    dag      10,000 steps with two inputs each
    entries  a cache with 100,000 entries
    first    how long until three trainings give a first answer, synchronous and asynchronous

Each measurement is a process of its own with folders of its own; the tools take turns (A B C A B C ...). A ratio is theirs
over Motet's in the same round: above 1, Motet is faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.bulk import machine
from benchmarks.measure import measure
from benchmarks.tables import ratio, shown, spread, table

__all__ = ["main"]

PEERS: Final = {"motet": "motet", "joblib": "joblib", "hamilton": "hamilton", "prefect": "prefect"}
JOBS: Final = ("chain", "dag", "entries", "first")
KINDS: Final = {"plain": "keeping nothing", "cold": "keeping all, the first time", "warm": "from what was kept"}
GOAL_WARM_MS: Final = 0.15
TIMEOUT_S: Final = 600.0
Figures = dict[str, list[dict[str, Any] | None]]


@cache
def installed(python: str, module: str) -> bool:
    """Whether a Python can import a module."""
    command = [python, "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def play(python: str, module: str, *arguments: str) -> dict[str, Any] | None:
    """Run a module with a folder of its own; what it reports, None where it fails."""
    with tempfile.TemporaryDirectory(prefix="motet-bench-") as folder:
        command = [python, "-m", f"benchmarks.workflow_parts.{module}"]
        place = [folder] if len(arguments) == 1 else [arguments[0], folder]
        found = measure([*command, *place, arguments[-1]], TIMEOUT_S, {"PYTHONDONTWRITEBYTECODE": "1"})
    if found.error:
        print(f"workflow: {module}: {found.error}", file=sys.stderr)
        return None
    return dict(found.report)


def chain(peers: Sequence[str], rounds: int, steps: int, python: str) -> Figures:
    """The chain, with each tool in turn."""
    pythons = {peer: sys.executable if peer == "motet" else python for peer in peers}
    there = [peer for peer in peers if installed(pythons[peer], PEERS[peer])]
    for peer in set(peers) - set(there):
        print(f"workflow: {peer} is not installed", file=sys.stderr)
    found: Figures = {peer: [] for peer in there}
    for _ in range(rounds):
        for peer in there:
            found[peer].append(play(pythons[peer], f"with_{peer}", str(steps)))
    return found


def chain_table(found: Figures, steps: int) -> str:
    """The chain's figures, and how they compare."""
    lines = []
    for peer, rounds in found.items():
        line = [peer, shown(_spread(rounds, "import_s"), ".2f")]
        for kind in KINDS:
            theirs, ours = _values(rounds, kind), _values(found.get("motet", []), kind)
            line.append(shown(_spread(rounds, kind), ".3f"))
            line.append("" if peer == "motet" or not ours else shown(ratio(ours, theirs), ".2f"))
        lines.append(line)
    head = ["", "import, s"]
    for text in KINDS.values():
        head += [f"{text}, ms a step", "ratio"]
    return f"a chain of {steps} trivial steps\n" + table(head, lines)


def _values(rounds: Sequence[Mapping[str, Any] | None], kind: str) -> list[float | None]:
    return [None if each is None else each.get(kind) for each in rounds]


def _spread(rounds: Sequence[Mapping[str, Any] | None], kind: str) -> Any:
    values = [each for each in _values(rounds, kind) if each is not None]
    return spread(values) if values else None


def large(job: str, count: int, rounds: int) -> Figures:
    """A job of Motet alone."""
    return {job: [play(sys.executable, "large", job, str(count)) for _ in range(rounds)]}


def large_table(job: str, count: int, found: Figures) -> str:
    """Its figures."""
    rounds = found[job]
    names = next((list(each) for each in rounds if each), [])
    lines = [[name, shown(_spread(rounds, name), ".4g")] for name in names]
    title = {
        "dag": f"a DAG of {count:,} steps, ms a step",
        "entries": f"a cache with {count:,} entries",
        "first": "until the first answer of three trainings of 0.2, 0.8 and 2 s",
    }[job]
    return f"{title}\n" + table(["", "median (range)"], lines)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflow", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"of {', '.join(JOBS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="how often (default: 5)")
    parser.add_argument("--steps", type=int, default=100, help="of the chain (default: 100)")
    parser.add_argument("--dag-steps", type=int, default=10_000, help="of the DAG (default: 10,000)")
    parser.add_argument("--entries", type=int, default=100_000, help="in the cache (default: 100,000)")
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has the peers (default: this)")
    parser.add_argument("--json", type=Path, help="file to write every figure to")
    options = parser.parse_args(given)
    for name, known in (("peers", PEERS), ("jobs", JOBS)):
        chosen = getattr(options, name).split(",")
        unknown = [each for each in chosen if each not in known]
        if unknown:
            parser.error(f"--{name}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
        setattr(options, name, chosen)
    if min(options.rounds, options.steps, options.dag_steps, options.entries) < 1:
        parser.error("--rounds, --steps, --dag-steps and --entries are 1 or more")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    print("Figures are medians of the rounds, with the range.", end="\n\n", flush=True)
    kept: dict[str, Any] = {"machine": machine()}
    for job in options.jobs:
        if job == "chain":
            found = chain(options.peers, options.rounds, options.steps, options.peers_python)
            print(chain_table(found, options.steps))
            warm = _spread(found.get("motet", []), "warm")
            if warm is not None:
                verdict = "met" if warm.median <= GOAL_WARM_MS else "missed"
                print(f"goal: at most {GOAL_WARM_MS} ms a step from what was kept: {verdict}")
                told = shown(_spread(found["motet"], "warm_cpu"), ".3f")
                print(f"of which motet itself used the processor: {told} ms a step")
        else:
            count = {"dag": options.dag_steps, "entries": options.entries, "first": 0}[job]
            found = large(job, count, max(options.rounds // 2, 1))
            print(large_table(job, count, found))
        print(flush=True)
        kept[job] = found
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
