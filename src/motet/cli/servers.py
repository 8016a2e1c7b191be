"""Which server a command talks to: one of this user's on this machine, over its socket, or any over the network."""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import socket
import ssl
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from motet.system.addresses import lacks_brackets

__all__ = ["Address", "ServerAccess", "address_of"]

NAMES_S = 5.0
"""What a server may take to say what it serves."""
MAX_BYTES = 2**24


@dataclass(frozen=True)
class ServerAccess:
    """Who asks, and whom it believes.

    Attributes:
        key: sent as `Authorization: Bearer KEY`; None for none.
        ca: a file of certificates to believe; None for the system's.
        certificate: the file of a certificate to show; None for none.
        certificate_key: the file of its private key; None where that is in the file of the certificate.
    """

    key: str | None = field(default=None, repr=False)
    ca: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything is said of it."""
        return self != ServerAccess()

    def context(self, address: Address) -> ssl.SSLContext | None:
        """What TLS is spoken with to a server; None where none is spoken.

        Raises:
            InputError: when a file is no certificate, or there are files and no TLS is spoken.
        """
        from motet.errors import InputError
        from motet.system.tls import client_context

        if address.base.startswith("https://"):
            if self.certificate_key and not self.certificate:
                raise InputError("there is the key of a certificate and no certificate", where="--certificate-key")
            return client_context(self.ca or "", self.certificate or "", self.certificate_key or "")
        if self.ca or self.certificate or self.certificate_key:
            what = f"there are certificates, and {address.name} is asked without TLS"
            raise InputError(what, hint="write https://HOST:PORT")
        return None


@dataclass(frozen=True)
class Address:
    """Where a server is asked.

    Attributes:
        name: what it is called in messages.
        base: the URL that paths are put behind.
        socket: its socket; None where it is asked over the network.
    """

    name: str
    base: str
    socket: Path | None = None

    def opener(self, context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
        """What opens its URLs."""
        direct = urllib.request.ProxyHandler({})
        if self.socket is None:
            return urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=context))
        return urllib.request.build_opener(direct, _SocketHandler(self.socket))


def address_of(server: str, access: ServerAccess) -> Address:
    """Where a server is that a user names.

    Args:
        server: the URL, the port or the path of the socket, or the name of a graph that it serves; empty for the only one that
            this user runs.
        access: who asks; where that is said, a URL is asked over the network also where it is this machine's.

    Raises:
        InputError: when it is no URL, or several servers of this user are meant.
        RequestError: when this user runs no such server.
    """
    from motet.errors import InputError

    if server.startswith(("unix:", "/", "./")):
        return _over(Path(server.removeprefix("unix:").replace("//", "/")))
    if not server or server.isdecimal():
        return _own(server)
    if re.fullmatch(r"[\w-]+", server) and (found := [path for path in _sockets() if server in _graphs(path)]):
        return _one(found, f"serve {server!r}")
    base = (server if "://" in server else f"http://{server}").rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise InputError(
            f"{server!r} is no URL of a server", hint="write http://HOST:PORT, or the port of your own on this machine"
        )
    host = base.partition("://")[2].partition("/")[0]
    if "@" in host:
        raise InputError("the URL of the server holds a credential", hint="give a key as --key, or in $MOTET_API_KEY")
    if hint := lacks_brackets(host):
        raise InputError(f"{server!r} is no URL of a server", hint=hint)
    if not access.is_given and (port := _port_here(base)) is not None and len(found := _sockets(port)) == 1:
        return _over(found[0])
    return Address(base, base)


def _own(port: str) -> Address:
    """The server of this user on a port, or its only one."""
    from motet.errors import RequestError
    from motet.system.sockets import socket_folders

    if found := _sockets(port):
        return _one(found, f"listen on port {port}" if port else "run")
    where = ", ".join(map(str, socket_folders()))
    raise RequestError(
        f"no server of this user {f'with port {port}' if port else 'runs here'}: it would have a socket in {where}",
        hint="write http://HOST:PORT to ask over the network; other users than the server's need a key",
    )


def _one(found: list[Path], do: str) -> Address:
    from motet.errors import InputError

    if len(found) > 1:
        servers = "; ".join(f"{path} ({', '.join(sorted(_graphs(path))) or 'it does not answer'})" for path in found)
        raise InputError(f"{len(found)} servers of this user {do}: {servers}", hint="name the path of one")
    return _over(found[0])


def _sockets(port: str = "") -> list[Path]:
    from motet.system.sockets import own_sockets

    return [path for path in own_sockets() if not port or path.name.startswith(f"{port}-")]


def _over(path: Path) -> Address:
    return Address(str(path), "http://localhost", path)


def _graphs(path: Path) -> set[str]:
    """The graphs that a server has, by its socket; none where it does not answer, or otherwise than `motet serve` does."""
    address = _over(path)
    try:
        with address.opener().open(f"{address.base}/graphs.json", timeout=NAMES_S) as answer:
            served = json.loads(answer.read(MAX_BYTES))["served"]
            return {each["name"] for each in served if each["kind"] == "graph"}
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return set()


def _port_here(base: str) -> str | None:
    """The port of a URL whose host is this machine; None where it is another one, or something stands before the server."""
    try:
        url = urlsplit(base)
        port = url.port or (443 if url.scheme == "https" else 80)
        here = url.hostname == "localhost" or ipaddress.ip_address((url.hostname or "").partition("%")[0]).is_loopback
    except ValueError:
        return None
    return str(port) if here and not url.path else None


class _SocketConnection(http.client.HTTPConnection):
    """A connection over a socket of the machine."""

    def __init__(self, host: str, *, path: Path, timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._path, self._timeout_s = path, timeout

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(str(self._path))


class _SocketHandler(urllib.request.HTTPHandler):
    """Opens `http:` over a socket of the machine."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def http_open(self, request: urllib.request.Request) -> Any:
        """Open a URL."""
        return self.do_open(partial(_SocketConnection, path=self._path), request)
