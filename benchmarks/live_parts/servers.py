"""Starting, watching and ending a server; its processor time and memory, those of all its processes together."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.live_parts.bodies import GRAPHS, Answer, Ask, Dialect, asks, meaning
from benchmarks.live_parts.peers.answering import FOLDER, WEIGHTS, Images
from benchmarks.live_parts.work import Work
from benchmarks.measure import ROOT, process_tree

__all__ = [
    "CANDIDATES",
    "Candidate",
    "Server",
    "ServerError",
    "ask_of",
    "cpu_s",
    "free_port",
    "rss_bytes",
    "started",
    "wrong",
]

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
ASK_TIMEOUT_S: Final = 5.0
LAST_CHARACTERS: Final = 600


class ServerError(RuntimeError):
    """A server did not start, or did not answer."""


@dataclass(frozen=True)
class Candidate:
    """A kind of server.

    Attributes:
        name: its name.
        dialect: how it is asked.
        module: what must be importable for it, empty for Motet itself.
        options: more arguments.
    """

    name: str
    dialect: Dialect = "plain"
    module: str = ""
    options: tuple[str, ...] = ()

    def command(self, python: str, work: Work, port: int, folder: Path) -> list[str]:
        """How it is started.

        Args:
            python: the Python that has the peers.
            work: what it is to serve.
            port: where.
            folder: where a graph file may be written.
        """
        if self.dialect == "oip":
            file = graph_file(work.job, folder)
            place = ["--host", "127.0.0.1", "--port", str(port), "--grpc-port", "0"]
            return [sys.executable, "-m", "motet.cli", "serve", str(file), *place, *self.options]
        module = f"benchmarks.live_parts.peers.{self.name.partition('-')[0]}"
        asked = ["--port", str(port), "--job", work.job, "--encoding", work.encoding]
        return [python, "-m", module, *asked, *self.options]


CANDIDATES: Final = {
    candidate.name: candidate
    for candidate in (
        Candidate("motet", "oip"),
        Candidate("motet-2", "oip", options=("--processes", "2")),
        Candidate("mosec", module="mosec", options=("--wait-ms", "2")),
        Candidate("mosec-nowait", module="mosec"),
        Candidate("mosec-2", module="mosec", options=("--wait-ms", "2", "--workers", "2")),
        Candidate("uvicorn", module="uvicorn"),
        Candidate("uvicorn-tick", module="uvicorn", options=("--tick",)),
        Candidate("fastapi", module="fastapi"),
        Candidate("bare", module="uvloop"),
    )
}


def graph_file(job: str, folder: Path) -> Path:
    """The graph of a job, written into a folder."""
    weights = WEIGHTS[job]
    models = ", ".join(f"{name}: {{uri: {FOLDER / name}.onnx}}" for name in weights)
    whole = f"ensemble: [{', '.join(weights)}], weights: {list(weights.values())}"
    answer = whole if len(weights) > 1 else f"model: {next(iter(weights))}"
    path = folder / f"{GRAPHS[job]}.yaml"
    path.write_text(
        f"motet: 1\nname: {GRAPHS[job]}\ninputs: {{image: 'uint8[28,28]'}}\nmodels: {{{models}}}\nnodes:\n"
        "  pixels: {map: motet.ops.image.scale, inputs: [image], with: {by: 255}}\n"
        f"  answer: {{{answer}, inputs: [pixels]}}\n"
        "  top: {map: motet.ops.scores.top1, inputs: [answer.probabilities]}\n"
        "outputs: {label: top.index, score: top.score}\n",
        encoding="utf-8",
    )
    return path


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def ask_of(port: int, ask: Ask) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of the answer to one request, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("POST", ask.path, ask.body, dict(ask.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()
    finally:
        connection.close()


class Server:
    """A server that runs.

    Args:
        process: its first process.
        port: where it listens on loopback.
        log: what it prints.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log

    def said(self) -> str:
        """The last of what it printed."""
        return self._log.read_text(errors="replace")[-LAST_CHARACTERS:].strip()

    def ask(self, ask: Ask) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to one request; see `ask_of`."""
        return ask_of(self.port, ask)

    def wait(self, right: Callable[[], bool]) -> None:
        """Ask until there is a right answer.

        Raises:
            ServerError: when the process ends, or there is none in START_TIMEOUT_S.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if right():
                    return
            if time.monotonic() > deadline:
                raise ServerError(f"no right answer in {START_TIMEOUT_S:g} s; it said: {self.said()}")
            time.sleep(0.002)
        raise ServerError(f"ended with exit code {self.process.returncode}; it said: {self.said()}")

    def stop(self) -> None:
        """Ask it to end, then make it end."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def started(command: Sequence[str], port: int, folder: Path, source: str = "") -> Iterator[Server]:
    """A server in a process group of its own, ended at the end.

    Args:
        command: how it is started.
        port: where it will listen.
        folder: where its output goes, in a file named for the port, and where Motet remembers things.
        source: a folder with Motet's source, before all others.
    """
    places = (source, str(ROOT), str(ROOT / "src"))
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "MOTET_CACHE_DIR": str(folder / "cache"),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    server = Server(process, port, log)
    try:
        yield server
    finally:
        server.stop()


def wrong(server: Server, candidate: Candidate, work: Work, images: Images, wanted: Sequence[Answer]) -> str:
    """What is wrong with a server's answers, empty where they are the models' own."""
    for place, ask in enumerate(asks(candidate.dialect, work, images)):
        status, headers, body = server.ask(ask)
        if status != 200:
            return f"status {status}: {body[:200].decode(errors='replace')}"
        try:
            difference = meaning(candidate.dialect, headers, body, work.encoding).difference(wanted[place])
        except (ValueError, KeyError) as error:
            return f"no answer to what was asked: {error!r}: {body[:200]!r}"
        if difference:
            return f"request {place}: {difference}"
    return ""


def cpu_s(pid: int) -> float:
    """Processor time of a process and its descendants, those that have ended and were waited for too; Linux only."""
    ticks = sum(sum(_stat(each)) for each in process_tree(pid))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[int]:
    """utime, stime, cutime and cstime of a process, proc(5); the name before them may hold blanks and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return [int(value) for value in text.rpartition(")")[2].split()[11:15]]


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; Linux only. Shared pages count for each."""
    page = os.sysconf("SC_PAGE_SIZE")
    found = 0
    for each in process_tree(pid):
        with suppress(OSError):
            found += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * page
    return found
