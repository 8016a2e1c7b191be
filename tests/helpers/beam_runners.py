"""Prism and Flink for real: their servers once a session, and processes of their own as their workers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
JOB_SERVICE = r"JobService started on (\S+)\s"
"""What Beam's job server says once it serves, as servers below say what they do."""
SMALL_FLINK = {
    "rest.bind-address": "localhost",
    "rest.address": "localhost",
    "rest.bind-port": "0",
    "jobmanager.rpc.address": "localhost",
    "jobmanager.rpc.port": "0",
    "jobmanager.memory.process.size": "700m",
    "taskmanager.host": "localhost",
    "taskmanager.numberOfTaskSlots": "1",
    "taskmanager.cpu.cores": "1",
    "taskmanager.memory.task.heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "1m",
    "taskmanager.memory.managed.size": "64m",
    **{f"taskmanager.memory.{part}": "64m" for part in ("framework.heap.size", "framework.off-heap.size")},
    **{f"taskmanager.memory.{part}": "64m" for part in ("network.min", "network.max")},
    **{f"taskmanager.memory.jvm-{part}": "64m" for part in ("overhead.min", "overhead.max")},
    "taskmanager.memory.jvm-metaspace.size": "128m",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "20",
    "restart-strategy.fixed-delay.delay": "1 s",
    "heartbeat.interval": "1000",  # two that cannot be sent tell that a task manager is gone
}
"""A cluster of Flink that begins what is lost again, with ports that the system chooses."""
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
    with _serving(line, folder / "log", JOB_SERVICE) as endpoint, _left_workers():
        options = ["--runner", "FlinkRunner", "--job_endpoint", endpoint, "--parallelism", "2"]
        yield [*options, "--environment_type", "LOOPBACK"]


@contextmanager
def flink_cluster(folder: Path) -> Iterator[tuple[list[str], int]]:
    """Beam's options for pipelines on a Flink of a job manager and a task manager, and the process of the latter.

    Another task manager begins when that is killed, as one does where clusters look after theirs.
    """
    needed(FLINK / ".jars", "fetches it, with Maven and Java")
    with ExitStack() as stack:
        (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in SMALL_FLINK.items()))
        small = [*JAVA, "-Xmx256m", f"-Djava.io.tmpdir={folder}"]
        telling = "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"
        entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        jobs = folder / "jobs.log"
        rest = stack.enter_context(
            _serving([*small, telling, entry, "--configDir", str(folder)], jobs, r"Rest endpoint listening at (\S+)\s")
        )
        port = _told(jobs, r"pekko\.tcp://flink@localhost:(\d+)\D")
        runner = ["org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", str(folder)]
        tasks = stack.enter_context(_kept([*small, *runner, "-D", f"jobmanager.rpc.port={port}"], folder / "tasks.log"))
        driver = ["org.apache.beam.runners.flink.FlinkJobServerDriver", f"--flink-master={rest}"]
        ports = ["--job-port=0", "--artifact-port=0", "--expansion-port=-1"]
        line = [*small, *driver, *ports, f"--artifacts-dir={folder / 'artifacts'}"]
        endpoint = stack.enter_context(_serving(line, folder / "server.log", JOB_SERVICE))
        _told(jobs, "Registering TaskManager")
        yield ["--runner", "FlinkRunner", "--job_endpoint", endpoint, "--parallelism", "1"], tasks


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
            yield _told(log, told)
        finally:
            server.kill()


def _told(log: Path, told: str) -> str:
    """What a log says, once it does."""
    found = until(
        lambda: re.search(told, log.read_text()), 180, otherwise=lambda: f"no {told} is told: {log.read_text()}"
    )
    return found[found.lastindex or 0]


@contextmanager
def _kept(line: list[str], log: Path) -> Iterator[int]:
    """The number of a process; another such begins when it ends."""
    over = threading.Event()
    with log.open("wb") as file:
        begun = [subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=file, stderr=file)]

        def begin_again() -> None:
            begun[0].wait()
            if not over.is_set():
                begun.append(subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=file, stderr=file))

        keeper = threading.Thread(target=begin_again)
        keeper.start()
        try:
            yield begun[0].pid
        finally:
            over.set()
            begun[0].kill()
            keeper.join()
            begun[-1].kill()
            begun[-1].wait()


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
