"""Whose address is whose: behind proxies, and for limits."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache

__all__ = ["Headers", "Network", "client_address", "header", "network_name"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Mapping[bytes, bytes] | Mapping[str, str] | Mapping[bytes | str, bytes | str]
"""Headers by lower-case names; what came several times is joined with commas."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_HOPS = 32


def header(headers: Headers, name: str) -> str | None:
    """The value of a header, None where it is missing; bytes are read as Latin-1."""
    found = headers.get(name)  # type: ignore[call-overload]
    if found is None:
        found = headers.get(name.encode())  # type: ignore[call-overload]
    return found.decode("latin-1") if isinstance(found, bytes) else found


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """The address of the client of a request.

    `X-Forwarded-For` is read from the right, and only as long as the address that wrote the entry is trusted: what
    stands further left may have been made up by the client. A trusted proxy whose entry is no address counts as the
    client itself.

    Args:
        peer: the address at the other end of the connection.
        headers: by lower-case names.
        trusted: the networks of proxies that are believed.
    """
    if not trusted:
        return peer
    address = _address(peer)
    if address is None or not _within(address, trusted):
        return peer
    forwarded = header(headers, "x-forwarded-for")
    hops = forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:] if forwarded else ()
    for hop in reversed(hops):
        before = _address(_without_port(hop.strip()))
        if before is None:
            break
        address = before
        if not _within(address, trusted):
            break
    return str(address)


@lru_cache(65_536)
def network_name(address: str) -> str:
    """What limits of anonymous callers hold for: the address, and for IPv6 its network of 64 bits.

    A subscriber has at least one such network, so that an address of it is no identity. A peer that has no address, at
    the other end of a Unix socket, is `local`.
    """
    parsed = _address(address)
    if parsed is None:
        return "local"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


def _address(text: str) -> _Address | None:
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _within(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
