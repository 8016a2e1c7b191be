"""Engines: a graph on Beam, Ray and Spark beside what their documentation proposes, on the same files, in the same minutes.

    python -m benchmarks.engines                                    # every engine that is installed
    python -m benchmarks.engines --engines beam,spark --jobs ensemble --rounds 9 --json engines.json
    python -m benchmarks.engines --engines beam --beam "--runner=PrismRunner --prism_location=PATH --environment_type=LOOPBACK"

`beam-graph`, `ray-graph` and `spark-graph` are `graph.as_ptransform()`, `on_ray` and `on_spark` between what the engine reads and
writes; `beam-run`, `ray-run` and `spark-run` are what `motet run --engine` does. They run beside RunInference, `map_batches` of Ray
Data and `predict_batch_udf`, with as many processes, and beside Motet's engine `local`. How it is measured stands in
`benchmarks/bulk.py`: every run is a process of its own, candidates take turns, and answers are compared with those of a loop by
hand before anything is timed. Ray and Spark are started before the clock.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

from benchmarks import bulk
from benchmarks.bulk import Outcome, Settings, compare
from benchmarks.bulk_child import ENGINES
from benchmarks.jobs import JOBS, Job
from benchmarks.tables import Spread, ratio, shown, spread, table
from benchmarks.with_motet import graph

__all__ = ["main"]

LOCAL: Final = "local"
PARTS: Final = ("ensemble", "cascade", "tiny")


@dataclass(frozen=True)
class Pairing:
    """An engine.

    Attributes:
        needs: the module that must be installed.
        ours: the candidates that are Motet on it.
        theirs: the one that its documentation proposes.
        code: what a user writes for that.
        wanted: how much faster Motet is to be, by job.
    """

    needs: str
    ours: tuple[str, ...]
    theirs: str
    code: tuple[str, ...]
    wanted: Mapping[str, float]


BY_HAND: Final = ("loops:Models", "loops:floats", "loops:ensemble", "loops:cascade", "loops:play")
PAIRINGS: Final = {
    "beam": Pairing(
        "apache_beam",
        ("beam-graph", "beam-run"),
        "RunInference",
        ("with_beam:_Handler", "with_beam:_rows", "with_beam:run_inference", *BY_HAND),
        {"ensemble": 2.5, "tiny": 10.0},
    ),
    "ray": Pairing(
        "ray",
        ("ray-graph", "ray-run"),
        "map_batches",
        ("with_ray:_Player", "with_ray:_whole", "with_ray:run", *BY_HAND),
        {"ensemble": 2.0, "tiny": 2.0},
    ),
    "spark": Pairing(
        "pyspark",
        ("spark-graph", "spark-run"),
        "predict_batch_udf",
        ("with_spark:_loaded", "with_spark:run", "loops:Models", "loops:ensemble", "loops:cascade"),
        {"ensemble": 1.5, "tiny": 1.5},
    ),
}


def lines_of(*written: Any) -> int:
    """Lines of code, without what is said about it, as one formatter would write them."""
    found = 0
    for each in written:
        tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                del node.body[0]
        found += len([line for line in ast.unparse(tree).splitlines() if line.strip()])
    return found


def user_lines(pairing: Pairing) -> dict[str, int]:
    """Lines that a user writes, by candidate."""
    ours = {name: lines_of(graph, resolve_name(ENGINES[name])) for name in pairing.ours}
    return {**ours, pairing.theirs: lines_of(*(resolve_name(f"benchmarks.{each}") for each in pairing.code))}


def show(job: Job, outcomes: Mapping[str, Outcome], reasons: Mapping[str, str], engines: Sequence[str]) -> str:
    """The table of a job."""
    rows = [_line(job, LOCAL, outcomes, "", None)] if LOCAL in outcomes else []
    for engine in engines:
        pairing = PAIRINGS[engine]
        names = [name for name in (*pairing.ours, pairing.theirs) if name in outcomes]
        rows += [_line(job, name, outcomes, pairing.theirs, pairing.wanted.get(job.name)) for name in names]
    rows += [(name, reason.splitlines()[0], *[""] * 5) for name, reason in reasons.items()]
    header = (job.name, "rows/s, median (range)", "s", "faster than theirs", "wanted", "time of local", "CPU of local")
    return table(header, rows)


def _line(job: Job, name: str, outcomes: Mapping[str, Outcome], theirs: str, wanted: float | None) -> tuple[str, ...]:
    outcome = outcomes[name]
    seconds = [each for each in outcome.job_s if each is not None]
    if not seconds:
        return (name, outcome.error.splitlines()[0], *[""] * 5)
    rates = shown(spread([job.rows / each for each in seconds]), ",.0f")
    ours = bool(theirs) and name != theirs
    faster = shown(_ratio(outcomes, name, theirs, "job_s"), ".2f") if ours else ""
    over = [shown(_ratio(outcomes, LOCAL, name, what), ".2f") if name != LOCAL else "" for what in ("job_s", "cpu_s")]
    return (name, rates, f"{spread(seconds).median:.3f}", faster, f"{wanted:g}" if ours and wanted else "", *over)


def _ratio(outcomes: Mapping[str, Outcome], one: str, other: str, what: str) -> Spread | None:
    """The other's seconds over those of one, round by round."""
    if one not in outcomes or other not in outcomes:
        return None
    return ratio(getattr(outcomes[one], what), getattr(outcomes[other], what))


def show_lines(engines: Sequence[str]) -> str:
    """The table of lines of code."""
    rows = []
    for engine in engines:
        found = user_lines(PAIRINGS[engine])
        most = found[PAIRINGS[engine].theirs]
        rows += [(name, str(lines), f"{lines / most:.2f}") for name, lines in found.items()]
    return table(("lines of user code", "lines", "of theirs"), rows)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", default=",".join(PAIRINGS), help=f"of {', '.join(PAIRINGS)} (default: all)")
    parser.add_argument("--jobs", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--beam", help="options of Beam's pipelines (default: its runner in the process)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds that one run may take (default: 600)")
    parser.add_argument("--folder", type=Path, help="where inputs and outputs are kept (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="file to write every figure to")
    options = parser.parse_args(given)
    for name, known in (("engines", PAIRINGS), ("jobs", PARTS)):
        chosen = getattr(options, name).split(",")
        wrong = [each for each in chosen if each not in known]
        if wrong:
            parser.error(f"--{name}: unknown {', '.join(wrong)}; known: {', '.join(known)}")
        setattr(options, name, chosen)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1; got {options.rounds}")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    if options.beam:
        os.environ["MOTET_BENCHMARK_BEAM"] = options.beam
    there = [name for name in options.engines if importlib.util.find_spec(PAIRINGS[name].needs)]
    for name in set(options.engines) - set(there):
        print(f"{name}: not installed", file=sys.stderr)
    candidates = [LOCAL, *(each for name in there for each in (*PAIRINGS[name].ours, PAIRINGS[name].theirs))]
    found: dict[str, Any] = {"machine": bulk.machine(), "rounds": options.rounds, "jobs": {}}
    with tempfile.TemporaryDirectory(prefix="motet-engines-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(candidates, options.rounds, options.timeout, folder, "tensor")
        for name in options.jobs:
            outcomes, reasons = compare(JOBS[name], settings)
            print(show(JOBS[name], outcomes, reasons, there), end="\n\n", flush=True)
            found["jobs"][name] = {each: asdict(outcome) for each, outcome in outcomes.items()} | {"left_out": reasons}
    print(show_lines(there))
    found["lines"] = {name: user_lines(PAIRINGS[name]) for name in there}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
