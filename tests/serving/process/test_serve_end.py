"""How a server ends that still plays something: in time, at once, and not for being told twice in a moment."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from serving.process.serve_process import Process, body, free_port, serving, slow_graph, written

NAPS = """
import time
import numpy as np

class Naps:
    def __call__(self, image):
        time.sleep(60 if image.min() == 200 else 0.02)  # slow enough to be played in a thread
        return np.zeros((len(image), 10), np.float32)
"""
SOON_S = 60


@pytest.fixture
def naps(tmp_path):
    """The file of a graph that takes a minute for a picture of which every pixel is 200."""
    path = slow_graph(tmp_path)
    (tmp_path / "slow.py").write_text(NAPS.replace("Naps", "Slow"))
    return path


@contextlib.contextmanager
def asking(server: Process, ask) -> Iterator[None]:
    """Have something asked while the block runs."""

    def asked():
        with contextlib.suppress(Exception):
            ask()

    asker = threading.Thread(target=asked)
    asker.start()
    server.until(lambda: server.in_flight("slow") == 1)
    yield
    asker.join()


def over_http(server: Process, _port: int) -> None:
    httpx.post(f"{server.url}/v2/models/slow/infer", content=body(pixel=200), timeout=90)


def over_grpc(_server: Process, port: int) -> None:
    import numpy as np

    triton = pytest.importorskip("tritonclient.grpc")
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    image = triton.InferInput("image", [1, 28, 28], "UINT8")
    image.set_data_from_numpy(np.full((1, 28, 28), 200, np.uint8))
    with contextlib.closing(client):
        client.infer("slow", [image], client_timeout=90)


@pytest.mark.parametrize(("processes", "ask"), [("1", over_http), ("1", over_grpc), ("2", over_http)])
def test_a_second_signal_ends_it_at_once(naps, processes, ask):
    port = free_port()
    grpc = ("--grpc-port", str(port))
    with serving(naps, "--processes", processes, ready="slow", grpc=grpc) as server:
        server.until(lambda: all(server.is_ready() for _ in range(20)))
        with asking(server, lambda: ask(server, port)):
            assert _told_until_gone(server) == 0


def _told_until_gone(server: Process) -> int:
    end = time.monotonic() + SOON_S
    while True:
        server.process.send_signal(signal.SIGTERM)
        try:
            return server.process.wait(0.2)
        except subprocess.TimeoutExpired:
            assert time.monotonic() < end, server.log


def test_it_ends_in_time_though_something_is_still_played(tmp_path, naps):
    config = written(tmp_path / "serve.yaml", {"limits": {"drain_timeout_s": 0.5}})
    with serving(naps, "--config", config, ready="slow") as server, asking(server, lambda: over_http(server, 0)):
        assert server.stop() == 0
    assert any("requests were still under way after 0.5 s, and were dropped" in line for line in server.log)


def test_two_signals_in_a_moment_are_one(tmp_path):
    go = tmp_path / "go"
    go.touch()
    with serving(slow_graph(tmp_path, until=go), ready="slow") as server:
        go.unlink()
        statuses: list[int] = []
        with asking(server, lambda: statuses.append(server.infer("slow", body()).status_code)):
            for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):  # so it gets both at once
                server.process.send_signal(number)
            server.until(lambda: not server.is_ready())
            go.touch()
            assert server.process.wait(SOON_S) == 0
        assert statuses == [200]
