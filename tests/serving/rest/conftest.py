"""A real gateway behind a real port, with the application; and clients."""

import asyncio
import io
import tempfile
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvloop

import motet as mt
from helpers.until import until_async
from motet.serving.config.limits import Limits
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.config.server import ServeConfig
from motet.serving.http.front import Front
from motet.serving.http.infer import InferRoutes
from motet.serving.middleware.middleware import Middleware
from motet.serving.observability.observability import Observability
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest import AppParts, create_app
from serving.rest import app_graphs

EXAMPLES = Path(__file__).parents[3] / "examples"


class Live:
    """A loop in a thread of its own, with servers."""

    def __init__(self):
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.closing, self.clients = [], []
        self.folder = tempfile.TemporaryDirectory()

    def run(self, awaitable, timeout_s=30):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(timeout_s)

    def until(self, condition, timeout_s=20):
        """Let the loop go on until something is so."""

        self.run(until_async(condition, timeout_s), timeout_s + 1)

    def serve(self, *graphs, parts=None, middleware=None, limits=None, load=True, **config):
        """A server of graphs, or of their files; `config` are fields of `ServeConfig`."""
        settings = ServeConfig(**({"admin": "open"} | config))
        made = middleware or (lambda repository: Middleware(repository, settings))
        served = self.run(self._serve(graphs, parts, made, limits or Limits(), load))
        self.clients.append(served.client)
        return served

    async def _serve(self, graphs, parts, made, limits, load):
        async def listen(entry):
            entry.batcher.responder.listener = seen.listener(entry.name)

        repository = ModelRepository(limits, prepare=listen)
        folder = tempfile.mkdtemp(dir=self.folder.name)
        seen = Observability(ObservabilityConfig(), folder, lambda: repository.things)
        parts = parts or AppParts(status=seen.now)
        for graph in graphs:
            repository.add(graph)
        if load:
            await repository.load_all()
        middleware = made(repository)
        app = create_app(repository, middleware, parts)
        front = Front(app, InferRoutes(repository, middleware), limits, middleware)
        listening = await self.loop.create_server(front.connection, "127.0.0.1", 0)
        self.closing.append((repository, front, listening, seen))
        port = listening.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        return RepositoryEntry(self, repository, middleware, port)

    def close(self):
        for gate in app_graphs.GATES.values():
            gate.set()
        for client in self.clients:
            client.close()

        async def closed():
            for repository, front, listening, seen in self.closing:
                listening.close()
                await repository.drain(5)
                front.close()
                seen.close()
                repository.close()

        self.run(closed())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        self.folder.cleanup()


class RepositoryEntry:
    """A server on a port, and a client of it."""

    def __init__(self, live, repository, middleware, port):
        self.live, self.repository, self.middleware, self.port = live, repository, middleware, port
        self.address = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.address, timeout=20)

    def get(self, path, **options):
        return self.client.get(path, **options)

    def post(self, path, **options):
        return self.client.post(path, **options)


@pytest.fixture(scope="package")
def live():
    made = Live()
    yield made
    made.close()


@pytest.fixture(scope="package")
def fashion(live):
    """The four graphs of the example, on one server."""
    folder = EXAMPLES / "fashion"
    return live.serve(*(str(folder / f"{name}.yaml") for name in ("fashion", "cascade", "ab", "keyed")))


@pytest.fixture(scope="session")
def picture():
    """28 x 28 pixels: a bag, about."""
    image = np.zeros((28, 28), np.uint8)
    image[10:26, 3:25] = 180
    image[4:10, 8:20] = 90
    return image


@pytest.fixture(scope="session")
def png():
    """An array as the bytes of a PNG file."""
    from PIL import Image

    def written(array, kind="PNG"):
        file = io.BytesIO()
        Image.fromarray(array).save(file, kind)
        return file.getvalue()

    return written


@pytest.fixture(scope="session")
def fashion_graph():
    return mt.load(EXAMPLES / "fashion" / "fashion.yaml")
