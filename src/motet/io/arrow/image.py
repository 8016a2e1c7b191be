"""Encoded images into pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Column, Ragged
from motet.errors import MissingExtraError
from motet.types import ColumnType

__all__ = ["decode_image", "decode_images"]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode_images(encoded: Sequence[bytes | None], kind: ColumnType) -> tuple[Column, dict[int, str]]:
    """Decode encoded images; the ones that fit, and by position why the others do not.

    Args:
        encoded: files as they are on disk: PNG, JPEG, WebP, BMP, GIF (its first frame); None is
            left out of both.
        kind: `uint8[height,width]` for grey, `uint8[height,width,3]` for RGB; an axis may be `?`.

    Raises:
        MissingExtraError: when Pillow is not installed.
    """
    images: list[npt.NDArray[np.uint8]] = []
    bad: dict[int, str] = {}
    for position, data in enumerate(encoded):
        if data is None:
            continue
        try:
            images.append(decode_image(data, kind))
        except MissingExtraError:
            raise
        except Exception as error:  # noqa: BLE001  a decoder may raise anything for bytes that are no image
            bad[position] = str(error) or type(error).__name__
    if kind.varies:
        return Ragged.from_rows(images, np.uint8, len(kind.shape)), bad
    return (np.stack(images) if images else np.empty((0, *kind.shape), np.uint8)), bad  # type: ignore[arg-type]


def decode_image(data: bytes, kind: ColumnType) -> npt.NDArray[np.uint8]:
    """Decode one image, turned upright as its EXIF orientation says.

    Raises:
        ValueError: when the bytes are no image, or one of another size than `kind`.
        MissingExtraError: when Pillow is not installed.
    """
    pixels = _open(data, "L" if len(kind.shape) == 2 else _MODES[kind.shape[2] or 3])
    array = pixels[:, :, None] if len(kind.shape) == 3 and pixels.ndim == 2 else pixels
    if any(want not in (None, got) for got, want in zip(array.shape, kind.shape, strict=True)):
        raise ValueError(f"is an image of shape {list(array.shape)}, the graph wants {kind}")
    return array


def _open(data: bytes, mode: str) -> npt.NDArray[np.uint8]:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError("pillow", "image", "decoding images") from None
    try:
        image: Any = Image.open(io.BytesIO(data))
        _check_pixels(image.width * image.height, Image.MAX_IMAGE_PIXELS)
        return np.asarray(ImageOps.exif_transpose(image).convert(mode))
    except UnidentifiedImageError:
        raise ValueError(f"is no image that Pillow knows ({len(data)} bytes)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"is too large an image: {error}") from None
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"is a damaged image: {error}") from None


def _check_pixels(pixels: int, limit: int | None) -> None:
    if limit is not None and pixels > limit:
        raise ValueError(f"is too large an image: {pixels} pixels, Pillow's limit is {limit}")
