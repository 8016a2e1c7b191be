"""What came in over gRPC, for the middleware."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from motet.serving.batching.request import Identity
from motet.serving.middleware.call import REQUEST_ID, IncomingCall, identity_of

__all__ = ["Headers", "begun", "call_of", "name_of"]

Headers = Mapping[str, str]
"""Metadata of a call by lower-case name; several values of one name joined with commas; binary ones left out."""


def _headers_of(metadata: object) -> dict[str, str]:
    """The texts of a call's metadata by name."""
    found: dict[str, str] = {}
    for key, value in metadata or ():  # type: ignore[attr-defined]
        if isinstance(value, str):
            found[key] = f"{found[key]}, {value}" if key in found else value
    return found


async def begun(context: Any) -> dict[str, str]:
    """The headers of a call, whose caller is sent its name of the call, `x-request-id`, before the answer or error."""
    headers = _headers_of(context.invocation_metadata())
    if name := headers.get(REQUEST_ID):
        await context.send_initial_metadata(((REQUEST_ID, name),))
    return headers


def name_of(context: Any) -> tuple[tuple[str, str], ...]:
    """The caller's name of a call, as metadata that gives it back."""
    name = _headers_of(context.invocation_metadata()).get(REQUEST_ID)
    return ((REQUEST_ID, name),) if name else ()


def call_of(
    method: str, target: str, headers: Headers, context: Any, received_bytes: int, *, admin: bool = False
) -> IncomingCall:
    """What came in.

    Args:
        method: the name of the method; each request of a stream enters alone, as `ModelStreamInfer`.
        target: the name of the model, empty where the method has none.
        headers: the call's metadata: credentials, `traceparent`.
        context: of gRPC.
        received_bytes: of the message.
        admin: whether a model is to be loaded or unloaded.
    """
    left, address = context.time_remaining(), _address_of(context.peer())
    deadline = None if left is None else time.monotonic() + left
    identity = _identity_of(context.auth_context())
    return IncomingCall("grpc", method, "", target, headers, address, received_bytes, admin, identity, deadline)


def _identity_of(said: Mapping[str, Iterable[bytes]]) -> Identity | None:
    """Whom the client's certificate names, by what gRPC says of the connection; None where it has shown none."""
    if "x509_pem_cert" not in said:
        return None
    names = (*said.get("x509_common_name", ()), *said.get("x509_subject_alternative_name", ()))
    return identity_of(each.decode("utf-8", "replace") for each in names)


@lru_cache(maxsize=1024)
def _address_of(peer: str) -> str:
    """The address of gRPC's name for a peer: `127.0.0.1` of `ipv4:127.0.0.1:50212`, `::1` of `ipv6:%5B::1%5D:50212`."""
    family, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if family in ("ipv4", "ipv6") else ""
