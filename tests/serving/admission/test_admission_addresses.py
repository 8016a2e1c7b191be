import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.serving.admission import client_address
from motet.serving.admission.addresses import network_name
from motet.serving.middleware.call import HeaderFields

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


def by_rfc_7239(text, peer="10.0.0.1"):
    return client_address(peer, {"forwarded": text, "x-forwarded-for": "7.7.7.7"}, PROXIES, "forwarded")


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("for=192.0.2.7", "192.0.2.7"),
        ("For=192.0.2.7;proto=http;by=10.0.0.1", "192.0.2.7"),
        ('for="192.0.2.7:4711"', "192.0.2.7"),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=6.6.6.6, for=192.0.2.7", "192.0.2.7"),
        ("for=6.6.6.6,for=192.0.2.7;proto=https,for=10.9.9.9", "192.0.2.7"),
        ("for=6.6.6.6, for=unknown", "10.0.0.1"),
        ("for=6.6.6.6, for=_hidden, for=10.2.2.2", "10.2.2.2"),
        ("proto=https", "10.0.0.1"),
        ("for=6.6.6.6;for=7.7.7.7", "10.0.0.1"),
        ('for="6.6.6.6, for=192.0.2.7', "192.0.2.7"),
        ('for=192.0.2.7;host="a;for=6.6.6.6"', "192.0.2.7"),
        (r'for=192.0.2.7;host="a\", for=6.6.6.6"', "192.0.2.7"),
        ("192.0.2.7", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_the_header_of_rfc_7239_is_read_from_the_right_too(text, client):
    assert by_rfc_7239(text) == client


@given(
    st.text(),
    st.sampled_from(["192.0.2.7", '"[2001:db8::5]:80"']),
    st.lists(st.sampled_from(["10.1.1.1", '"[fd00::2]"'])),
)
def test_nothing_that_a_client_makes_up_changes_what_proxies_forward(made_up, client, proxies):
    header = ", ".join([made_up, *(f"for={each};proto=http" for each in (client, *proxies[:30]))])
    assert by_rfc_7239(header) == client.strip('"').replace("[", "").replace("]:80", "")


def test_only_the_header_that_the_proxies_write_is_read():
    headers = {"forwarded": "for=6.6.6.6", "x-forwarded-for": "192.0.2.7"}
    assert client_address("10.0.0.1", headers, PROXIES) == "192.0.2.7"


def test_a_header_that_came_several_times_is_one():
    fields = [(b"x-forwarded-for", b"6.6.6.6"), (b"host", b"a"), (b"x-forwarded-for", b"192.0.2.7")]
    assert HeaderFields(fields).get("x-forwarded-for") == "6.6.6.6, 192.0.2.7"
    assert client_address("10.0.0.1", HeaderFields(fields), PROXIES) == "192.0.2.7"


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
