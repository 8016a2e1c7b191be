"""Addresses of hosts in URLs, where those of IPv6 stand in brackets (RFC 3986, 3.2.2)."""

from __future__ import annotations

__all__ = ["in_url", "lacks_brackets"]


def in_url(host: str) -> str:
    """A host as URLs have it: an address of IPv6 in brackets."""
    return f"[{host}]" if ":" in host and "[" not in host else host


def lacks_brackets(host_and_port: str) -> str:
    """How to write an address that seems to be one of IPv6 without brackets; empty where it is none."""
    host = host_and_port.rpartition("@")[2]
    return "" if host.count(":") < 2 or "[" in host else "write an address of IPv6 in brackets: [::1]:8000"
