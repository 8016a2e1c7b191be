"""Prism and Flink for real: their servers once a session, and processes of their own as their workers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apache_beam as beam
import grpc
import pytest

from helpers.until import until

MUST = "MOTET_TEST_ENGINES"
"""Set to 1 where runners must be there, as in CI: tests of them fail instead of being skipped."""
PRISM = Path(sys.prefix) / "engines" / f"beam-{beam.__version__}" / "prism"
FLINK = Path(sys.prefix) / "engines" / "flink"
JAVA = [
    "java",
    *("-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util")),  # what Flink needs of Java 17
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.beam.runners.jobsubmission.JobServerDriver=info",
    *("-cp", f"{FLINK}/*"),
]
POOL = """
import sys
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
print(address, flush=True)
sys.stdin.read()
server.stop(0)
"""
"""Starts a process for each worker that a runner asks for, until what began it is gone."""


def needed(path: Path, how: str) -> Path:
    """What `make engines` makes; skips where it did not."""
    if not path.exists():
        (pytest.fail if os.environ.get(MUST) == "1" else pytest.skip)(f"no {path}: make engines {how}")
    return path


@contextmanager
def prism_server(log: Path) -> Iterator[list[str]]:
    """Beam's options for pipelines on a server of Prism, whose workers are threads of the program."""
    prism = needed(PRISM, "builds it, with Go")
    line = [str(prism), "--job_port", "0", "--serve_http=false", "--log_kind", "json"]
    with _serving(line, log, '"endpoint":"([^"]+)"') as endpoint:
        yield ["--runner", "PrismRunner", "--job_endpoint", endpoint]


@contextmanager
def flink_server(folder: Path) -> Iterator[list[str]]:
    """Beam's options for pipelines on a Flink in the process of Beam's job server, whose workers are threads of the program."""
    needed(FLINK / ".jars", "fetches it, with Maven and Java")
    driver = ["org.apache.beam.runners.flink.FlinkJobServerDriver", "--flink-master=[local]"]
    ports = ["--job-port=0", "--artifact-port=0", "--expansion-port=-1"]
    line = [*JAVA, *driver, *ports, f"--artifacts-dir={folder / 'artifacts'}"]
    with _serving(line, folder / "log", r"JobService started on (\S+)\s") as endpoint, _left_workers():
        options = ["--runner", "FlinkRunner", "--job_endpoint", endpoint, "--parallelism", "2"]
        yield [*options, "--environment_type", "LOOPBACK"]


@contextmanager
def _left_workers() -> Iterator[None]:
    """Have threads of Beam's workers end, whenever that is, when a runner hangs up before it tells them to."""
    hook = threading.excepthook
    threading.excepthook = lambda args: None if issubclass(args.exc_type, grpc.RpcError) else hook(args)
    try:
        yield
    finally:
        threading.excepthook = hook


@contextmanager
def _serving(line: list[str], log: Path, told: str) -> Iterator[str]:
    """What a server says of where it serves, once it does."""
    with log.open("wb") as file, subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as server:
        try:
            found = until(
                lambda: re.search(told, log.read_text()), otherwise=lambda: f"it serves nowhere: {log.read_text()}"
            )
            yield found[1]
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
