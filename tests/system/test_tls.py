"""Clients that a server does not let in are told so: by an alert of TLS, as OpenSSL's own server does, and in the log."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from helpers.authority import Authority
from motet.system.tls import server_context

ASKS = {
    "TLS 1.0": (ssl.TLSVersion.TLSv1, "ALL", "", "alert protocol version", "it speaks no TLS from 1.2 on"),
    "TLS 1.1": (ssl.TLSVersion.TLSv1_1, "ALL", "", "alert protocol version", "it speaks no TLS from 1.2 on"),
    "an old cipher": (ssl.TLSVersion.TLSv1_2, "AES128-SHA", "", "alert handshake failure", "it knows no cipher of"),
    "a rare group": (ssl.TLSVersion.TLSv1_3, "ALL", "secp521r1", "alert handshake failure", "it knows no group of"),
}


def _handshake(port: int, version: ssl.TLSVersion, ciphers: str, group: str) -> str:
    """What a client with old habits is told; empty where it is let in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = version
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    if group:
        context.set_ecdh_curve(group)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        try:
            with context.wrap_socket(plain):
                return ""
        except OSError as error:
            return str(error)


async def _told(pair: tuple[str, str], asked: str) -> str:
    version, ciphers, group, _, _ = ASKS[asked]
    context = server_context(*pair)
    context.set_ecdh_curve("prime256v1")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await asyncio.to_thread(_handshake, port, version, ciphers, group)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("asked", list(ASKS))
def test_who_speaks_nothing_of_the_server_gets_an_alert(
    run: Callable[[Any], str], asked: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    *_, alert, why = ASKS[asked]
    pair = Authority(tmp_path).issue("server", "server")
    assert alert in run(_told((pair.certificate, pair.key), asked)).lower()
    (record,) = caplog.records
    assert vars(record)["incident"] == "handshake_refused"
    assert f"a client is not let in: {why}" in record.message
