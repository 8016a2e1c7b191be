"""How commands talk to a running server: one question, one answer, no connection kept."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import json
import ssl
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from motet.cli.servers import ServerAccess, address_of

__all__ = ["ServerAccess", "access_options", "ask", "opened", "repository", "server_argument"]

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_S = 10.0
ACT_TIMEOUT_S = 600.0
"""Loading a model may take long, and so may draining one."""
MAX_BYTES = 2**26

server_argument = click.argument("server", metavar="SERVER")
_FILE: dict[str, Any] = {"metavar": "FILE", "type": click.Path()}
_KEY: dict[str, Any] = {"metavar": "KEY", "envvar": "MOTET_API_KEY", "show_envvar": True}
_OPTIONS = [
    click.option("--key", **_KEY, help="The API key, where the server asks for one."),
    click.option("--ca", **_FILE, help="The certificates to believe over https.  [default: the system's]"),
    click.option("--certificate", **_FILE, help="The certificate to show, where the server asks for one."),
    click.option("--certificate-key", **_FILE, help="Its private key.  [default: in the same file]"),
]


def access_options(command: F) -> F:
    """Options that say who asks, which the command takes as its `access`."""

    @functools.wraps(command)
    def called(*args: Any, **options: Any) -> Any:
        access = ServerAccess(**{each.name: options.pop(each.name) for each in dataclasses.fields(ServerAccess)})
        return command(*args, access=access, **options)

    for option in reversed(_OPTIONS):
        called = option(called)
    return called  # type: ignore[return-value]


def ask(
    server: str, path: str, access: ServerAccess, *, body: Mapping[str, Any] | None = None, timeout_s: float = 0.0
) -> Any:
    """What a server answers, as JSON; see `opened`."""
    with opened(server, path, access, body=body, timeout_s=timeout_s) as answer:
        return json.loads(answer.read(MAX_BYTES))


@contextmanager
def opened(
    server: str, path: str, access: ServerAccess, *, body: Mapping[str, Any] | None = None, timeout_s: float = 0.0
) -> Iterator[Any]:
    """What a server answers, to be read here.

    Args:
        server: which one, as users name it.
        path: what is asked for.
        access: who asks.
        body: sent by POST; None asks by GET.
        timeout_s: for the answer; 0 is ten seconds.

    Raises:
        InputError: when the URL is none, certificates cannot be read, the server refuses what is asked, or what is read is no JSON.
        RequestError: when it cannot be reached, or does not answer.
    """
    from urllib.request import Request

    from motet.errors import InputError, MotetError, RequestError
    from motet.system.secrets import header_value

    address = address_of(server, access)
    context = access.context(address)
    headers = {"accept": "application/json", "content-type": "application/json"}
    key = None if access.key is None else header_value(access.key, "--key")
    data = None if body is None else json.dumps(body).encode()
    try:
        request = Request(address.base + path, data, headers)
        if key is not None:
            request.add_unredirected_header("Authorization", f"Bearer {key}")  # it is for this server alone
        with address.opener(context).open(request, timeout=timeout_s or TIMEOUT_S) as answer:
            yield answer
    except MotetError:
        raise
    except urllib.error.HTTPError as error:
        said = _said(error) or str(error.reason)
        kind = InputError if 400 <= error.code < 500 else RequestError
        raise kind(f"the server answered {error.code}: {said}", where=address.name) from None
    except (OSError, http.client.IncompleteRead) as error:
        reason = error if isinstance(error, ssl.SSLError) else getattr(error, "reason", error)
        hint = "check the address, and that it runs"
        if isinstance(reason, ssl.SSLError):
            hint = "check the certificates: --ca for the server's, --certificate for yours, where it asks for one"
        raise RequestError(f"the server cannot be reached: {reason}", where=address.name, hint=hint) from None
    except (ValueError, http.client.HTTPException) as error:  # of a port of gRPC, which speaks HTTP/2
        told = str(error) if isinstance(error, ValueError) else f"it does not speak HTTP/1.1 ({type(error).__name__})"
        raise InputError(f"what answers there is no server of Motet: {told}", where=address.name) from None


def _said(answer: urllib.error.HTTPError) -> str:
    body = b""
    try:
        body = answer.read(MAX_BYTES)
        found = json.loads(body)
    except (ValueError, OSError, http.client.HTTPException):
        return body.decode(errors="replace")[:500]
    return str(found.get("error", "")) if isinstance(found, dict) else ""


def repository(
    server: str, name: str, act: str, access: ServerAccess, parameters: Mapping[str, Any] | None = None
) -> None:
    """Load, unload or scale what a server serves under a name; returns when it says that it is done.

    Raises:
        InputError: when it refuses that.
        RequestError: when it cannot be reached, or it fails.
    """
    from urllib.parse import quote

    body = {} if parameters is None else {"parameters": parameters}
    path = f"/v2/repository/models/{quote(name, safe='')}/{act}"
    ask(server, path, access, body=body, timeout_s=ACT_TIMEOUT_S)
