"""A server to be tormented, and what it depends on."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from glob import glob
from pathlib import Path
from typing import Any

import httpx
import yaml

from ..processes import children, is_replica
from ..until import until

ROOT = Path(__file__).parents[3]
MODELS = """
import numpy as np

WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)

class Thrice:
    def __call__(self, x):
        return (x * 3 + 1).astype(np.float32)

class Weighed:
    def __call__(self, x):
        return x @ WEIGHTS
"""
READY = r'motet_replica_state\{model="thrice",.*state="READY"'
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *offset;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CHAOS_CLOCK"), O_RDONLY);
    real = dlsym(RTLD_NEXT, "clock_gettime");
    offset = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, at);
    if (!done && offset && clock == CLOCK_REALTIME) at->tv_sec += *offset;
    return done;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
"""The time of day may step, all other clocks go on: libfaketime 0.9.10 fails `clock_nanosleep`, which Python sleeps with."""
GRAPH = {
    "motet": 1,
    "name": "g",
    "inputs": {"x": "float32[2]"},
    "models": {
        "thrice": {
            "uri": "python:chaos_models:Thrice", "inputs": {"x": "float32[2]"}, "outputs": {"y": "float32[2]"},
            "placement": "process", "replicas": 2, "timeout_s": 2,
        },
        "weighed": {
            "uri": "python:chaos_models:Weighed", "inputs": {"x": "float32[2]"}, "outputs": {"z": "float32[3]"},
        },
    },
    "nodes": {"a": {"model": "thrice", "inputs": ["x"]}, "b": {"model": "weighed", "inputs": ["x"]}},
    "outputs": {"y": "a", "z": "b"},
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Redis:
    """A Redis of its own; `$MOTET_REDIS_SERVER` names its program where it is not in the path."""

    def __init__(self, folder: Path) -> None:
        self._program = os.environ.get("MOTET_REDIS_SERVER") or shutil.which("redis-server")
        self.there, self.folder, self.port = self._program is not None, folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([str(self._program), *options], stdout=subprocess.DEVNULL)
        until(lambda: connects(self.port))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Postgres:
    """A cluster of its own."""

    def __init__(self, folder: Path) -> None:
        found = [*sorted(glob("/usr/lib/postgresql/*/bin")), os.path.dirname(shutil.which("initdb") or "")]
        self._bin = next((each for each in reversed(found) if each), "")
        self._user = None if os.geteuid() else "postgres"
        self.there = bool(self._bin) and (
            self._user is None or any(each.pw_name == "postgres" for each in pwd.getpwall())
        )
        self.folder, self.port = folder, free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        if self.there:
            folder.mkdir()
            if self._user:
                shutil.chown(folder, self._user)
            self.run("initdb", "-E", "UTF8", "-A", "trust", "-U", "postgres", "--no-sync")

    def run(self, name: str, *arguments: str) -> None:
        command = [f"{self._bin}/{name}", "-D", str(self.folder / "data"), *arguments]
        if self._user:  # not by `user=`, which forks in the middle of calls into gRPC, whose handlers may end the copy
            command = [shutil.which("runuser") or "runuser", "-u", self._user, "--", *command]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, timeout=120, env={"LC_ALL": "C"})
        assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -F"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def kill(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.run("pg_ctl", "-w", "-m", "immediate", "stop")


class World:
    """The server, and everything that can be done to it.

    Args:
        folder: for all of it; one that another user may enter.
        small: leave Postgres out, and write records to SQLite.
    """

    def __init__(self, folder: Path, *, small: bool) -> None:
        self.folder, self.port, self.grpc_port = folder, free_port(), free_port()
        self.redis, self.log = Redis(folder), folder / "server.log"
        self.postgres = None if small else Postgres(folder / "postgres")
        if self.postgres is not None and not self.postgres.there:
            self.postgres = None
        self.clock = self._made_clock()
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.mounted = self._mount()
        (folder / "chaos_models.py").write_text(MODELS)
        (folder / "g.yaml").write_text(yaml.safe_dump(GRAPH, sort_keys=False))
        (folder / "serve.yaml").write_text(yaml.safe_dump(self._config(), sort_keys=False))
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.fallen: set[int] = set()
        """Processes that serve and that were killed, or will be."""
        self.counted: Counter[str] = Counter()
        """Incidents that the servers before this one have counted."""

    def _made_clock(self) -> str:
        """What is loaded before the server, so that its clock can be set; empty where there is no compiler."""
        compiler, made = shutil.which("cc"), self.folder / "clock.so"
        if compiler is None or sys.platform != "linux":
            return ""
        (self.folder / "clock").write_bytes(bytes(8))
        (self.folder / "clock.c").write_text(CLOCK)
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(self.folder / "clock.c"), "-ldl"]
        return str(made) if subprocess.run(command, capture_output=True, check=False).returncode == 0 else ""

    def _mount(self) -> bool:
        if os.geteuid():
            return False
        command = ["mount", "-t", "tmpfs", "-o", "size=128m", "chaos", str(self.disk)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _config(self) -> dict[str, Any]:
        rate = {"rate": "100000/second"}
        admission: dict[str, Any] = {
            "classes": {"anonymous": rate},
            "audit": {"file": str(self.disk / "audit.jsonl")},
        }
        if self.redis.there:
            admission |= {"redis": f"redis://127.0.0.1:{self.redis.port}/0", "fail": "open"}
        database = f"sqlite:///{self.folder}/records.db" if self.postgres is None else self.postgres.url
        retry = {"batch_s": 0.1, "retry_s": 0.5, "timeout_s": 2}
        sinks = [
            {"to": database, "name": "base", "durable": True, **retry},
            {"to": str(self.disk / "kept.jsonl"), "name": "disk", "sample": 0.1, **retry},
        ]
        return {
            "processes": 2, "threads": 2, "log": {"format": "json"}, "sinks": sinks, "admission": admission,
            "limits": {"hang_timeout_s": 3, "answer_timeout_s": 15, "drain_timeout_s": 5},
            "observability": {"access_log": {"file": str(self.disk / "access.jsonl"), "file_bytes": 200_000, "files": 2}},
        }  # fmt: skip

    def missing(self) -> list[str]:
        """What the machine does not have."""
        has = {
            "Redis": self.redis.there,
            "Postgres": self.postgres,
            "a compiler": self.clock,
            "a small disk": self.mounted,
        }
        return [name for name, there in has.items() if not there]

    def begin(self) -> None:
        for each in (self.redis, self.postgres):
            if each is not None and each.there:
                each.start()
        self.start()

    def start(self) -> None:
        """Start the server, and wait until all its processes serve."""
        before = os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), str(self.folder), before]))
        env = {**os.environ, "PYTHONPATH": path, "MOTET_CACHE_DIR": str(self.folder / "cache")}
        if self.clock:
            self.step_clock(0)
            env |= {"LD_PRELOAD": self.clock, "CHAOS_CLOCK": str(self.folder / "clock")}
        ports = ["--port", str(self.port), "--grpc-port", str(self.grpc_port)]
        command = [sys.executable, "-m", "motet.cli", "serve", "g.yaml", "--config", "serve.yaml", *ports]
        with self.log.open("ab") as log:
            self.supervisor = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log)
        until(self.whole, 120)

    def whole(self) -> bool:
        """Whether all processes serve, with all their replicas."""
        gateways, numbers = self.gateways(), self.metrics()
        ready = sum(value for name, value in numbers.items() if re.match(READY, name))
        each_has_two = all(len(self.replicas(each)) == 2 for each in gateways)
        return len(gateways) == 2 and each_has_two and numbers.get("motet_processes") == 2 and ready == 4

    def gateways(self) -> list[int]:
        """The processes that serve."""
        return children(self.supervisor.pid) if self.supervisor is not None else []

    def replicas(self, gateway: int) -> list[int]:
        """The processes of models."""
        return [each for each in children(gateway) if is_replica(each)]

    def step_clock(self, seconds: int) -> None:
        """Set the clock of the server forward or back."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def fill_disk(self) -> None:
        """Leave no room for the files of lines and a sink; where nothing can be mounted, let no file be written."""
        if not self.mounted:
            self._limit_files(1)
            return
        with contextlib.suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)

    def empty_disk(self) -> None:
        if not self.mounted:
            self._limit_files(resource.RLIM_INFINITY)
        (self.disk / "filler").unlink(missing_ok=True)

    def _limit_files(self, num_bytes: int) -> None:
        for pid in self.gateways():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))

    def metrics(self) -> dict[str, float]:
        """Every number that the server shows, by its name with labels; none where it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=3).text
        except httpx.HTTPError:
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, _, value in lines}

    def incidents(self) -> Counter[str]:
        """What the server has counted, with what those before it had."""
        prefix = 'motet_incidents_total{incident="'
        shown = {
            name[len(prefix) : -2]: int(value) for name, value in self.metrics().items() if name.startswith(prefix)
        }
        return self.counted + Counter(shown)

    def lines(self) -> list[dict[str, Any]]:
        """The log, with the place of each line as `at`; a line that is no JSON has only `raw`."""
        found: list[dict[str, Any]] = []
        for at, line in enumerate(self.log.read_text(errors="replace").splitlines()):
            try:
                found.append({**json.loads(line), "at": at})
            except ValueError:
                found.append({"raw": line, "at": at})
        return found

    def records(self) -> set[str]:
        """The ids of the requests whose records are in the database."""
        query = "SELECT DISTINCT request FROM predictions"
        if self.postgres is None:
            with contextlib.closing(sqlite3.connect(self.folder / "records.db")) as base:
                return {row[0] for row in base.execute(query)}
        import psycopg

        with psycopg.connect(self.postgres.url) as connection:
            return {row[0] for row in connection.execute(query)}

    def stop(self) -> int | None:
        """End the server as an operator does; its exit code, None where it did not end in time."""
        assert self.supervisor is not None
        self.supervisor.send_signal(signal.SIGTERM)
        try:
            return self.supervisor.wait(60)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End all that is left of it."""
        if self.supervisor is not None and self.supervisor.poll() is None:
            for pid in self.gateways():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.supervisor.kill()
            self.supervisor.wait()
        self.redis.kill()
        if self.postgres is not None:
            self.postgres.kill()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
