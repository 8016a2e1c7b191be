"""How commands talk to a running server: one question, one answer, no connection kept."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from motet.system.addresses import lacks_brackets

__all__ = ["ask", "key_option", "repository", "url_argument"]

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_S = 10.0
ACT_TIMEOUT_S = 600.0
"""Loading a model may take long, and so may draining one."""
MAX_BYTES = 2**26

url_argument = click.argument("url", metavar="URL")
key_option = click.option(
    "--key", metavar="KEY", envvar="MOTET_API_KEY", show_envvar=True, help="The API key, where the server asks for one."
)


def ask(url: str, path: str, key: str | None, *, body: Mapping[str, Any] | None = None, timeout_s: float = 0.0) -> Any:
    """What a server answers, as JSON.

    Args:
        url: of the server; without a scheme it is http.
        path: what is asked for.
        key: sent as `Authorization: Bearer KEY`.
        body: sent by POST; None asks by GET.
        timeout_s: for the answer; 0 is ten seconds.

    Raises:
        InputError: when the URL is none, or the server refuses what is asked.
        RequestError: when it cannot be reached, or does not answer.
    """
    from motet.errors import InputError, RequestError

    base = (url if "://" in url else f"http://{url}").rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is no URL of a server", hint="write http://HOST:PORT")
    if hint := lacks_brackets(base.partition("://")[2].partition("/")[0]):
        raise InputError(f"{url!r} is no URL of a server", hint=hint)
    headers = {"accept": "application/json"} | ({} if key is None else {"authorization": f"Bearer {key}"})
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(base + path, data, {**headers, "content-type": "application/json"})
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=timeout_s or TIMEOUT_S) as answer:
            return json.loads(answer.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        said = _said(error.read(MAX_BYTES)) or str(error.reason)
        kind = InputError if 400 <= error.code < 500 else RequestError
        raise kind(f"the server answered {error.code}: {said}", where=base) from None
    except ValueError as error:
        raise InputError(f"what answers there is no server of Motet: {error}", where=base) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise RequestError(
            f"the server cannot be reached: {reason}", where=base, hint="check the address, and that it runs"
        ) from None


def _said(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")[:500]
    return str(found.get("error", "")) if isinstance(found, dict) else ""


def repository(url: str, name: str, act: str, key: str | None, parameters: Mapping[str, Any] | None = None) -> None:
    """Load, unload or scale what a server serves under a name; returns when it says that it is done.

    Raises:
        InputError: when it refuses that.
        RequestError: when it cannot be reached, or it fails.
    """
    from urllib.parse import quote

    body = {} if parameters is None else {"parameters": parameters}
    path = f"/v2/repository/models/{quote(name, safe='')}/{act}"
    ask(url, path, key, body=body, timeout_s=ACT_TIMEOUT_S)
