"""How near `motet plan` comes to `motet run`: rows a second, predicted and measured, of three examples.

    python -m benchmarks.plan                      # all three, three rounds, some four minutes
    python -m benchmarks.plan --graph hotels --rounds 5

Plans and runs take turns, each a process of its own, and medians are compared. A plan leaves out what its threads waited for a processor
that others had. So the run is looked at from outside: `undisturbed` is what it would have answered without such waits, its time times what
its threads computed over what they computed and were queued, and no less than what they computed on all cores. On a machine that does
nothing else both are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import process_tree
from benchmarks.tables import table

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLES: Final = ROOT / "examples"
CLI: Final = [sys.executable, "-m", "motet.cli"]
TIMEOUT_S: Final = 600
LOOK_S: Final = 0.02


@dataclass(frozen=True)
class Round:
    """One plan, and one run.

    Attributes:
        predicted: rows a second.
        measured: by the run's report.
        undisturbed: had no other process been there.
    """

    predicted: float
    measured: float
    undisturbed: float


def fashion(folder: Path) -> tuple[Path, Path]:
    """The vote of three models, on the pictures of the training split, several times over."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sys.path.insert(0, str(EXAMPLES / "fashion"))
    from data import write_parquet

    write_parquet(folder / "once.parquet", "train")
    once = pq.read_table(folder / "once.parquet")
    pq.write_table(pa.concat_tables([once] * 8), folder / "fashion.parquet")
    return EXAMPLES / "fashion" / "fashion.yaml", folder / "fashion.parquet"


def photos(folder: Path) -> tuple[Path, Path]:
    """A small network, and a larger one where it is not sure, on photographs that stand there many times."""
    sys.path.insert(0, str(EXAMPLES / "photos"))
    from photo_files import fetch

    (folder / "photos").mkdir()
    for number in range(40):
        for path in fetch():
            shutil.copy(path, folder / "photos" / f"{number:03}-{Path(path).name}")
    return EXAMPLES / "photos" / "cascade.yaml", folder / "photos"


def hotels(folder: Path) -> tuple[Path, Path]:
    """A model for each market, of which few are loaded, on all bookings many times over."""
    sys.path.insert(0, str(EXAMPLES / "hotels"))
    import run
    from hotel_data import load

    columns = load()
    run.trained(columns)
    run.bookings(columns, folder / "bookings.parquet", 40)
    return EXAMPLES / "hotels" / "hotels.yaml", folder / "bookings.parquet"


GRAPHS: Final[Mapping[str, Callable[[Path], tuple[Path, Path]]]] = {
    "fashion": fashion,
    "photos": photos,
    "hotels": hotels,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rows a second, as planned and as measured.")
    parser.add_argument(
        "--graph", choices=tuple(GRAPHS), action="append", help="may be repeated; all where nothing is said"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of a plan")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="motet-bench-plan-") as name:
        for graph in options.graph or GRAPHS:
            folder = Path(name) / graph
            folder.mkdir()
            file, source = GRAPHS[graph](folder)
            rows.append(_row(graph, [_round(file, source, folder, options.seconds) for _ in range(options.rounds)]))
            print(
                f"{graph}: {' '.join(rows[-1][1:])}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
                flush=True,
            )
    head = ["graph", "predicted rows/s", "undisturbed", "ratio", "of each round", "measured", "ratio"]
    print(table(head, rows))


def _row(graph: str, rounds: list[Round]) -> list[str]:
    predicted, measured, undisturbed = (
        statistics.median(each)
        for each in zip(*((r.predicted, r.measured, r.undisturbed) for r in rounds), strict=True)
    )
    ratios = " ".join(f"{each.predicted / each.undisturbed:.2f}" for each in rounds)
    return [
        graph, f"{predicted:,.0f}", f"{undisturbed:,.0f}", f"{predicted / undisturbed:.2f}", ratios, f"{measured:,.0f}",
        f"{predicted / measured:.2f}",
    ]  # fmt: skip


def _round(file: Path, source: Path, folder: Path, seconds: float) -> Round:
    plan, _, _ = _called([*CLI, "plan", str(file), "--input", str(source), "--seconds", str(seconds), "--json"])
    report = folder / "report.json"
    command = [*CLI, "run", str(file), "--input", str(source), "--output", str(folder / "out.parquet"), "--overwrite"]
    _, computed, queued = _called([*command, "--quiet", "--report", str(report)])
    done = json.loads(report.read_text())
    _, before, _ = _called([*command, "--quiet", "--limit", "1"])  # the start of a process, and its end
    computed -= before
    cores = len(os.sched_getaffinity(0))
    alone = max(computed / cores, done["seconds"] * computed / (computed + queued))
    predicted = json.loads(plan)["here"]["rows_per_second"]
    return Round(predicted, done["rows_per_second"], done["rows"] / alone)


def _called(command: list[str]) -> tuple[str, float, float]:
    """What a command printed, and how long its threads computed and were queued for a processor, as far as that was seen."""
    spent: dict[str, tuple[float, float]] = {}
    begun = time.perf_counter()
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT, env=_environment()) as process,
    ):
        while process.poll() is None:
            spent |= _threads(process.pid)
            time.sleep(LOOK_S)
            if time.perf_counter() - begun > TIMEOUT_S:
                process.kill()
        for file in (out, err):
            file.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{err.read().decode()}")
        computed, queued = (sum(each) for each in zip(*spent.values(), strict=True))
        return out.read().decode(), computed, queued


def _threads(root: int) -> dict[str, tuple[float, float]]:
    """By thread of a process and those below it seconds that it computed, and that it was queued."""
    found = {}
    for pid in process_tree(root):
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, ValueError):
                computed, queued = path.read_text().split()[:2]
                found[f"{pid}/{path.parent.name}"] = int(computed) / 1e9, int(queued) / 1e9
    return found


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


if __name__ == "__main__":
    main()
