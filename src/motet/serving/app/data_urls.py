"""Addresses that browsers hold images in: `data:image/png;base64,...`."""

from __future__ import annotations

from motet.errors import InputError
from motet.reading import from_base64

__all__ = ["from_data_url", "is_data_url"]


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
