"""Runs a server: in this process, or in several that share its ports and one folder.

The parent of several processes serves nothing itself. It holds the ports, starts the others, starts one anew that has
ended, with a growing pause, and gives up when they end again and again before they are ready. Signals are handed on.
Only the first listens before it is ready: whoever finds the server ready meets no process that still loads.
A child that finds its parent gone ends as if it had been told to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from motet.errors import InputError
from motet.serving.config import ServeConfig
from motet.serving.server import Server, bind, serve
from motet.system.limits import num_cores
from motet.system.places import temporary_folder

__all__ = ["run"]

_LOG = logging.getLogger("motet.serving")
WORKER = "MOTET_SERVE_WORKER"
"""Tells a process that it is one of several: `HTTP PORT:GRPC PORT:FOLDER`."""
LATE = "MOTET_SERVE_LATE"
"""Tells one of several processes to listen when it has loaded, and the first has, and not before."""
LOADED = "first-loaded"
"""The file in the folder that processes share which says that the first has."""
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Before a process is started anew, by how often it has ended soon after its start."""
SOON_S = 10.0
TRIES = 5
"""Times that processes may end soon after their start, one after the other, before the server gives up."""
LOOK_S = 0.05
LEAVE_S = 2.0
"""What a process that has closed everything may take to end."""


def run(
    graphs: Sequence[str],
    config: ServeConfig,
    reconfigure: Callable[[], ServeConfig],
    told: Callable[[Server], Any] | None,
) -> None:
    """Serve until a signal ends it.

    Args:
        graphs: the files of the graphs.
        config: how.
        reconfigure: reads the configuration again.
        told: called when the server listens; in one of several processes never.

    Raises:
        MotetError: when the ports cannot be had, or processes end again and again.
    """
    worker = os.environ.get(WORKER)
    if worker is not None:
        _work(graphs, config, reconfigure, worker)
    elif config.processes > 1:
        _Parent(graphs, config).run()
    else:
        _unused(config)
        _loop(serve(graphs, config, told or (lambda server: None), reconfigure=reconfigure))


def _loop(main: Any) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
        threading.Thread(target=_leave, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):  # the loop has given them back
        signal.signal(number, lambda *_: os._exit(0))


def _leave() -> None:
    """End the process though a thread still plays something: it cannot be interrupted, and nobody waits for its answer."""
    time.sleep(LEAVE_S)
    os._exit(0)


def _work(graphs: Sequence[str], config: ServeConfig, reconfigure: Callable[[], ServeConfig], worker: str) -> None:
    port, grpc_port, folder = worker.split(":", 2)
    threads = config.threads or max(1, num_cores() // config.processes)
    threading.Thread(target=_until_parent_ends, daemon=True).start()

    def mine(config: ServeConfig) -> ServeConfig:
        return replace(config, threads=threads, port=int(port), grpc_port=int(grpc_port) if grpc_port else None)

    again = lambda: mine(reconfigure())  # noqa: E731
    late, loaded = os.environ.get(LATE) == "1", Path(folder, LOADED)
    _loop(serve(graphs, mine(config), lambda server: None, late=late, loaded=loaded, folder=folder, reconfigure=again))


def _until_parent_ends() -> None:
    """The parent holds the other end of our standard input: it is closed when the parent is gone, however it ended."""
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


def _unused(config: ServeConfig) -> None:
    """See that nobody listens on the ports.

    Raises:
        InputError: when somebody does.
    """
    for port in (config.port, config.grpc_port):
        if port:
            bind(config.host, port, shared=False).close()


@dataclass
class _Worker:
    """One of several processes."""

    process: subprocess.Popen[bytes]
    started: float
    late: bool
    ended_soon: int = 0
    again_at: float | None = None
    told: bool = False
    """Whether it was told to end: a second time would end it at once."""


class _Parent:
    """Holds the ports and the processes.

    Args:
        graphs: the files of the graphs.
        config: how to serve.
    """

    def __init__(self, graphs: Sequence[str], config: ServeConfig) -> None:
        _unused(config)
        self.config = config
        self._http = bind(config.host, config.port)
        self._grpc = None if config.grpc_port is None else bind(config.host, config.grpc_port)
        self._folder = tempfile.mkdtemp(prefix="motet-serve-", dir=temporary_folder())
        self._workers: list[_Worker] = []
        self._stopping = False

    def run(self) -> None:
        """Start the processes, and keep them until a signal comes.

        Raises:
            InputError: when they end again and again.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, lambda number, frame: self._tell(signal.SIGHUP))
        for _ in range(self.config.processes):
            self._workers.append(self._start())
        _LOG.info("%d processes serve on %s:%d", self.config.processes, self.config.host, self._http.getsockname()[1])
        try:
            self._watch()
        finally:
            self._end()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> _Worker:
        grpc = "" if self._grpc is None else self._grpc.getsockname()[1]
        early = (worker for worker in self._workers if not worker.late and worker.process.poll() is None)
        late = any(early) or Path(self._folder, LOADED).exists()
        environment = {
            **os.environ,
            WORKER: f"{self._http.getsockname()[1]}:{grpc}:{self._folder}",
            LATE: str(int(late)),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "motet.cli", *sys.argv[1:]], env=environment, stdin=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        return _Worker(process, time.monotonic(), late)

    def _watch(self) -> None:
        while not self._stopping:
            for place, worker in enumerate(self._workers):
                self._look_at(place, worker)
            time.sleep(LOOK_S)

    def _look_at(self, place: int, worker: _Worker) -> None:
        now = time.monotonic()
        code = worker.process.poll()
        if code is None or self._stopping:
            return
        if worker.again_at is None:
            soon = now - worker.started < SOON_S
            worker.ended_soon = worker.ended_soon + 1 if soon else 0
            if code == 2 or worker.ended_soon >= TRIES:
                raise InputError(
                    f"a process of the server ended with code {code} soon after its start, and again and again"
                )
            pause = PAUSES_S[min(worker.ended_soon, len(PAUSES_S) - 1)]
            _LOG.error("process %d ended with code %d; another takes its place", worker.process.pid, code)
            worker.again_at = now + pause
        if now >= worker.again_at:
            self._workers[place] = replace(self._start(), ended_soon=worker.ended_soon)

    def _stop(self, number: int, frame: Any) -> None:
        self._stopping = True
        self._tell(signal.SIGTERM)

    def _tell(self, number: int) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.told = worker.told or number == signal.SIGTERM
                worker.process.send_signal(number)

    def _end(self) -> None:
        """Wait for the processes to finish what they accepted, and end those that take too long."""
        for worker in self._workers:
            if not worker.told and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + self.config.limits.drain_timeout_s + 5
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
