import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("admission_child.py")


class Child:
    """A process of `admission_child.py`."""

    def __init__(self, *arguments, **environment):
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip

    def hear(self):
        return self.process.stdout.readline().strip()

    def tell(self, text="go"):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def child():
    """Starts processes; ends those that are left."""
    started = []

    def start(*arguments, **environment):
        started.append(Child(*arguments, **environment))
        return started[-1]

    yield start
    for each in started:
        each.end()


class Clock:
    """A clock that tests move."""

    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """A real Redis; `$MOTET_REDIS_SERVER` names its program where it is not in the path."""
    program = os.environ.get("MOTET_REDIS_SERVER") or shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert time.monotonic() < until
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()
