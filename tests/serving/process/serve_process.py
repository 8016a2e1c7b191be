"""`motet serve` as a process, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from helpers.owner import owner_of
from helpers.until import until

LINE = re.compile(r"on https?://[^:]+:(\d+)(?:, grpc on port (\d+))?")
FASHION = Path(__file__).parents[3] / "examples" / "fashion"
MLP = {
    "motet": 1,
    "name": "fashion_mlp",
    "inputs": {"image": "uint8[28,28]"},
    "models": {"mlp": {"uri": str(FASHION / "models" / "mlp.onnx")}},
    "nodes": {
        "pixels": {"map": "motet.ops.image.scale", "inputs": ["image"], "with": {"by": 255}},
        "scores": {"model": "mlp", "inputs": ["pixels"]},
        "top": {"map": "motet.ops.scores.top1", "inputs": ["scores"]},
    },
    "outputs": {"label": "top.index", "score": "top.score"},
}

SLOW = """
import pathlib, time
import numpy as np

UNTIL = {until!r}

class Slow:
    def __call__(self, image):
        time.sleep(0 if UNTIL else 0.4)
        while UNTIL and not pathlib.Path(UNTIL).exists():
            time.sleep(0.01)
        return np.zeros((len(image), 10), np.float32)
"""


def slow_graph(folder: Path, until: Path | None = None) -> str:
    """The file of a graph that takes .4 seconds, or until a file is there."""
    (folder / "slow.py").write_text(SLOW.format(until=str(until or "")))
    model = {"uri": "python:slow:Slow", "inputs": {"image": "uint8[28,28]"}, "outputs": {"output": "float32[10]"}}
    model |= {"placement": "thread"} if until else {}
    nodes = {"n": {"model": "slow", "inputs": ["image"]}}
    graph = {"motet": 1, "name": "slow", "inputs": {"image": "uint8[28,28]"}, "models": {"slow": model}, "nodes": nodes}
    return written(folder / "slow.yaml", {**graph, "outputs": {"scores": "n"}})


def written(path: Path, value: object) -> str:
    """A YAML file that holds a value."""
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return str(path)


def body(rows: int = 1, pixel: int = 7, id: str = "") -> bytes:
    """A request for a model of one image."""
    data = [pixel] * (rows * 784)
    tensor = {"name": "image", "shape": [rows, 28, 28], "datatype": "UINT8", "data": data}
    return json.dumps({**({"id": id} if id else {}), "inputs": [tensor]}).encode()


class Process:
    """A server that listens.

    Args:
        process: it.
        port: of HTTP.
        log: the lines it has written; grows.
    """

    def __init__(self, process: subprocess.Popen[str], port: int, log: list[str]) -> None:
        self.process, self.port, self.log = process, port, log
        self.url = f"http://127.0.0.1:{port}"

    def owner(self) -> httpx.Client:
        """A client of the user that runs the server."""
        return owner_of(self.port)

    def infer(self, name: str, data: bytes, client: httpx.Client | None = None, **headers: Any) -> httpx.Response:
        """Ask a model."""
        post = client.post if client is not None else httpx.post
        return post(f"{self.url}/v2/models/{name}/infer", content=data, headers=headers, timeout=30)

    def children(self) -> list[int]:
        """The processes that it has started."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(each) for each in found]

    def until(self, holds: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Wait until a function returns something true."""

        def lives_and_holds() -> object:
            assert self.process.poll() is None, f"the server ended; it wrote {self.log}"
            return holds()

        until(lives_and_holds, timeout_s, lambda: self.log)

    def until_replaced(self, before: Sequence[int], num: int = 1) -> set[int]:
        """Wait until others have the places of some of its processes; gives all that there are then."""
        found: list[set[int]] = []

        def others() -> bool:
            found.append(set(self.children()))  # once: another look may see another moment
            return len(found[-1]) == len(before) and len(found[-1] - set(before)) == num

        self.until(others)
        return found[-1]

    def answers(self, name: str) -> bool:
        """Whether a model answers."""
        try:
            return self.infer(name, body()).status_code == 200
        except httpx.HTTPError:
            return False

    def is_ready(self) -> bool:
        """Whether one of its processes, whichever takes the connection, is ready."""
        try:
            return httpx.get(f"{self.url}/v2/health/ready", timeout=30).status_code == 200
        except httpx.HTTPError:
            return False

    def in_flight(self, name: str) -> int:
        """Requests that a graph has accepted and not answered."""
        return int(httpx.get(f"{self.url}/status.json", timeout=30).json()["graphs"][name]["in_flight"])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    until(lambda: not Path(f"/proc/{pid}").exists())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(*arguments: str, ready: str = "", grpc: Sequence[str] = ("--grpc-port", "-1")) -> Iterator[Process]:
    """A server, until the block ends.

    Args:
        arguments: of the command, without the port.
        ready: a model that must answer first.
        grpc: how it is told about gRPC.
    """
    port = free_port()
    command = [sys.executable, "-m", "motet.cli", "serve", *arguments, "--port", str(port), *grpc]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    log: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
    reader.start()
    server = Process(process, port, log)
    try:
        if ready:
            server.until(lambda: server.answers(ready))
        yield server
    finally:
        if process.poll() is None:
            for child in server.children():  # one that hangs does not see that its parent is gone
                os.kill(child, signal.SIGKILL)
            process.kill()
        process.wait()
        reader.join(timeout=10)
        process.stderr.close()
