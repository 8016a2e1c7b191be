"""Live: Motet's server beside others, on the same models, with the same pictures, in the same minutes.

    python -m benchmarks.live                                           # every job, every peer that is installed
    python -m benchmarks.live --peers motet,mosec --jobs mlp-binary --connections 64 --rounds 10
    python -m benchmarks.live --peers-python PEERS/bin/python --json live.json

Every server is a process of its own on loopback. Its answers are compared with the models' own first; one that disagrees
is not timed. Then wrk drives them in turn (A B C A B C ...), while the others idle. A ratio is Motet's requests a second
over theirs in the same round: above 1, Motet is faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.bulk import machine
from benchmarks.live_parts.bodies import Answer, asks, fashion_images
from benchmarks.live_parts.load import LoadError, drive, driver, written
from benchmarks.live_parts.peers.answering import Images, Models
from benchmarks.live_parts.report import Round, cold_start_table, goals, table_of
from benchmarks.live_parts.servers import CANDIDATES, Candidate, Server, ServerError, cpu_s, free_port, started, wrong
from benchmarks.live_parts.work import COLD_START, WORKS, Work

__all__ = ["main"]

REQUESTS: Final = 64
"""Different requests that are sent in turn."""
CHECKED: Final = 16
"""Requests whose answers are compared before anything is timed."""
WARM_S: Final = 1.0
OURS: Final = "motet"
JOBS: Final = (*WORKS, COLD_START.name)
PARTS: Final = ("mosec", "uvicorn", "fastapi", "uvloop", "httptools", "msgspec", "numpy", "onnxruntime")
"""Packages of the peers whose versions are kept."""


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        peers: who takes part, in their order in a round; names of `CANDIDATES`, or `motet:FOLDER`, Motet's source there.
        connections: how many there are at once, each in turn.
        seconds: how long a server is driven at a time.
        rounds: how often.
        python: the Python that has the peers.
        options: of `motet serve`.
        folder: for files.
        wrk: where it is, or empty.
    """

    peers: tuple[str, ...]
    connections: tuple[int, ...]
    seconds: float
    rounds: int
    python: str
    options: tuple[str, ...]
    folder: Path
    wrk: str

    def candidate(self, peer: str) -> Candidate:
        """A peer by its name."""
        found = CANDIDATES[peer.partition(":")[0]]
        return Candidate(peer, found.dialect, found.module, self.options) if found.name == OURS else found

    def start(self, stack: ExitStack, peer: str, work: Work) -> Server:
        """Start a server, which ends with the stack."""
        port = free_port()
        command = self.candidate(peer).command(self.python, work, port, self.folder)
        source = peer.partition(":")[2]
        return stack.enter_context(started(command, port, self.folder, str(Path(source).resolve()) if source else ""))


@cache
def installed(python: str, module: str) -> bool:
    """Whether a Python can import a module."""
    command = [python, "-c", f"import {module}, onnxruntime, msgspec"]
    return not module or subprocess.run(command, capture_output=True, check=False).returncode == 0


def versions(python: str) -> dict[str, str]:
    """What a Python has of what the peers are made of."""
    code = (
        "import json; from importlib.metadata import distributions; "
        "print(json.dumps({each.name.lower(): each.version for each in distributions()}))"
    )
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    found = json.loads(run.stdout) if run.returncode == 0 else {}
    return {name: found[name] for name in PARTS if name in found}


def images_of(work: Work) -> tuple[Images, list[Answer]]:
    """The pictures that are sent, and the models' own answers, request by request."""
    images = fashion_images(REQUESTS * work.rows)
    models = Models(work.job)
    return images, [Answer(*models(part)) for part in images.reshape(-1, work.rows, 28, 28)]


def right_ones(stack: ExitStack, work: Work, settings: Settings) -> tuple[dict[str, Server], dict[str, str]]:
    """The servers that answer rightly, running, and why the others do not."""
    images, wanted = images_of(work)
    servers: dict[str, Server] = {}
    reasons: dict[str, str] = {}
    for peer in settings.peers:
        candidate = settings.candidate(peer)
        if not installed(settings.python, candidate.module):
            reasons[peer] = "not installed"
            continue
        server = settings.start(stack, peer, work)
        first = asks(candidate.dialect, work, images[: work.rows])[0]
        try:
            server.wait(lambda server=server, first=first: server.ask(first)[0] == 200)  # type: ignore[misc]
            reason = wrong(server, candidate, work, images[: CHECKED * work.rows], wanted)
        except (ServerError, OSError) as error:
            reason = str(error)
        if reason:
            reasons[peer] = reason
        else:
            servers[peer] = server
    return servers, reasons


def compare(work: Work, settings: Settings) -> tuple[dict[int, dict[str, list[Round | None]]], dict[str, str]]:
    """Drive the servers of a job in turn: what each did, by connections, name and round."""
    images, _ = images_of(work)
    found: dict[int, dict[str, list[Round | None]]] = {}
    with ExitStack() as stack:
        servers, reasons = right_ones(stack, work, settings)
        files = {
            peer: written(asks(settings.candidate(peer).dialect, work, images), settings.folder, peer.replace("/", "_"))
            for peer in servers
        }
        for connections in work.connections or settings.connections:
            for peer, server in servers.items():
                _round(server, files[peer], connections, WARM_S, settings)
            rounds: dict[str, list[Round | None]] = {peer: [] for peer in servers}
            for _ in range(settings.rounds):
                for peer, server in servers.items():
                    rounds[peer].append(_round(server, files[peer], connections, settings.seconds, settings))
            found[connections] = rounds
            print(table_of(f"{work.name}, {connections} connections", rounds, reasons), end="\n\n", flush=True)
    return found, reasons


def _round(server: Server, files: Sequence[str], connections: int, seconds: float, settings: Settings) -> Round | None:
    """Drive a server once; None where that failed."""
    before = cpu_s(server.process.pid)
    try:
        driven = drive(server.port, files, connections, seconds, settings.folder, settings.wrk)
    except LoadError as error:
        print(f"live: {error}", file=sys.stderr)
        return None
    spent = cpu_s(server.process.pid) - before
    if server.process.poll() is not None or not driven.requests:
        return None
    return Round(driven.per_s, driven.p50_ms, driven.p99_ms, spent / driven.requests * 1000, driven.errors)


def cold_start(settings: Settings) -> dict[str, list[float | None]]:
    """Seconds from the start of a process to its first right answer, by name and round; the first is not counted."""
    images, wanted = images_of(COLD_START)
    peers = [peer for peer in settings.peers if installed(settings.python, settings.candidate(peer).module)]
    seconds: dict[str, list[float | None]] = {peer: [] for peer in peers}
    for turn in range(settings.rounds + 1):
        for peer in peers:
            taken = _cold(peer, images[:1], wanted[:1], settings)
            if turn:
                seconds[peer].append(taken)
    return seconds


def _cold(peer: str, images: Images, wanted: Sequence[Answer], settings: Settings) -> float | None:
    candidate = settings.candidate(peer)
    with ExitStack() as stack:
        begun = time.perf_counter()
        server = settings.start(stack, peer, COLD_START)
        try:
            server.wait(lambda: not wrong(server, candidate, COLD_START, images, wanted))
        except ServerError as error:
            print(f"live: {peer}: {error}", file=sys.stderr)
            return None
        return time.perf_counter() - begun


def play(jobs: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Run what is asked for, print the tables, and give what `--json` keeps."""
    print(
        f"Driven by {settings.wrk or 'the client in Python'}, one thread; {settings.rounds} rounds of {settings.seconds:g} s."
    )
    print("Figures are medians of the rounds, with the range.", end="\n\n", flush=True)
    found: dict[str, Any] = {
        "machine": machine(),
        "peers": versions(settings.python),
        "driver": settings.wrk,
        "seconds": settings.seconds,
        "jobs": {},
    }
    for name in jobs:
        if name == COLD_START.name:
            seconds = cold_start(settings)
            print(cold_start_table(seconds), end="\n\n", flush=True)
            found[name] = seconds
        else:
            rounds, reasons = compare(WORKS[name], settings)
            if text := goals(WORKS[name]):
                print(text, end="\n\n", flush=True)
            found["jobs"][name] = {"connections": _plain(rounds), "left_out": reasons}
    return found


def _plain(rounds: Mapping[int, Mapping[str, Sequence[Round | None]]]) -> dict[int, Any]:
    return {
        connections: {peer: [each and vars(each) for each in several] for peer, several in by_peer.items()}
        for connections, by_peer in rounds.items()
    }


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", default=",".join(CANDIDATES), help=f"of {', '.join(CANDIDATES)} (default: all)")
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"of {', '.join(JOBS)} (default: all)")
    parser.add_argument("--connections", default="1,16,64,256", help="at once, each in turn (default: 1,16,64,256)")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a server is driven at a time (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default: 3)")
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has the peers (default: this)")
    parser.add_argument("--motet-options", default="", help="for motet serve, such as '--processes 2'")
    parser.add_argument("--json", type=Path, help="file to write every figure to")
    options = parser.parse_args(given)
    for name, known in (("peers", CANDIDATES), ("jobs", JOBS)):
        chosen = getattr(options, name).split(",")
        unknown = [each for each in chosen if each.partition(":")[0] not in known]
        if unknown:
            parser.error(f"--{name}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
        setattr(options, name, chosen)
    numbers = options.connections.split(",")
    if not all(each.isdigit() and int(each) for each in numbers) or options.rounds < 1 or options.seconds <= 0:
        parser.error("--connections is one or more whole numbers above 0; --rounds is 1 or more; --seconds is above 0")
    options.connections = tuple(map(int, numbers))
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    if not driver():
        print("live: wrk is missing (apt-get install wrk); a slower client in Python drives instead", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="motet-live-") as folder:
        settings = Settings(
            tuple(options.peers),
            options.connections,
            options.seconds,
            options.rounds,
            options.peers_python,
            tuple(options.motet_options.split()),
            Path(folder),
            driver(),
        )
        found = play(options.jobs, settings)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
