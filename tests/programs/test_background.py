"""Servers in a thread of a program that goes on."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import pytest

import motet as mt
from helpers.threads import all_end
from motet.errors import GraphError, InputError, ModelLoadError
from motet.serving.process import background
from motet.testing.fakes import Affine, fake


def graph(name: str = "g", scale: float = 2.0) -> mt.Graph:
    return mt.Graph(name, {"y": mt.model(fake(Affine, "a", scale=scale), mt.input("x", "float32"))})


def doubled(url: Any, value: Any, name: str = "g") -> Any:
    return httpx.post(f"{url}/predict/{name}", json={"x": value}).json()


def test_it_is_ready_when_it_is_made_and_gone_when_it_is_closed() -> None:
    before = threading.enumerate()
    with graph().serve(block=False, port=0) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        with urlopen(f"{server.url}/readyz") as answer:
            assert json.load(answer) == {"ready": True}
        assert doubled(server.url, 3) == {"y": 6.0}
        assert "running" in repr(server)
    assert "closed" in repr(server)
    server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/readyz")
    all_end(before)


def test_it_serves_where_a_loop_runs_and_in_any_thread() -> None:
    """A notebook, and a worker."""

    async def notebook() -> Any:
        with mt.serving.start(graph(), port=0) as server:
            async with httpx.AsyncClient(base_url=server.url) as client:
                return (await client.post("/predict/g", json={"x": 4})).json()

    assert asyncio.run(notebook()) == {"y": 8.0}

    def served(value: Any) -> Any:
        with graph().serve(block=False, port=0) as server:
            return doubled(server.url, value)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(served, range(3))) == [{"y": 2.0 * value} for value in range(3)]


def test_handlers_of_signals_stay_as_they_are() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers], signal.set_wakeup_fd(-1)
    with graph().serve(block=False, port=0):
        assert [signal.getsignal(number) for number in numbers] == before[0]
    assert ([signal.getsignal(number) for number in numbers], signal.set_wakeup_fd(-1)) == before


def test_several_graphs_and_grpc(tmp_path: Path) -> None:
    graph("saved", 3.0).save(tmp_path / "saved.yaml")
    with mt.serving.start(graph(), tmp_path / "saved.yaml", port=0, grpc_port=0, limits={"rows": 2}) as server:
        assert (doubled(server.url, 2), doubled(server.url, 2, "saved")) == ({"y": 4.0}, {"y": 6.0})
        assert httpx.post(f"{server.url}/predict/g", json={"rows": [{"x": 1}] * 3}).status_code == 413
        from motet.client import Client

        with Client(server.url) as client:
            assert client.predict("g", [{"x": 5}])[0]["y"] == 10
        assert server.grpc_port not in (0, server.port)


def test_what_keeps_it_from_starting_is_raised_here() -> None:
    with graph().serve(block=False, port=0) as server, pytest.raises(InputError, match="cannot listen on 127.0.0.1"):
        graph().serve(block=False, port=server.port)
    with graph().serve(block=False, port=0, grpc_port=0) as server:
        for taken in (server.port, server.grpc_port):
            with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{taken}"):
                graph().serve(block=False, port=0, grpc_port=taken)
        free = server.port
    with pytest.raises(InputError, match=f"port and grpc_port are both {free}"):
        graph().serve(block=False, port=free, grpc_port=free)
    with graph().serve(block=False, port=free, grpc_port=-1) as server:
        assert (server.port, server.grpc_port) == (free, 0)
    with pytest.raises(InputError, match="unknown option 'prot' of serve; did you mean 'port'"):
        graph().serve(block=False, prot=1)  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="serve.port: must be from 0 to 65535"):
        graph().serve(block=False, port=70_000)
    with pytest.raises(InputError, match="processes has no meaning here"):
        graph().serve(block=False, processes=2)  # type: ignore[call-overload]
    model = mt.Model(f"python:{__name__}:Unloadable", "u", inputs={"x": "float32"}, outputs={"y": "float32"})
    before = threading.enumerate()
    with pytest.raises(ModelLoadError, match="no weights"):
        mt.Graph("u", {"y": mt.model(model, mt.input("x", "float32"))}).serve(block=False, port=0)
    all_end(before)


def test_a_start_that_is_interrupted_leaves_no_server_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl+C in a notebook, while models are loaded."""
    loading, interrupted = threading.Event(), threading.Event()
    made = background.embedded

    async def slow(*args: Any, **options: Any) -> Any:
        loading.set()
        await asyncio.to_thread(interrupted.wait, 60)
        return await made(*args, **options)

    class Interrupted(Future):
        def result(self, timeout: Any = None) -> None:
            assert loading.wait(60)
            raise KeyboardInterrupt

    monkeypatch.setattr(background, "embedded", slow)
    monkeypatch.setattr(background, "Future", Interrupted)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt):
        graph().serve(block=False, port=port)
    (thread,) = (each for each in {*threading.enumerate()} - {*before} if each.name == "motet-serve")
    interrupted.set()
    thread.join(60)
    all_end(before)
    monkeypatch.undo()
    with graph().serve(block=False, port=port) as server:
        assert doubled(server.url, 3) == {"y": 6.0}


class Unloadable:
    def __init__(self) -> None:
        raise OSError("no weights")


def test_a_blocking_server_does_not_stop_a_loop() -> None:
    async def notebook() -> None:
        graph().serve(port=0)

    with pytest.raises(InputError, match=r"would stop the loop.*\n.*serve\(block=False\)"):
        asyncio.run(notebook())


PROGRAM = """
import threading, time, urllib.request
import motet as mt
from motet.testing.fakes import Affine, fake
graph = mt.Graph("g", {"y": mt.model(fake(Affine, "a"), mt.input("x", "float32"))})
"""


def run(code: Any, **options: Any) -> Any:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + code], capture_output=True, text=True, timeout=60, **options
    )


def test_a_server_nobody_closes_ends_with_the_program() -> None:
    done = run(
        "server = graph.serve(block=False, port=0); print(urllib.request.urlopen(server.url + '/readyz').read())"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'{\"ready\":true}'\n", "")


def test_a_blocking_server_in_another_thread_serves_as_long_as_the_program_runs() -> None:
    code = """
import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
threading.Thread(target=graph.serve, kwargs={"port": port}, daemon=True).start()
while True:
    try:
        print(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").read()); break
    except OSError:
        time.sleep(0.01)
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'{\"ready\":true}'\n", "")


def test_a_forked_child_leaves_its_parents_server_alone() -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore")
server = graph.serve(block=False, port=0)
if (child := os.fork()) == 0:
    assert not server.alive
    server.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(urllib.request.urlopen(server.url + "/readyz").read())
"""
    done = run(code, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'{\"ready\":true}'\n", "")


def test_an_application_that_was_asked_before_a_fork_is_asked_anew_after_it() -> None:
    code = """
import asyncio, os, httpx, warnings
warnings.simplefilter("ignore")
app = mt.serving.asgi(graph)
async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://a") as client:
        return (await client.post("/predict/g", json={"x": 3})).json()
assert asyncio.run(ask()) == {"y": 3.0}
if (child := os.fork()) == 0:
    os._exit(0 if asyncio.run(ask()) == {"y": 3.0} else 1)
assert os.waitpid(child, 0)[1] == 0
assert asyncio.run(ask()) == {"y": 3.0}
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
