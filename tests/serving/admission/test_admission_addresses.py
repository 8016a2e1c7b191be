import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.serving.admission import client_address
from motet.serving.admission.addresses import network_name

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def forwarded(text, peer="10.0.0.1"):
    return client_address(peer, {"x-forwarded-for": text}, PROXIES)


def test_a_peer_that_is_no_trusted_proxy_is_the_client_whatever_it_says():
    assert forwarded("1.1.1.1", peer="192.0.2.7") == "192.0.2.7"
    assert client_address("10.0.0.1", {"x-forwarded-for": "1.1.1.1"}, ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7, 10.9.9.9", "192.0.2.7"),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("192.0.2.7:5123", "192.0.2.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("6.6.6.6, unknown", "10.0.0.1"),
        ("6.6.6.6, unknown, 10.2.2.2", "10.2.2.2"),
        ("", "10.0.0.1"),
        (",,,", "10.0.0.1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_entries_are_believed_from_the_right_through_trusted_proxies_only(text, client):
    assert forwarded(text) == client


@given(st.text(), st.sampled_from(["192.0.2.7", "2001:db8::5"]), st.lists(st.sampled_from(["10.1.1.1", "fd00::2"])))
def test_nothing_that_a_client_makes_up_changes_its_address(made_up, client, proxies):
    header = ", ".join([made_up, client, *proxies[:30]])
    assert forwarded(header) == client


def test_headers_may_be_bytes():
    assert client_address("10.0.0.1", {b"x-forwarded-for": b"192.0.2.7"}, PROXIES) == "192.0.2.7"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "local"),
        ("/run/motet.sock", "local"),
    ],
)
def test_limits_hold_for_an_address_or_a_network_of_64_bits(address, name):
    assert network_name(address) == name
