"""The parts of `motet.ops.image` that Pillow does: reading, writing and resizing one image."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.errors import InputError, MissingExtraError

Array = npt.NDArray[Any]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What `decode` reads. Formats that run other programs or scripts are left out."""
METHODS = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST", "area": "BOX"}
FITS = ("stretch", "cover", "contain")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)
"""What Pillow raises for bytes that are no image, or a damaged one."""


def pillow(module: str, needed_for: str) -> Any:
    """A module of Pillow.

    Raises:
        MissingExtraError: when Pillow is not installed.
    """
    try:
        return import_module(f"PIL.{module}")
    except ImportError as error:
        raise MissingExtraError("pillow", "image", needed_for) from error


def decode_one(data: Any, mode: str, max_pixels: int) -> Array:
    """The pixels of one encoded image, upright, uint8, shape `[h, w, 3]` or `[h, w]`."""
    where = "motet.ops.image.decode"
    library = pillow("Image", where)
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f"an encoded image is bytes, got {type(data).__name__}", where=where)
    try:
        with library.open(io.BytesIO(data), formats=_readable(library)) as image:
            if image.width * image.height > max_pixels:
                raise InputError(
                    f"the image has {image.width} x {image.height} pixels, more than max_pixels={max_pixels}",
                    where=where,
                )
            return _pixels(image, mode)
    except InputError:
        raise
    except (*_BROKEN, library.DecompressionBombError) as error:
        why = (
            "" if isinstance(error, library.UnidentifiedImageError) else f": {error}"
        )  # it would name an object of ours
        raise InputError(
            f"{len(data)} bytes that begin with {bytes(data[:8])!r} are no image that can be read{why}",
            where=where,
            hint=f"it reads {', '.join(FORMATS)}",
        ) from error


def _readable(library: Any) -> list[str]:
    """Those of `FORMATS` that this build of Pillow can read."""
    library.init()
    return [name for name in FORMATS if name in library.OPEN]


def _pixels(image: Any, mode: str) -> Array:
    upright = pillow("ImageOps", "motet.ops.image.decode").exif_transpose(image)
    if upright.mode == "F":
        raise InputError("an image of floats has no fixed range of brightness", where="motet.ops.image.decode")
    if upright.mode.startswith("I"):
        grey = (np.asarray(upright).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return grey if mode == "grey" else np.repeat(grey[..., None], 3, axis=-1)
    return np.array(upright.convert("L" if mode == "grey" else "RGB"))


def encode_one(image: Array, kind: str, quality: int) -> bytes:
    """One image as a file's bytes; uint8, shape `[h, w]`, `[h, w, 1]`, `[h, w, 3]` or, for PNG, `[h, w, 4]`."""
    picture = pillow("Image", "motet.ops.image.encode").fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    file = io.BytesIO()
    picture.save(file, format=kind.upper(), **({"quality": quality} if kind == "jpeg" else {}))
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Resizing:
    """How to resize: to `size`, height and width, by a method, a fit and a value to pad with.

    Raises:
        ValueError: when one of them is no such thing.
    """

    size: Sequence[int]
    method: str = "bilinear"
    fit: str = "stretch"
    pad: float = 0

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.method not in METHODS:
            raise ValueError(f"resize knows no method {self.method!r}; known: {', '.join(METHODS)}")
        if self.fit not in FITS:
            raise ValueError(f"resize knows no fit {self.fit!r}; known: {', '.join(FITS)}")

    def __call__(self, image: Array) -> Array:
        """One image, uint8 or float32, shape `[h, w]` or `[h, w, c]`, resized."""
        if 0 in image.shape:
            raise InputError(f"an image of shape {list(image.shape)} has no pixels", where="motet.ops.image.resize")
        height, width = self.size
        if self.fit == "stretch":
            return self._to(image, height, width, None)
        if self.fit == "cover":
            return self._to(image, height, width, self._middle(*image.shape[:2]))
        return self._framed(image)

    def _middle(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The largest part in the middle of an image that has the wanted proportions: left, top, right, bottom."""
        wanted_height, wanted_width = self.size
        part_width = min(width, height * wanted_width / wanted_height)
        part_height = min(height, width * wanted_height / wanted_width)
        left, top = (width - part_width) / 2, (height - part_height) / 2
        return left, top, min(width, left + part_width), min(height, top + part_height)

    def _framed(self, image: Array) -> Array:
        (wanted_height, wanted_width), (height, width) = self.size, image.shape[:2]
        scale = min(wanted_height / height, wanted_width / width)
        inner_height = min(wanted_height, max(1, round(height * scale)))
        inner_width = min(wanted_width, max(1, round(width * scale)))
        top, left = (wanted_height - inner_height) // 2, (wanted_width - inner_width) // 2
        framed = np.full((wanted_height, wanted_width, *image.shape[2:]), self.pad, dtype=image.dtype)
        framed[top : top + inner_height, left : left + inner_width] = self._to(image, inner_height, inner_width, None)
        return framed

    def _to(self, image: Array, height: int, width: int, box: tuple[float, float, float, float] | None) -> Array:
        library = pillow("Image", "motet.ops.image.resize")
        method = library.Resampling[METHODS[self.method]]

        def resized(plane: Array) -> Array:
            return np.asarray(library.fromarray(np.ascontiguousarray(plane)).resize((width, height), method, box))

        if image.ndim == 2 or (image.dtype == np.uint8 and image.shape[2] == 3):
            return resized(image)
        return np.stack([resized(image[..., channel]) for channel in range(image.shape[2])], axis=-1)


def check_size(size: Sequence[int]) -> None:
    """Refuse a size that is not a height and a width, whole numbers of at least 1, with a ValueError."""
    fits = isinstance(size, (list, tuple)) and len(size) == 2
    if not fits or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in size):
        raise ValueError(f"size is a height and a width in pixels, for example [224, 224], got {size!r}")
