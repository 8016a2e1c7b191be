"""Graphs in the frameworks that programs are made of: real servers, real pools, real processes."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import joblib
import loky
import numpy as np
import pytest

import motet as mt
from helpers import onnxes
from helpers.asking import failing, given, missing
from motet.errors import GraphError, RowErrors

SRC = Path(mt.__file__).parents[1]
MODULE = """
import os
import numpy as np
import motet

x = motet.input("x", "float32")
one, other = (motet.Model(os.path.join(os.path.dirname(__file__), f"{name}.onnx")) for name in ("one", "other"))
vote = motet.ensemble([one, other], x, combine="average")
total = motet.map(lambda y: y + 1, vote, outputs="float32")
graph = motet.Graph("g", {"y": total})

def ask(value):
    return float(graph({"x": np.float32([value])})["y"][0])
"""


def wanted(value: Any) -> Any:
    """(2 x + 4 x) / 2 + 1"""
    return 3.0 * value + 1


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    onnxes.affine(tmp_path / "one.onnx", 2.0, 0.0)
    onnxes.affine(tmp_path / "other.onnx", 4.0, 0.0)
    (tmp_path / "asked.py").write_text(MODULE)
    return tmp_path


@pytest.fixture
def asked(folder: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, imported here and by processes that are started."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(SRC)]))
    sys.modules.pop("asked", None)
    module = __import__("asked")
    yield module
    module.graph.close()
    sys.modules.pop("asked", None)


def environment(folder: Any) -> Any:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(SRC)])}


@contextmanager
def process(folder: Any, command: Any, listening: Any) -> Iterator[Any]:
    """A server as a process: gives its address, and ends it by SIGTERM; it must end well, and say nothing odd."""
    log = folder / "server.log"
    with log.open("wb") as said:
        running = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=environment(folder))
    try:
        waiting = threading.Event()
        for _ in range(6000):
            if (found := re.search(listening, log.read_text())) or running.poll() is not None:
                break
            waiting.wait(0.01)
        assert found, log.read_text()
        yield f"http://127.0.0.1:{found[1]}"
        running.send_signal(signal.SIGTERM)
        assert running.wait(40) in (0, -signal.SIGTERM), log.read_text()
    finally:
        running.kill()
        running.wait()
    said = log.read_text()
    assert not re.search(r"Traceback|terminate called|SIGABRT|SIGKILL|TIMEOUT|WORKER TIMEOUT|Error", said), said


FLASK = """
from flask import Flask
import os
from asked import ask, graph
app = Flask(__name__)

@app.get("/ask/<float:value>")
def answer(value):
    return {"y": ask(value), "pid": os.getpid()}

@app.post("/rows")
def rows():
    from flask import request
    return graph.predict(request.get_json())
"""


@pytest.mark.parametrize("kind", ["alone", "preload", "preload, called before"])
@pytest.mark.parametrize("threads", [1, 4])
def test_flask_under_gunicorn(folder: Any, kind: str, threads: int) -> None:
    called = "\nask(1.0)\n" if "called" in kind else ""
    (folder / "web.py").write_text(FLASK + called)
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "--threads", str(threads), "-b", "127.0.0.1:0", "web:app"]
    with (
        process(
            folder, command + ["--preload"] * kind.startswith("preload"), r"Listening at: http://127.0.0.1:(\d+)"
        ) as url,
        httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(retries=6)) as client,
    ):
        answers = [client.get(f"/ask/{value}.0").json() for value in range(30)]
        assert [answer["y"] for answer in answers] == [wanted(value) for value in range(30)]
        assert client.post("/rows", json=[{"x": 1}, {"x": "a"}]).json()[0] == {"y": 4.0}


FASTAPI = """
import asyncio
from contextlib import asynccontextmanager
from typing import Annotated
from fastapi import Depends, FastAPI
import motet
from asked import ask, graph

models = motet.serving.asgi(graph)

@asynccontextmanager
async def lifespan(app):
    async with models.lifespan(app):
        yield

app = FastAPI(lifespan=lifespan)
app.mount("/models", models)

def given():
    return graph

@app.get("/sync/{value}")
def sync(value: float, graph: Annotated[motet.Graph, Depends(given)]):
    return graph.predict({"x": value})

@app.get("/async/{value}")
async def later(value: float):
    return {"y": await asyncio.to_thread(ask, value)}
"""


def test_fastapi_behind_several_workers(folder: Any) -> None:
    (folder / "web.py").write_text(FASTAPI)
    command = [sys.executable, "-m", "uvicorn", "web:app", "--workers", "2", "--port", "0", "--host", "127.0.0.1"]
    with (
        process(folder, command, r"running on http://127.0.0.1:(\d+)") as url,
        httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(retries=6)) as client,
    ):
        for value in range(10):
            assert client.get(f"/sync/{value}").json() == {"y": wanted(value)}
            assert client.get(f"/async/{value}").json() == {"y": wanted(value)}
            assert client.post("/models/predict/g", json={"x": value}).json() == {"y": wanted(value)}
        assert client.get("/models/readyz").json() == {"ready": True}


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_process_pool_takes_a_graph_and_gives_errors(folder: Any, method: str, asked: Any) -> None:
    plain = mt.Graph("plain", {"y": mt.model(asked.one, asked.x)})
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(given, [plain] * 6, range(6))) == [2.0 * value for value in range(6)]
        with pytest.raises(GraphError, match=r"nope\.yaml"):
            pool.submit(missing, 0).result(60)
        with pytest.raises(RowErrors) as raised:
            pool.submit(failing, plain, None).result(60)
        assert raised.value.failures[0].row == 0
        assert pool.submit(given, plain, 7).result(60) == 14.0
    assert asked.ask(1.0) == wanted(1)


def test_loky_and_joblib_take_a_graph_with_functions_of_this_program(asked: Any) -> None:
    factor = np.float32(10)
    graph = mt.Graph("g", {"y": mt.map(lambda y: y * factor, mt.model(asked.one, asked.x), outputs="float32")})
    assert given(graph, 1) == 20.0  # called before it is sent
    with loky.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(given, [graph] * 4, range(4))) == [20.0 * value for value in range(4)]
        with pytest.raises(GraphError, match=r"nope\.yaml"):
            pool.submit(missing, 0).result(60)
    assert joblib.Parallel(2)(joblib.delayed(given)(graph, value) for value in range(4)) == [0.0, 20.0, 40.0, 60.0]


LOADS = """
import sys
import threading
import numpy as np
import torch
import motet
from asked import one, x

graph = motet.Graph("g", {"y": motet.model(one, x)})

class Asked(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, place):
        return graph({"x": np.float32([place])})["y"]

if __name__ == "__main__":
    if "called" in sys.argv:
        graph({"x": [1.0]})
    loader = torch.utils.data.DataLoader(Asked(), 4, num_workers=2, multiprocessing_context=sys.argv[1])
    for _ in range(2 if sys.argv[1] == "fork" else 1):
        assert torch.cat(list(loader)).flatten().tolist() == [2.0 * place for place in range(24)]
    assert graph({"x": [5.0]})["y"].tolist() == [10.0]
    for each in threading.enumerate():
        if each.name == "QueueFeederThread":
            each.join()
    print("right")
"""
# Torch does not wait for the threads of its queues. One that is the last to hold a semaphore unlinks it, and then says so to
# Python's resource tracker; where the program ends between the two, the tracker calls the semaphore leaked, whatever is loaded.


@pytest.mark.parametrize(("method", "called"), [("fork", False), ("fork", True), ("spawn", True)])
def test_a_data_loader_calls_a_graph_in_its_workers(folder: Any, method: str, called: bool) -> None:
    """As a program of its own: this process has many threads by now."""
    (folder / "loads.py").write_text(LOADS)
    done = subprocess.run(
        [sys.executable, "loads.py", method, *["called"] * called],
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


def test_an_asyncio_program(asked: Any) -> None:
    async def main() -> Any:
        ticks = 0

        async def ticking() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(ticking())
        answers = await asyncio.gather(*(asyncio.to_thread(asked.ask, value) for value in range(40)))
        beside.cancel()
        return answers, ticks

    answers, ticks = asyncio.run(main())
    assert answers == [wanted(value) for value in range(40)]
    assert ticks > 0


TESTS = """
import pytest
import motet
from asked import ask, graph

@pytest.mark.parametrize("value", range(8))
def test_answers(value):
    assert ask(value) == 3 * value + 1

def test_golden():
    motet.testing.check_golden(graph, "golden.jsonl")

def test_stand_in():
    assert graph.with_models(one=lambda x: x * 0)({"x": [1.0]})["y"].tolist() == [3.0]
"""


def test_workers_of_pytest(folder: Any) -> None:
    (folder / "test_them.py").write_text(TESTS)
    (folder / "golden.jsonl").write_text('{"inputs": {"x": 1}, "outputs": {"y": 4.0}}\n')
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=100)
    assert "10 passed" in done.stdout, done.stdout + done.stderr
