"""Motet with many steps and many entries: a child of the benchmark, which prints one line of JSON."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from pathlib import Path
from statistics import median

from benchmarks.workflow_parts.timing import report

SECONDS = (0.2, 0.8, 2.0)


def dag(folder: str, steps: int) -> None:
    """Layers of 100 steps, each of which takes two of the layer before."""
    os.environ["MOTET_CACHE_DIR"] = folder
    import motet.workflow as mw

    @mw.step(cache=True)
    def kept(i: int, values: list[int]) -> int:
        return i

    @mw.workflow
    def wide(num: int):  # type: ignore[no-untyped-def]
        before: list[int] = []
        for layer in range(num // 100):
            before = [kept(layer * 100 + i, [before[i], before[(i + 1) % 100]] if before else []) for i in range(100)]
        return before

    began = time.perf_counter()
    plan = wide(steps)
    wire_s = time.perf_counter() - began
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert len(plan.run(resume=False).output) == 100
        times.append((time.perf_counter() - began) * 1000 / steps)
    report(wire=wire_s * 1000 / steps, cold=times[0], warm=min(times[1:]))


def entries(folder: str, count: int) -> None:
    """A cache with very many entries: a hit, the list, and what may go."""
    os.environ["MOTET_CACHE_DIR"] = folder
    import motet.workflow as mw
    from motet.cli.cache import command
    from motet.workflow.memo.cache import Cache, KeptResult, cache_folder
    from motet.workflow.memo.gc import collect
    from motet.workflow.memo.index import Index
    from motet.workflow.memo.key import Argument, Key

    @mw.step(cache=True)
    def kept(i: int) -> int:
        return i

    @mw.workflow
    def one(i: int):  # type: ignore[no-untyped-def]
        return kept(i)

    cache = Cache(cache_folder())
    value, _ = cache.artifacts.keep(3)
    began = time.perf_counter()
    for i in range(count):
        key = Key(f"module.step{i % 50}", "code", {"i": Argument(f"{i:064x}", str(i))})
        cache.put(KeptResult(key.digest, key, value, time.time(), 0.1, "run"))
    put_s = time.perf_counter() - began
    with Index.of(cache) as index:
        index.add(cache.new())
    time.sleep(2.1)  # until times of change have settled
    figures = {"put_ms": put_s * 1000 / count}
    one(0).run()
    for name, function in {
        "hit_ms": lambda: one(0).run(resume=False),
        "first_miss_ms": lambda: one(-1).run(resume=False),
        "miss_ms": lambda: one(time.perf_counter_ns()).run(resume=False),
        "sync_s": lambda: _sync(cache),
        "ls_s": lambda: _quiet(command, ["ls"]),
        "gc_s": lambda: _collect(cache, collect),
    }.items():
        found = []
        for _ in range(5 if name in ("hit_ms", "miss_ms") else 1):
            began = time.perf_counter()
            function()
            found.append((time.perf_counter() - began) * (1000 if name.endswith("_ms") else 1))
        figures[name] = median(found)
    for path in (Path(folder) / "workflow" / "indexes").iterdir():
        path.unlink()
    began = time.perf_counter()
    _sync(cache)
    report(**figures, rebuild_s=time.perf_counter() - began)


def _sync(cache) -> None:  # type: ignore[no-untyped-def]
    from motet.workflow.memo.index import Index

    with Index.of(cache) as index:
        index.sync()


def _collect(cache, collect) -> None:  # type: ignore[no-untyped-def]
    from motet.workflow.memo.index import Index

    with Index.of(cache) as index:
        collect(cache, index, max_age_s=86400.0, dry_run=True)


def _quiet(command, arguments: list[str]) -> None:  # type: ignore[no-untyped-def]
    with contextlib.redirect_stdout(io.StringIO()):
        command.main(arguments, standalone_mode=False)


def first_answer(folder: str, _: int) -> None:
    """Three trainings of 0.2, 0.8 and 2 s, and a step that puts what is there on line: when it first does."""
    os.environ["MOTET_CACHE_DIR"] = folder
    import motet.workflow as mw

    found: list[float] = []
    over = threading.Event()

    @mw.step
    def train(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @mw.step
    def serve(models: list[float]) -> int:
        found.append(time.perf_counter())
        over.set()
        return len(models)

    @mw.workflow
    def system():  # type: ignore[no-untyped-def]
        return serve(mw.as_ready([train(each) for each in SECONDS]))

    figures = {}
    for name, asynchronous in (("synchronous_s", False), ("asynchronous_s", True)):
        found.clear()
        began = time.perf_counter()
        system().run(asynchronous=asynchronous, resume=False)
        figures[name] = found[0] - began
    report(**figures)


if __name__ == "__main__":
    {"dag": dag, "entries": entries, "first": first_answer}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
