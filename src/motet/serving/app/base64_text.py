"""Files that are written as text: base64, and the addresses that browsers hold images in."""

from __future__ import annotations

import base64
import binascii

from motet.errors import InputError

__all__ = ["from_base64", "from_data_url", "is_data_url"]


def is_data_url(text: str) -> bool:
    """Whether a text is an image as browsers write it in an address."""
    return text.startswith("data:image/")


def from_data_url(text: str) -> bytes:
    """The file in `data:image/...;base64,...`.

    Raises:
        InputError: when it is no base64.
    """
    head, comma, body = text.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InputError("an image in an address must be data:image/...;base64,...")
    return from_base64(body)


def from_base64(text: str) -> bytes:
    """Bytes that were written as base64.

    Raises:
        InputError: when they were not.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"is no base64: {error}") from None
