"""The description of a server's HTTP API, made from its graphs: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motet.serving.gateway import Gateway
from motet.version import __version__

__all__ = ["openapi"]


def openapi(gateway: Gateway, secured: Sequence[str] = (), *, required: bool = False) -> dict[str, Any]:
    """The description."""
    return {"openapi": "3.1.0", "info": {"title": "Motet", "version": __version__}, "paths": {}}
