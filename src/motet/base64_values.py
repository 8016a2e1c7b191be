"""What texts stand for where JSON or text holds bytes, arrays and pictures: base64, in all its usual forms."""

from __future__ import annotations

import base64
import string
from typing import Any
from urllib.parse import unquote

import numpy as np

from motet.batch import Array
from motet.errors import InputError, cut
from motet.pictures import begins_as_picture, is_picture, read_picture
from motet.types import ColumnType

__all__ = ["base64_in", "from_base64", "of_bytes", "of_json", "of_text"]

_ADDRESS = "data:"
_BASE64 = frozenset(string.ascii_letters + string.digits + "+/")
_PLAIN_BASE64 = str.maketrans("-_", "+/", string.whitespace)
_SHOWN = 40
_PICTURES = "the file of a picture is written data:image/png;base64,..."


def of_text(text: str, kind: ColumnType) -> Any:
    """What a text stands for: bytes as base64, an array as the base64 of its bytes, a picture as that of its file.

    Raises:
        InputError: when it stands for nothing of this type.
    """
    if kind.dtype == "bytes" and not kind.shape:
        return from_base64(text)
    if kind.is_object or not (is_picture(kind) or (kind.shape and kind.row_bytes is not None)):
        return text
    try:
        data = from_base64(text)
    except InputError as error:
        raise InputError(f"{error.what}; {_PICTURES}" if is_picture(kind) else error.what) from None
    return read_picture(data, kind) if _is_address(text) and is_picture(kind) else of_bytes(data, kind)


def of_bytes(data: bytes, kind: ColumnType) -> Array:
    """An array of its bytes, in C order, little-endian; or of those of a picture's file, where they begin as one.

    Raises:
        InputError: when they are neither.
    """
    if is_picture(kind) and begins_as_picture(data):
        try:
            return read_picture(data, kind)
        except InputError:
            if len(data) != kind.row_bytes:
                raise
    if kind.row_bytes is None:
        raise InputError(f"is {kind}; got {len(data)} bytes that are no picture; {_PICTURES}")
    if len(data) != kind.row_bytes:
        raise InputError(f"is {kind}, which takes {kind.row_bytes} bytes; got {len(data)}")
    return np.frombuffer(data, kind.numpy_dtype.newbyteorder("<")).reshape(kind.least_shape)


def from_base64(text: str) -> bytes:
    """Bytes that were written as base64 (RFC 4648), in any of its usual forms.

    The alphabet may be the one for addresses (`-` and `_`), lines may be broken as MIME does, `=` at the end may be left
    out, and all of it may be an address as browsers hold images in: `data:image/png;base64,...`.

    Raises:
        InputError: when they were not.
    """
    letters = _in_address(text) if _is_address(text) else text
    try:
        return base64.b64decode(letters, validate=True)
    except ValueError:  # no ASCII among them
        pass
    letters = letters.translate(_PLAIN_BASE64)
    body = letters.rstrip("=")
    wrong = next((each for each in body if each not in _BASE64), None)
    if wrong is not None:
        raise InputError(f"is no base64: got {cut(repr(text), _SHOWN)}, where {wrong!r} is no letter of it")
    padded = body + "=" * (-len(body) % 4)
    if len(body) % 4 == 1 or letters not in (body, padded) or (letters == body and not _ends_whole(padded)):
        raise InputError(f"is no base64: got {cut(repr(text), _SHOWN)}, whose end is cut off or no end of base64")
    return base64.b64decode(padded)


def of_json(value: Any, kind: ColumnType) -> Any:
    """What a value of JSON stands for where texts stand for bytes, arrays and pictures; any other value is as it was.

    Raises:
        InputError: when a text stands for nothing of this type.
    """
    if kind.dtype in ("any", "string"):
        return value
    if kind.dtype == "bytes" and kind.shape and isinstance(value, list):
        element = ColumnType("bytes", kind.shape[1:])
        return [of_json(each, element) for each in value]
    value = base64_in(value)
    return of_text(value, kind) if isinstance(value, str) else value


def base64_in(value: Any) -> Any:
    """The text of `{"b64": text}`, as JSON of TensorFlow Serving holds bytes; any other value as it is."""
    return value["b64"] if isinstance(value, dict) and value.keys() == {"b64"} else value


def _is_address(text: str) -> bool:
    return text[: len(_ADDRESS)].lower() == _ADDRESS


def _in_address(text: str) -> str:
    """The base64 in an address."""
    head, comma, letters = text.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InputError(
            f"an address that holds bytes must be data:image/...;base64,...; got {cut(repr(text), _SHOWN)}"
        )
    return unquote(letters)


def _ends_whole(padded: str) -> bool:
    """Whether the last letter holds no more than its bytes, as a text that was cut would."""
    return base64.b64encode(base64.b64decode(padded[-4:])).decode() == padded[-4:]
