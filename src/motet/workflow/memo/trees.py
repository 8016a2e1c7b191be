"""Trees of plain values as JSON in bytes."""

from __future__ import annotations

import json
from typing import Any

import orjson

__all__ = ["pack", "unpack"]


def pack(tree: Any) -> bytes:
    """A tree as bytes of JSON, the same for the same tree."""
    try:
        return orjson.dumps(tree)
    except TypeError:  # a name of a file may be no Unicode
        return json.dumps(tree, separators=(",", ":")).encode()


def unpack(data: bytes | str) -> Any:
    """The inverse of `pack`. Raises ValueError for what is no JSON."""
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data)
