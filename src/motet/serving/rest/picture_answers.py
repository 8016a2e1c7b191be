"""An answer that is one picture: where `Accept` asks for an image, and one output of the row is one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.responses import Response

from motet.errors import InputError
from motet.pictures import begins_as_picture, encode_picture, is_picture, read_pixels
from motet.types import ColumnType

__all__ = ["asked_image", "image_response"]

_BEGINNINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}
_QUALITY = 90


def asked_image(accept: str) -> str:
    """The format of the picture that is asked for, `png` or `jpeg`; empty where none is, or JSON rather."""
    first = accept.partition(",")[0].partition(";")[0].strip().lower()
    return {"image/*": "png", "image/png": "png", "image/jpeg": "jpeg"}.get(first, "")


def image_response(answer: Mapping[str, Any], outputs: Mapping[str, ColumnType], wanted: str) -> Response:
    """The one output that is a picture, as a file: the graph's own where it is of that format.

    Args:
        answer: the row, as JSON has it.
        outputs: its types.
        wanted: `png` or `jpeg`.

    Raises:
        InputError: when no output of the row is a picture, or several are.
    """
    files = {
        name: base64.b64decode(answer[name]) for name, kind in outputs.items() if str(kind) == "bytes" and answer[name]
    }
    found = [name for name, data in files.items() if begins_as_picture(data)]
    found += [name for name, kind in outputs.items() if is_picture(kind)]
    if len(found) != 1:
        raise InputError(
            f"an image is asked for, and {len(found)} outputs are pictures{': ' if found else ''}{', '.join(found)}",
            hint="ask for JSON, or serve a graph with one picture among its outputs",
        )
    data = files.get(found[0]) or _written(answer[found[0]], wanted)
    if next((kind for head, kind in _BEGINNINGS.items() if data.startswith(head)), "") != wanted:
        data = encode_picture(read_pixels(data, "RGB"), wanted, _QUALITY)
    return Response(data, media_type=f"image/{wanted}")


def _written(pixels: Any, wanted: str) -> bytes:
    array = np.asarray(pixels, np.uint8)
    return encode_picture(array, "png" if array.shape[2:] == (4,) else wanted, _QUALITY)
