"""Addresses that a server says are those that clients take, of IPv6 too."""

import socket

import numpy as np
import pytest

import motet as mt
from helpers.live_server import Live
from motet.client import Client
from motet.system.addresses import in_url, lacks_brackets

GRAPH = """
motet: 1
name: g
inputs: {x: float64}
nodes: {s: {map: numpy.negative, inputs: [x], outputs: float64}}
outputs: {y: s}
"""
IPV6 = pytest.mark.skipif(not socket.has_ipv6, reason="the machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "wanted"),
    [("::1", "[::1]"), ("[::1]", "[::1]"), ("::", "[::]"), ("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")],
)
def test_hosts_in_urls(host, wanted):
    assert in_url(host) == wanted


@pytest.mark.parametrize("host", ["::1:8000", "::1", "fe80::1%eth0:80", "u:p@::1:1"])
def test_an_address_without_brackets_is_known(host):
    assert lacks_brackets(host)


@pytest.mark.parametrize("host", ["[::1]:8000", "h:8000", "h", "u:p@h:1", ""])
def test_other_addresses_are_left_alone(host):
    assert not lacks_brackets(host)


@IPV6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_what_a_server_in_a_program_says_can_be_asked(host):
    graph = mt.Graph("g", outputs={"y": mt.map(lambda x: x * 2, mt.input("x", "float64"), name="s")})
    with mt.serving.start(graph, host=host, port=0) as server:
        assert server.url == f"http://[::1]:{server.port}"
        with Client(server.url) as client:
            assert client.infer("g", {"x": np.array([1.0, 2.0])})["y"].tolist() == [2, 4]


@IPV6
def test_what_a_command_says_can_be_asked(tmp_path):
    (tmp_path / "g.yaml").write_text(GRAPH)
    server = Live(tmp_path, tmp_path / "g.yaml", "--host", "::1")
    try:
        assert server.url == f"http://[::1]:{server.port}"
        with Client(server.url) as client:
            assert "g" in [each["name"] for each in client.models()]
    finally:
        server.close()
