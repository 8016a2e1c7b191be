"""One candidate, one job, one fresh process: `python -m benchmarks.bulk_child CANDIDATE JOB OUTPUT INPUT...`.

The last line it prints is JSON: `job_s`, from the source's opening to the output's closing, models loaded inside; `import_s`,
before that, with the start of a Ray or a Spark on this machine; `cpu_s`, processor time of the job, of this process and the
children that it waited for.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

from benchmarks.jobs import JOBS

__all__ = ["CANDIDATES", "ENGINES"]

CANDIDATES = {
    "motet": "benchmarks.with_motet:run",
    "loop1": "benchmarks.loops:run_loop1",
    "loop2": "benchmarks.loops:run_loop2",
    "daft": "benchmarks.with_daft:run",
    "beam": "benchmarks.with_beam:run",
    "ray": "benchmarks.with_ray:run",
}
"""Where each candidate's `run(job, sources, output)` is."""
ENGINES = {
    "local": "benchmarks.with_motet:run",
    "RunInference": "benchmarks.with_beam:run_inference",
    "beam-graph": "benchmarks.with_beam:run_graph",
    "beam-run": "benchmarks.with_beam:run_motet",
    "map_batches": "benchmarks.with_ray:run",
    "ray-graph": "benchmarks.with_ray:run_graph",
    "ray-run": "benchmarks.with_ray:run_motet",
    "predict_batch_udf": "benchmarks.with_spark:run",
    "spark-graph": "benchmarks.with_spark:run_graph",
    "spark-run": "benchmarks.with_spark:run_motet",
}
"""The same for `benchmarks.engines`."""


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    candidate, job, output, *sources = sys.argv[1:]
    name, _, function = {**CANDIDATES, **ENGINES}[candidate].partition(":")
    begun = time.perf_counter()
    module = importlib.import_module(name)
    run = getattr(module, function)
    getattr(module, "begin", lambda: None)()
    started, cpu = time.perf_counter(), _cpu_s()
    run(JOBS[job], sources, output)
    ended = time.perf_counter()
    print(json.dumps({"job_s": ended - started, "import_s": started - begun, "cpu_s": _cpu_s() - cpu}), flush=True)
    if name == "benchmarks.with_beam":
        os._exit(0)  # its threads keep the process for seconds


if __name__ == "__main__":
    main()
