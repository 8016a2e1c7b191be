"""Image files as the arrays that a graph takes."""

from __future__ import annotations

import base64
import binascii

from motet.batch import Array, objects
from motet.errors import InputError
from motet.ops import image as images
from motet.types import ColumnType

__all__ = ["decode_picture", "from_data_url", "is_data_url", "is_picture"]

MOST_PIXELS = 2**25
"""Of an image file."""


def is_picture(kind: ColumnType) -> bool:
    """Whether a column of this type may be pictures: uint8, `[h,w]`, `[h,w,1]` or `[h,w,3]`."""
    return kind.dtype == "uint8" and (len(kind.shape) == 2 or (len(kind.shape) == 3 and kind.shape[2] in (1, 3)))


def decode_picture(data: bytes, kind: ColumnType) -> Array:
    """The picture in a file: grey or in colours as the type says, and of its size where it has one.

    Args:
        data: the content of the file: BMP, GIF, JPEG, PNG, PPM, TIFF or WebP.
        kind: the type that is wanted; see `is_picture`.

    Raises:
        InputError: when it is no such file, or has too many pixels.
        MissingExtraError: when Pillow is not installed.
    """
    height, width, *channels = kind.shape
    mode = "rgb" if channels == [3] else "grey"
    decoded = images.decode(objects([data]), mode=mode, max_pixels=MOST_PIXELS)
    if height is not None or width is not None:
        own = decoded[0].shape
        decoded = images.resize(decoded, size=(height or own[0], width or own[1]))
    pixels: Array = decoded[0]
    return pixels[..., None] if channels == [1] else pixels


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
