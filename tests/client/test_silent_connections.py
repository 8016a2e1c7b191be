"""Connections that a network drops without a word: one call may be lost to them, and none after it."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from client.conftest import Awaited, echo
from helpers.oip_server import OipServer, Served
from helpers.relay import Relay
from motet.client import AsyncClient, Client
from motet.errors import DeadlineError

X = np.arange(3, dtype=np.float32)


@pytest.fixture
def relay() -> Iterator[Any]:
    server = OipServer(m=echo("FP32"))
    made = Relay(server.port)
    yield made
    made.close()
    server.close()


def test_all_connections_are_made_anew_when_one_was_silent(make_client: Any, relay: Any) -> None:
    client = make_client(f"http://127.0.0.1:{relay.port}", timeout_s=0.5)
    assert client.infer("m", {"x": X})["x"].tolist() == X.tolist()
    relay.silence()
    with pytest.raises(DeadlineError):
        client.infer("m", {"x": X})
    for _ in range(5):
        assert client.infer("m", {"x": X}, timeout_s=20)["x"].tolist() == X.tolist()
    assert relay.made == 2


def test_idle_connections_are_condemned_with_the_one_that_was_silent(relay: Any) -> None:
    with Client(f"http://127.0.0.1:{relay.port}", timeout_s=20) as client:
        threads = [threading.Thread(target=client.infer, args=("m", {"x": X})) for _ in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        relay.silence()
        with pytest.raises(DeadlineError):
            client.infer("m", {"x": X}, timeout_s=0.5)
        for _ in range(8):
            assert client.infer("m", {"x": X})["x"].tolist() == X.tolist()


def test_calls_on_the_other_connections_go_on(relay: Any) -> None:
    """The last call on the condemned connections closes them."""
    answers = []
    with Client(f"http://127.0.0.1:{relay.port}", timeout_s=20) as client:
        held = client._clients.take()
        with pytest.raises(DeadlineError):
            client.infer("m", {"x": X}, timeout_s=1e-6)
        answers.append(held.get("/v2/models/m").status_code)
        assert client._clients.give_back(held, condemned=False)
        held.close()
        assert client.infer("m", {"x": X})["x"].tolist() == X.tolist()
    assert answers == [200]


def test_many_calls_of_one_loop_are_condemned_together(relay: Any) -> None:
    made = Awaited(f"http://127.0.0.1:{relay.port}", timeout_s=0.5)
    try:

        async def several() -> Any:
            calls = (made.client.infer("m", {"x": X}) for _ in range(20))
            return await asyncio.gather(*calls, return_exceptions=True)

        made.loop.run_until_complete(several())
        relay.silence()
        assert all(isinstance(each, DeadlineError) for each in made.loop.run_until_complete(several()))
        for _ in range(3):
            assert made.infer("m", {"x": X}, timeout_s=20)["x"].tolist() == X.tolist()
    finally:
        made.__exit__(None, None, None)


@pytest.fixture
def held() -> Iterator[Any]:
    """A server whose first answer waits, and what lets it go."""
    entered, gate = threading.Event(), threading.Event()

    def slow(**arrays: Any) -> Any:
        entered.set()
        assert gate.wait(20)
        return arrays

    server = OipServer(m=Served(slow, [("x", "FP32", [-1])], [("x", "FP32", [-1])]))
    yield f"http://127.0.0.1:{server.port}", entered, gate
    gate.set()
    server.close()


def test_a_call_that_no_connection_was_free_for_condemns_none(held: Any) -> None:
    url, entered, gate = held
    with Client(url, timeout_s=20, connections=1) as client:
        before = client._clients.current
        under_way = threading.Thread(target=client.infer, args=("m", {"x": X}))
        under_way.start()
        assert entered.wait(20)
        with pytest.raises(DeadlineError, match=r"no connection was free within 0\.1 s"):
            client.infer("m", {"x": X}, timeout_s=0.1)
        gate.set()
        under_way.join()
        assert client._clients.current is before


def test_nor_does_one_of_a_loop(held: Any) -> None:
    url, entered, gate = held

    async def both() -> None:
        async with AsyncClient(url, timeout_s=20, connections=1) as client:
            before = client._pools.current
            under_way = asyncio.create_task(client.infer("m", {"x": X}))
            assert await asyncio.to_thread(entered.wait, 20)
            with pytest.raises(DeadlineError, match=r"no connection was free within 0\.1 s"):
                await client.infer("m", {"x": X}, timeout_s=0.1)
            gate.set()
            await under_way
            assert client._pools.current is before

    asyncio.run(both())
