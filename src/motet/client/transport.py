"""What the two clients share of httpx."""

from __future__ import annotations

import functools
import importlib
from ssl import SSLContext
from typing import Any

from motet.client.flows import Flows
from motet.errors import InputError, MissingExtraError
from motet.oip.asking import LostCall, RemoteCall
from motet.system.tls import client_context, present

__all__ = ["MAX_ANSWER_BYTES", "arguments", "context_of", "httpx", "lost", "request_of"]

MAX_ANSWER_BYTES = 2**31
CONNECT_S = 3.0
"""The longest that a connection may take; a call has less where its own time is shorter."""


@functools.cache
def httpx() -> Any:
    """The package.

    Raises:
        MissingExtraError: when it is not installed.
    """
    try:
        return importlib.import_module("httpx")
    except ModuleNotFoundError as error:
        raise MissingExtraError("httpx", "client", "motet.client") from error


def context_of(
    flows: Flows, verify: bool | str | SSLContext, certificate: str | None, key: str | None
) -> bool | SSLContext:
    """What a client speaks TLS with; False where it does not.

    Args:
        flows: of the client.
        verify: as a client has it.
        certificate, key: files, likewise.

    Raises:
        InputError: when they cannot be used, are given beside a context, or no TLS is spoken.
    """
    if isinstance(verify, SSLContext) and certificate:
        raise InputError("there are a certificate and a context", hint="use SSLContext.load_cert_chain of the context")
    if key and not certificate:
        raise InputError("there is the key of a certificate and no certificate", where="certificate_key")
    if not flows.secure and (certificate or isinstance(verify, str)):
        raise InputError("there are certificates, and the server is asked without TLS", hint="write https://HOST:PORT")
    if not flows.secure:  # reading the system's certificates takes longer than a call
        return False
    if isinstance(verify, str):
        return client_context(verify, certificate or "", key or "")
    context: SSLContext = verify if isinstance(verify, SSLContext) else httpx().create_ssl_context(verify)
    if certificate:
        present(context, certificate, key or certificate, where="")
    return context


def arguments(flows: Flows, context: bool | SSLContext, connections: int) -> dict[str, Any]:
    """What a client of httpx is made with. Proxies and credentials of the environment are left alone."""
    limits = httpx().Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30)
    return {"base_url": flows.origin, "limits": limits, "trust_env": False, "verify": context}


def request_of(http: Any, call: RemoteCall) -> Any:
    """The request of a call."""
    timeout = httpx().Timeout(call.timeout_s, connect=min(CONNECT_S, call.timeout_s))
    return http.build_request(call.method, call.path, content=call.body, headers=call.headers, timeout=timeout)


def lost(error: Exception) -> LostCall:
    """How a call was lost that httpx raised an error for."""
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, (httpx().ConnectError, httpx().ConnectTimeout, httpx().UnsupportedProtocol)):
        return LostCall("connect", f"the server cannot be reached: {what}")
    if isinstance(error, httpx().PoolTimeout):
        return LostCall("busy", "all connections were in use")
    if isinstance(error, httpx().TimeoutException):
        return LostCall("timeout", what)
    return LostCall("broken", f"the connection broke before the answer came: {what}")
