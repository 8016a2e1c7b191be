"""Bytes that are written as text: base64, or the addresses that browsers hold images in (`data:image/png;base64,...`)."""

from __future__ import annotations

from motet.errors import InputError
from motet.reading import from_base64

__all__ = ["bytes_written", "from_data_url", "is_data_url"]


def bytes_written(text: str) -> bytes:
    """The bytes that a text stands for where bytes are wanted.

    Raises:
        InputError: when it stands for none.
    """
    return from_data_url(text) if is_data_url(text) else from_base64(text)


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
