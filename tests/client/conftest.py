"""The blocking and the asynchronous client behind one face, and servers for them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from helpers.oip_server import DTYPES, OipServer, Served
from motet.client import AsyncClient, Client


class Awaited:
    """An asynchronous client that is called as the blocking one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.client = AsyncClient(*args, **options)
        self.loop = asyncio.new_event_loop()

    def __getattr__(self, name: Any) -> Any:
        method = getattr(self.client, name)
        return lambda *args, **options: self.loop.run_until_complete(method(*args, **options))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
        self.loop.close()


@pytest.fixture(params=[Client, Awaited], ids=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes clients, and closes them."""
    made = []

    def make(url: Any, **options: Any) -> Any:
        made.append(request.param(url, **options))
        return made[-1]

    yield make
    for client in made:
        client.__exit__(None, None, None)


def same(**arrays: Any) -> Any:
    return arrays


def echo(datatype: Any, *content: Any) -> Any:
    return Served(same, [("x", datatype, [-1], *content)], [("x", datatype, [-1], *content)])


def totals(image: Any) -> Any:
    return image.sum(axis=(1, 2)).astype(np.int64)


def sums(rows: Any) -> Any:
    return {"sum": rows.sum(axis=1), "double": rows * 2}


@pytest.fixture
def server() -> Iterator[Any]:
    models = {datatype.lower(): echo(datatype) for datatype in (*DTYPES, "BYTES")}
    server = OipServer(
        **models,
        texts=echo("BYTES", "str"),
        images=Served(totals, [("image", "UINT8", [-1, 28, 28])], [("total", "INT64", [-1])]),
        ragged=Served(sums, [("rows", "FP32", [-1, -1])], [("sum", "FP32", [-1]), ("double", "FP32", [-1, -1])]),
        two=Served(
            same, [("a", "FP32", [-1, 2]), ("b", "INT64", [-1])], [("a", "FP32", [-1, 2]), ("b", "INT64", [-1])]
        ),
    )
    yield server
    server.close()


@pytest.fixture
def client(make_client: Any, server: Any) -> Any:
    return make_client(server.url)
