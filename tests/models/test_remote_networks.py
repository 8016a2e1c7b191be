"""Models behind an address and networks that are not plain: proxies of the environment, connections dropped in silence."""

from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers.oip_server import OipServer
from helpers.relay import Relay
from models.test_remote_models import GrpcServer, served
from motet.errors import ModelUnavailableError

X = np.arange(6, dtype=np.float32).reshape(3, 2)
SERVERS: dict[str, Any] = {"oip+http": lambda: OipServer(**served()), "oip+grpc": lambda: GrpcServer(served())}
TYPES: dict[str, Any] = {"inputs": {"x": "float32[2]"}, "outputs": {"total": "float32"}}


@pytest.fixture(params=SERVERS)
def scheme(request):
    return request.param


@pytest.fixture
def server(scheme):
    made = SERVERS[scheme]()
    yield made
    made.close()


@pytest.fixture
def relay(server):
    made = Relay(server.port)
    yield made
    made.close()


def far(scheme, port, **options):
    path = "/v2/models/sum" if scheme == "oip+http" else "/sum"
    model = mt.Model(f"{scheme}://127.0.0.1:{port}{path}", "far", options=options, **TYPES)
    return mt.Graph("far", outputs={"y": mt.model(model, mt.input("x", "float32[2]"))})


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_proxies_of_the_environment_are_left_alone_by_both(scheme, server, name, monkeypatch):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert far(scheme, server.port)({"x": X})["y"].tolist() == [1, 5, 9]


def test_a_connection_that_is_silent_is_thrown_away(scheme, relay):
    """At most one call is lost to it; over gRPC, which asks whether the other end is there, none."""
    graph = far(scheme, relay.port, timeout_s=3)
    assert graph({"x": X})["y"].tolist() == [1, 5, 9]
    relay.silence()
    if scheme == "oip+http":
        with pytest.raises(ModelUnavailableError, match="the next call makes a new connection"):
            graph({"x": X})
    for _ in range(5):
        assert graph({"x": X})["y"].tolist() == [1, 5, 9]
    assert relay.made == 2


def test_a_call_that_is_too_late_over_grpc_is_the_last_of_its_connection():
    """Also where the time is too short to ask whether the other end is there."""
    server = GrpcServer(served())
    relay = Relay(server.port)
    try:
        graph = far("oip+grpc", relay.port, timeout_s=0.3, retries=0)
        answered = 0
        for _ in range(20):  # the first connection may take longer than that on a busy machine
            try:
                answered += graph({"x": X})["y"].tolist() == [1, 5, 9]
            except ModelUnavailableError:
                continue
            if answered == 1:
                relay.silence()
        assert answered > 1
        assert relay.made > 1
    finally:
        relay.close()
        server.close()
