"""Prism, Beam's own runner, for real: its server once a session, and processes of their own as its workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apache_beam as beam
import pytest

from helpers.until import until

MUST = "MOTET_TEST_ENGINES"
"""Set to 1 where runners must be there, as in CI: tests of them fail instead of being skipped."""
PRISM = Path(sys.prefix) / "engines" / f"beam-{beam.__version__}" / "prism"
POOL = """
import sys
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
print(address, flush=True)
sys.stdin.read()
server.stop(0)
"""
"""Starts a process for each worker that a runner asks for, until what began it is gone."""


def prism_path() -> str:
    """Where Prism is; skips where it was not built."""
    if not PRISM.exists():
        (pytest.fail if os.environ.get(MUST) == "1" else pytest.skip)(f"no {PRISM}: make engines builds it, with Go")
    return str(PRISM)


@contextmanager
def prism_server(log: Path) -> Iterator[list[str]]:
    """Beam's options for pipelines on a server of Prism, whose workers are threads of the program."""
    line = [prism_path(), "--job_port", "0", "--serve_http=false", "--log_kind", "json"]
    with log.open("wb") as told, subprocess.Popen(line, stdout=told, stderr=told) as server:
        try:
            first = until(lambda: log.read_text().partition("\n")[0], otherwise="Prism does not say where it serves")
            yield ["--runner", "PrismRunner", "--job_endpoint", json.loads(first)["endpoint"]]
        finally:
            server.kill()


@contextmanager
def worker_pool() -> Iterator[list[str]]:
    """Beam's options that have workers be processes, which can be killed."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line, pipe = [sys.executable, "-c", POOL], subprocess.PIPE
    with subprocess.Popen(line, env=env, text=True, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as pool:
        address = pool.stdout.readline().strip()
        yield ["--environment_type", "EXTERNAL", "--environment_config", address]
        pool.stdin.close()
        pool.stdout.close()
