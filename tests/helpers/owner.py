"""A client of the user that runs a server of the tests."""

from typing import Any

import httpx

from motet.system.sockets import own_sockets


def owner_of(port: Any) -> Any:
    """A client over the socket of the server with a port of HTTP."""
    (path,) = (each for each in own_sockets() if each.name.startswith(f"{port}-"))
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=30)
