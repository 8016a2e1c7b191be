"""Runs a server: in this process, or in several that share its ports and one folder.

The parent of several processes serves nothing itself. It holds the ports, starts the others, starts one anew that has ended
or that hangs (see `heartbeat.py`), with a growing pause, and gives up when they end again and again and none serves.
Signals are handed on.
Only the first listens before it is ready: whoever finds the server ready meets no process that still loads.
A child that finds its parent gone ends as if it had been told to; one that cannot find it, as it hangs, is killed a while later.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from motet.errors import InputError, MotetError
from motet.serving.config.server import ServeConfig
from motet.serving.observability.incidents import say_stall
from motet.serving.observability.server_log import set_up
from motet.serving.process.heartbeat import Heartbeat, Pulse
from motet.serving.process.server import Server, bind, check_unused, new_runner, owner_socket, serve
from motet.system import lifeline
from motet.system.addresses import in_url
from motet.system.incidents import INCIDENTS
from motet.system.limits import num_cores
from motet.system.processes import how_ended
from motet.system.run_folders import RunFolder

__all__ = ["run"]

_LOG = logging.getLogger("motet.serving")
WORKER = "MOTET_SERVE_WORKER"
"""Tells a process that it is one of several: `HTTP PORT:GRPC PORT:NUMBER OF THE OWNER'S SOCKET:FOLDER`."""
LATE = "MOTET_SERVE_LATE"
"""Tells one of several processes to listen when it has loaded, and the first has, and not before."""
REPLACES = "MOTET_SERVE_REPLACES"
"""Tells a process what was the matter with those that it takes the place of: each has `ended`, or `hung`."""
LOADED = "first-loaded"
"""The file in the folder that processes share which says that the first has."""
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Before a process is started anew, by how often it has ended soon after its start."""
SOON_S = 10.0
TRIES = 5
"""Times that processes may end soon after their start, one after the other, before a server of which none serves gives up."""
LOOK_S = 0.05
LEAVE_S = 2.0
"""What a process that has closed everything may take to end."""
MOST_UNCOUNTED = 1024
"""Incidents of the parent that wait for a process that counts them."""


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
        _Parent(graphs, config, reconfigure).run()
    else:
        check_unused(config)
        _loop(serve(graphs, config, told or (lambda server: None), reconfigure=reconfigure))


def _loop(main: Any) -> None:
    with new_runner() as runner:
        runner.run(main)
        threading.Thread(target=_leave, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):  # the loop has given them back
        signal.signal(number, lambda *_: os._exit(0))


def _leave() -> None:
    """End the process though a thread still plays something: it cannot be interrupted, and nobody waits for its answer."""
    time.sleep(LEAVE_S)
    os._exit(0)


def _work(graphs: Sequence[str], config: ServeConfig, reconfigure: Callable[[], ServeConfig], worker: str) -> None:
    lifeline.hold()
    port, grpc_port, number, folder = worker.split(":", 3)
    threads = config.threads or max(1, num_cores() // config.processes)
    link = socket.socket(fileno=os.dup(0))
    owner = socket.socket(fileno=int(number)) if number else None
    if owner is not None:
        owner.set_inheritable(False)
    threading.Thread(target=_until_parent_ends, args=(link,), daemon=True).start()

    def begin(server: Server) -> None:
        for reason in os.environ.get(REPLACES, "").split():
            server.parts.observability.process_replaced(reason)
        heartbeat = Heartbeat(link, lambda: server.repository.busy or not server.serves)
        server.repository.rested.append(heartbeat.send)
        heartbeat.start()

    def mine(config: ServeConfig) -> ServeConfig:
        return replace(config, threads=threads, port=int(port), grpc_port=int(grpc_port) if grpc_port else None)

    again = lambda: mine(reconfigure())  # noqa: E731
    late, loaded = os.environ.get(LATE) == "1", Path(folder, LOADED)
    parts = {"folder": folder, "reconfigure": again, "owner": owner}
    _loop(serve(graphs, mine(config), begin, late=late, loaded=loaded, **parts))


def _until_parent_ends(link: socket.socket) -> None:
    """The parent holds the other end of our standard input: it is closed when the parent is gone, however it ended. Until then
    it tells which incidents are to be counted."""
    with contextlib.suppress(ConnectionError), link.makefile("rb") as incidents:
        for kind in incidents:
            INCIDENTS.count(kind.decode().strip())
    INCIDENTS.say(
        _LOG, "supervisor_lost", "process %d ends: the parent of the server's processes has ended", os.getpid()
    )
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class _Worker:
    """One of several processes."""

    process: subprocess.Popen[bytes]
    pulse: Pulse
    started: float
    late: bool
    ended_soon: int = 0
    again_at: float | None = None
    told: bool = False
    """Whether it was told to end: a second time would end it at once."""
    hung: bool = False
    """Whether it was killed because it was silent."""
    replaces: tuple[str, ...] = ()
    """What was the matter with those that it takes the place of, and that it counts when it lives."""
    lost_at: float | None = None
    """When the one before it was lost; None where there was none, or once it serves itself."""


class _Parent:
    """Holds the ports and the processes.

    Args:
        graphs: the files of the graphs.
        config: how to serve.
        reconfigure: reads the configuration again.
    """

    def __init__(self, graphs: Sequence[str], config: ServeConfig, reconfigure: Callable[[], ServeConfig]) -> None:
        check_unused(config)
        self._reconfigure, self._again = reconfigure, False
        self.config, self._ending_s = config, config.limits.drain_timeout_s + 5
        self._http = bind(config.host, config.port)
        self._grpc = None if config.grpc_port is None else bind(config.host, config.grpc_port)
        self._shared = RunFolder("motet-serve-")
        self._folder = self._shared.path
        self._owner = owner_socket(self._http.getsockname()[1])
        self._workers: list[_Worker] = []
        self._stopping = False
        self._uncounted: deque[str] = deque(maxlen=MOST_UNCOUNTED)

    def run(self) -> None:
        """Start the processes, and keep them until a signal comes.

        Raises:
            InputError: when they end again and again.
        """
        lifeline.outlive(self._ending_s)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        INCIDENTS.counters.append(self._to_count)
        host, port = in_url(self.config.host), self._http.getsockname()[1]
        try:
            for _ in range(self.config.processes):
                self._workers.append(self._start())
            _LOG.info("%d processes serve on %s:%d", self.config.processes, host, port)
            self._watch()
        finally:
            self._end()
            if self._owner is not None:
                self._owner.close()
            self._shared.close()
            INCIDENTS.counters.remove(self._to_count)

    def _start(self, replaces: tuple[str, ...] = ()) -> _Worker:
        grpc = "" if self._grpc is None else self._grpc.getsockname()[1]
        owner = () if self._owner is None else (self._owner.socket.fileno(),)
        early = (worker for worker in self._workers if not worker.late and worker.process.poll() is None)
        late = any(early) or Path(self._folder, LOADED).exists()
        environment = {
            **os.environ,
            WORKER: f"{self._http.getsockname()[1]}:{grpc}:{''.join(map(str, owner))}:{self._folder}",
            LATE: str(int(late)),
            REPLACES: " ".join(replaces),
        }
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "motet.cli", *sys.argv[1:]]
            process = lifeline.start(command, env=environment, stdin=theirs.fileno(), pass_fds=owner)
        now = time.monotonic()
        pulse = Pulse(ours, process.pid, self.config.limits.hang_timeout_s, now)
        return _Worker(process, pulse, now, late, replaces=replaces)

    def _watch(self) -> None:
        while not self._stopping:
            for place, worker in enumerate(self._workers):
                self._look_at(place, worker)
            INCIDENTS.tell_rest()
            self._have_counted()
            if self._again:
                self._again = False
                with contextlib.suppress(MotetError, OSError):  # which the processes say
                    set_up(self._reconfigure().log)
            looked = time.monotonic()
            time.sleep(LOOK_S)
            say_stall(_LOG, time.monotonic() - looked - LOOK_S)

    def _have_counted(self) -> None:
        """Tell one of the processes what the parent has said, which has no metrics."""
        serving = [worker.pulse for worker in self._workers if worker.pulse.serving and worker.process.poll() is None]
        while self._uncounted and any(pulse.count(self._uncounted[0]) for pulse in serving):
            self._uncounted.popleft()

    def _to_count(self, kind: str) -> None:
        if not kind.startswith("process_"):  # of which those tell that take the place of others
            self._uncounted.append(kind)

    def _look_at(self, place: int, worker: _Worker) -> None:
        now = time.monotonic()
        code = worker.process.poll()
        if code is None:
            self._listen_to(worker, now)
            return
        if self._stopping:
            return
        if worker.again_at is None:
            worker.again_at = now + self._pause_s(worker, code, now)
            worker.lost_at = worker.lost_at or now
        if now >= worker.again_at:
            worker.pulse.close()
            uncounted = () if worker.pulse.heard else worker.replaces
            anew = self._start((*uncounted, "hung" if worker.hung else "ended"))
            self._workers[place] = replace(anew, ended_soon=worker.ended_soon, lost_at=worker.lost_at)

    def _listen_to(self, worker: _Worker, now: float) -> None:
        """Kill a process that hangs: another takes its place, and its connections are closed."""
        pid = worker.process.pid
        if not worker.hung and worker.pulse.hangs(now):
            text = "process %d hangs: it has given no sign of life for %.1f s, and is killed"
            INCIDENTS.say(_LOG, "process_hung", text, pid, worker.pulse.silent_s, process=pid)
            worker.hung = True
            worker.process.kill()
        elif worker.lost_at is not None and worker.pulse.serving:
            text = "process %d serves in the place of one that was lost, after %.1f s"
            INCIDENTS.say(_LOG, "process_back", text, pid, now - worker.lost_at, process=pid)
            worker.lost_at = None

    def _pause_s(self, worker: _Worker, code: int, now: float) -> float:
        """How long nobody takes the place of a process that has ended with this code.

        Raises:
            InputError: when none serves, and that is so again and again.
        """
        soon = now - worker.started < SOON_S
        worker.ended_soon = worker.ended_soon + 1 if soon else 0
        serving = any(each.pulse.serving for each in self._workers if each is worker or each.process.poll() is None)
        if not serving and (code == 2 or worker.ended_soon >= TRIES):
            raise InputError(
                f"a process of the server ended with code {code} soon after its start, and again and again"
            )
        pid, ended = worker.process.pid, how_ended(code)
        if worker.hung:
            _LOG.info("process %d %s; another takes its place", pid, ended)
        else:
            text = "process %d %s; another takes its place"
            INCIDENTS.say(_LOG, "process_lost", text, pid, ended, process=pid, code=code)
        return PAUSES_S[min(worker.ended_soon, len(PAUSES_S) - 1)]

    def _stop(self, number: int, frame: Any) -> None:
        self._stopping = True
        self._tell(signal.SIGTERM)

    def _reload(self, number: int, frame: Any) -> None:
        self._again = True
        self._tell(signal.SIGHUP)

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
        end = time.monotonic() + self._ending_s
        while (left := [each for each in self._workers if each.process.poll() is None]) and time.monotonic() < end:
            for worker in left:
                self._listen_to(worker, time.monotonic())
            time.sleep(LOOK_S)
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
            worker.pulse.close()
