"""Connections that a network drops without a word: one call may be lost to them, and none after it."""

import threading

import numpy as np
import pytest

from client.conftest import Awaited, echo
from helpers.oip_server import OipServer
from helpers.relay import Relay
from motet.client import Client
from motet.errors import DeadlineError

X = np.arange(3, dtype=np.float32)


@pytest.fixture
def relay():
    server = OipServer(m=echo("FP32"))
    made = Relay(server.port)
    yield made
    made.close()
    server.close()


def test_all_connections_are_made_anew_when_one_was_silent(make_client, relay):
    client = make_client(f"http://127.0.0.1:{relay.port}", timeout_s=0.5)
    assert client.infer("m", {"x": X})["x"].tolist() == X.tolist()
    relay.silence()
    with pytest.raises(DeadlineError):
        client.infer("m", {"x": X})
    for _ in range(5):
        assert client.infer("m", {"x": X}, timeout_s=20)["x"].tolist() == X.tolist()
    assert relay.made == 2


def test_idle_connections_are_condemned_with_the_one_that_was_silent(relay):
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


def test_calls_on_the_other_connections_go_on(relay):
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


def test_many_calls_of_one_loop_are_condemned_together(relay):
    made = Awaited(f"http://127.0.0.1:{relay.port}", timeout_s=0.5)
    try:

        async def several():
            import asyncio

            calls = (made.client.infer("m", {"x": X}) for _ in range(20))
            return await asyncio.gather(*calls, return_exceptions=True)

        made.loop.run_until_complete(several())
        relay.silence()
        assert all(isinstance(each, DeadlineError) for each in made.loop.run_until_complete(several()))
        for _ in range(3):
            assert made.infer("m", {"x": X}, timeout_s=20)["x"].tolist() == X.tolist()
    finally:
        made.__exit__(None, None, None)
