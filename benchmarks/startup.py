"""Startup: 64 rows as a whole process, from nothing to the answers on disk."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.jobs import images_file
from benchmarks.measure import measure
from benchmarks.tables import ratio, shown, spread, table

if TYPE_CHECKING:
    from benchmarks.bulk import Settings

__all__ = ["play"]

ROWS = 64
LOOP = (
    "from benchmarks.jobs import JOBS; from benchmarks.loops import run_loop1; import sys; "
    "run_loop1(JOBS['ensemble'], [sys.argv[1]], sys.argv[2])"
)
CALL = "import sys, motet; motet.load(sys.argv[3]).run(sys.argv[1], sys.argv[2], keep=['id'], overwrite=True)"
COMMAND = "from motet.cli import main; main()"


def commands(settings: Settings) -> dict[str, list[str]]:
    """The processes that are compared, by name."""
    import motet.cli
    from benchmarks.with_motet import graph

    source = str(images_file(settings.folder, settings.storage, ROWS))
    file = settings.folder / "ensemble.yaml"
    graph("ensemble").save(file)
    output = {name: str(settings.folder / f"startup-{name}.parquet") for name in ("command", "call", "script")}
    found = {
        "motet.load(...).run(...)": ["python", "-c", CALL, source, output["call"], str(file)],
        "hand-written script": ["python", "-c", LOOP, source, output["script"]],
    }
    if hasattr(motet.cli, "main"):
        command = ["run", str(file), "--input", source, "--output", output["command"]]
        command += ["--keep", "id", "--overwrite", "--quiet"]
        found = {"motet run": ["python", "-c", COMMAND, *command], **found}
    return found


def play(settings: Settings) -> dict[str, Any]:
    """Take turns, print the table, and give every figure."""
    chosen = commands(settings)
    environment = settings.environment("motet")
    for name, command in chosen.items():
        if error := measure(command, settings.timeout_s, environment).error:
            print(f"startup: {name} failed: {error}")
    seconds: dict[str, list[float | None]] = {name: [] for name in chosen}
    for _ in range(settings.rounds):
        for name, command in chosen.items():
            run = measure(command, settings.timeout_s, environment)
            seconds[name].append(None if run.error else run.process_s)
    return _shown(seconds)


def _shown(seconds: dict[str, list[float | None]]) -> dict[str, Any]:
    ours = next(iter(seconds.values()))
    rows, kept = [], {}
    for name, values in seconds.items():
        good = [value for value in values if value is not None]
        by = ratio(ours, values)
        kept[name] = {"process_s": values, "motet_faster_by": asdict(by) if by else None}
        rows.append((name, shown(spread(good) if good else None, ".3f"), shown(by, ".2f")))
    print(
        table((f"startup, {ROWS} rows", "s, median (range)", f"{next(iter(seconds))} is faster by"), rows), end="\n\n"
    )
    return kept
