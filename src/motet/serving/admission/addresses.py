"""Whose address is whose: behind proxies, and for limits."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

__all__ = ["FORWARDED", "X_FORWARDED_FOR", "Headers", "Network", "client_address", "network_name"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Mapping[str, str]
"""Headers by lower-case names; what came several times is joined with commas."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_HOPS = 32
X_FORWARDED_FOR, FORWARDED = "x-forwarded-for", "forwarded"
_PAIR = re.compile(r"""\s*([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]+)\s*(?:;|$)""", re.ASCII)


def client_address(peer: str, headers: Headers, trusted: Sequence[Network], written: str = X_FORWARDED_FOR) -> str:
    """The address of the client of a request.

    The header is read from the right, and only as long as the address that wrote the entry is trusted: what stands
    further left may have been made up by the client. A trusted proxy whose entry is no address counts as the client
    itself. Only the header that the proxies write is read: they hand on the other one as the client sent it.

    Args:
        peer: the address at the other end of the connection.
        headers: by lower-case names.
        trusted: the networks of proxies that are believed.
        written: what they write: `x-forwarded-for`, or `forwarded` (https://www.rfc-editor.org/rfc/rfc7239).
    """
    if not trusted:
        return peer
    address = _address(peer)
    if address is None or not _within(address, trusted):
        return peer
    said = headers.get(written, "")
    for hop in _forwarded(said) if written == FORWARDED else _listed(said):
        before = _address(_without_port(hop))
        if before is None:
            break
        address = before
        if not _within(address, trusted):
            break
    return str(address)


def _listed(text: str) -> Iterator[str]:
    """The entries of `X-Forwarded-For`, the last first."""
    for hop in reversed(text.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
        yield hop.strip()


def _forwarded(text: str) -> Iterator[str]:
    """What the elements of `Forwarded` say after `for`, the last first; nothing of one that is malformed.

    The elements are told apart from the right, so that no quotation mark of a client swallows what a proxy has added.
    """
    end, quoted = len(text), False
    for place in range(len(text) - 1, -2, -1):
        mark = text[place] if place >= 0 else ","
        if mark == '"' and not (quoted and _is_escaped(text, place)):
            quoted = not quoted
        elif mark == "," and (not quoted or place < 0):
            yield _for(text[place + 1 : end])
            end = place


def _is_escaped(text: str, place: int) -> bool:
    before = text[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _for(element: str) -> str:
    found, place = "", 0
    while match := _PAIR.match(element, place):
        place = match.end()
        if match[1].lower() == "for":
            if found:
                return ""
            found = match[2].strip('"')
    return found if place == len(element) else ""


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
