"""Servers that look at a store all the time, and what publishes into it."""

from http.client import HTTPConnection

import pytest

import motet as mt
from helpers.loops import Loop
from motet.serving.config.server import ServeConfig
from motet.serving.process.server import Server
from store.store_files import write_model


@pytest.fixture(scope="module")
def store_loop():
    loop = Loop()
    yield loop
    assert not loop.errors
    loop.close()


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTET_STORE", str(tmp_path / "store"))
    return mt.Store()


@pytest.fixture
def publish(store, tmp_path):
    """Publishes a model that multiplies by a factor."""

    def published(factor, name="times", **options):
        return store.publish(name, write_model(tmp_path / f"{name}{factor}.onnx", factor), **options)

    return published


@pytest.fixture
def serve(store_loop):
    """Serves a graph, looking at its store all the time."""
    servers = []

    def served(graph):
        async def started():
            server = Server([graph], ServeConfig(port=0, store_poll_s=0.05, admin="open"))
            await server.start()
            await server.load()
            return server

        servers.append(store_loop.run(started()))
        return servers[-1]

    yield served
    for server in servers:
        store_loop.run(server.close(), 40)


@pytest.fixture
def connect():
    """Connects to a server."""
    made = []

    def connected(server):
        made.append(HTTPConnection("127.0.0.1", server.port, timeout=20))
        return made[-1]

    yield connected
    for connection in made:
        connection.close()
