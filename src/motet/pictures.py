"""Pictures: their files into pixels and back, and their sizes; by Pillow, which is an extra.

There is one reader. A folder, a column of files, a form, a body, a data URL and `motet.ops.image.decode` all come to
`read_pixels`, so that a file is the same pixels, has the same limit and fails for the same reason everywhere.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.errors import InputError, MissingExtraError, RunError
from motet.types import ColumnType

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Resizing",
    "begins_as_picture",
    "check_size",
    "encode_picture",
    "is_picture",
    "most_pixels",
    "read_picture",
    "read_pixels",
]

Array = npt.NDArray[Any]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Formats that run other programs or scripts are left out."""
MAX_PIXELS = "MOTET_MAX_PIXELS"
"""The environment variable that sets how many pixels a picture may have; larger ones are refused before they are read."""
DEFAULT_PIXELS = 2**26
METHODS = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST", "area": "BOX"}
FITS = ("stretch", "cover", "contain")
_MODES = {(): "L", (1,): "L", (3,): "RGB", (4,): "RGBA", (None,): "RGB"}
"""Pillow's mode by the axes of a column type after height and width."""

_BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
)  # fmt: skip


def is_picture(kind: ColumnType) -> bool:
    """Whether files of pictures can be read as a type: uint8, `[h,w]`, or `[h,w,c]` with 1, 3, 4 or `?` channels."""
    return kind.dtype == "uint8" and len(kind.shape) in (2, 3) and kind.shape[2:] in _MODES


def begins_as_picture(data: bytes) -> bool:
    """Whether bytes begin as a file in one of `FORMATS` does."""
    if data[:2] == b"BM":  # two letters say little; the size of the file follows
        return int.from_bytes(data[2:6], "little") == len(data)
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    return data.startswith(_BEGINNINGS) or (data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace())


def read_picture(data: bytes, kind: ColumnType) -> Array:
    """The picture in a file as a column type has it: grey, RGB or RGBA by its channels, and resized to its size.

    Args:
        data: the content of the file.
        kind: a type that `is_picture`; sides that it leaves open are the file's own.

    Raises:
        InputError: as `read_pixels` does.
        MissingExtraError: when Pillow is not installed.
    """
    pixels = read_pixels(data, _MODES[kind.shape[2:]])
    height, width = pixels.shape[:2]
    size = (kind.shape[0] or height, kind.shape[1] or width)
    if size != (height, width):
        pixels = Resizing(size)(pixels)
    return pixels[..., None] if len(kind.shape) > pixels.ndim else pixels


def most_pixels() -> int:
    """How many pixels a picture may have.

    Raises:
        RunError: when `MOTET_MAX_PIXELS` is set to what is no number of pixels.
    """
    text = os.environ.get(MAX_PIXELS, "")
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise RunError(f"must be a whole number of pixels; got {text!r}", where=f"environment variable {MAX_PIXELS}")
    return int(text or DEFAULT_PIXELS)


def read_pixels(data: Any, mode: str, max_pixels: int | None = None) -> Array:
    """The pixels of one file, turned upright as its EXIF orientation says; of an animation the first frame.

    16 bits of grey become their upper 8; other modes are converted as Pillow's `Image.convert` does, palettes to the
    colours that they stand for; where `mode` has no transparency it is dropped.

    Args:
        data: the content of the file, in one of `FORMATS`.
        mode: `L` (grey, `[h, w]`), `RGB` (`[h, w, 3]`) or `RGBA` (`[h, w, 4]`).
        max_pixels: the most that are read; None for `most_pixels`.

    Returns:
        uint8.

    Raises:
        InputError: when it is no such file, a damaged or too large one, or has no 8 bits a channel to read.
        MissingExtraError: when Pillow is not installed.
        RunError: as `most_pixels`.
    """
    library = _pillow("Image", "decoding images")
    most = most_pixels() if max_pixels is None else max_pixels
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f"is no encoded image: that is bytes, got {type(data).__name__}")
    try:
        with _opened(library, bytes(data)) as image:
            if image.width * image.height > most:
                raise InputError(
                    f"is too large an image: {image.width} x {image.height} pixels, {most} are read",
                    hint=f"set the environment variable {MAX_PIXELS}, or max_pixels= of decode",
                )
            return _pixels(image, mode)
    except InputError:
        raise
    except library.UnidentifiedImageError:
        what = "a damaged image" if begins_as_picture(bytes(data)) else "no image that can be read"
        raise InputError(
            f"is {what}: {len(data)} bytes that begin with {bytes(data[:8])!r}",
            hint=f"{', '.join(FORMATS)} are read",
        ) from None
    except Exception as error:  # noqa: BLE001  a decoder may raise anything for bytes that are no image
        raise InputError(f"is a damaged image: {str(error) or type(error).__name__}") from None


def _pillow(module: str, needed_for: str) -> Any:
    try:
        return import_module(f"PIL.{module}")
    except ImportError as error:
        raise MissingExtraError("pillow", "image", needed_for) from error


def _opened(library: Any, data: bytes) -> Any:
    """The file in one of `FORMATS` that this build of Pillow can read, its head alone.

    `Image.open` does the same, with a limit of its own that only the whole program can set.
    """
    library.init()
    for factory, accepts in (library.OPEN[name] for name in FORMATS if name in library.OPEN):
        found = accepts is None or accepts(data[:16])
        if found and not isinstance(found, str):  # a text says that this build lacks the decoder
            try:
                return factory(io.BytesIO(data), "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # it is none, though it begins as one
                continue
    raise library.UnidentifiedImageError


def _pixels(image: Any, mode: str) -> Array:
    image.load()
    upright = _upright(image)
    if upright.mode == "F":
        raise InputError("is an image of floats (mode F), which has no fixed range of brightness")
    if upright.mode.startswith("I"):
        upright = _eight_bits(upright)
    if mode != "RGBA":
        upright.info.pop("transparency", None)  # it is dropped; Pillow would warn of it
    return np.array(upright.convert("RGB").convert(mode) if upright.mode == "LAB" else upright.convert(mode))


def _upright(image: Any) -> Any:
    """The image turned as its EXIF says; as it is where that cannot be read, which harms no pixel."""
    try:
        return _pillow("ImageOps", "decoding images").exif_transpose(image)
    except (OSError, SyntaxError, ValueError, struct.error):
        return image


def _eight_bits(image: Any) -> Any:
    """A grey image of 16 bits a pixel, which Pillow may hold as 32, with their upper 8."""
    values = np.asarray(image)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > 65535:
        raise InputError(f"is an image of whole numbers from {low} to {high}; from 0 to 65535 can be read")
    return _pillow("Image", "decoding images").fromarray((values >> 8).astype(np.uint8))


def encode_picture(image: Array, kind: str, quality: int) -> bytes:
    """One image as a file's bytes; uint8, shape `[h, w]`, `[h, w, 1]`, `[h, w, 3]` or, for PNG, `[h, w, 4]`."""
    picture = _pillow("Image", "motet.ops.image.encode").fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
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
        top, left, inner_height, inner_width = framed_place(image.shape[:2], self.size)
        framed = np.full((*self.size, *image.shape[2:]), self.pad, dtype=image.dtype)
        framed[top : top + inner_height, left : left + inner_width] = self._to(image, inner_height, inner_width, None)
        return framed

    def _to(self, image: Array, height: int, width: int, box: tuple[float, float, float, float] | None) -> Array:
        library = _pillow("Image", "motet.ops.image.resize")
        method = library.Resampling[METHODS[self.method]]

        def resized(plane: Array) -> Array:
            return np.asarray(library.fromarray(np.ascontiguousarray(plane)).resize((width, height), method, box))

        if image.ndim == 2 or (image.dtype == np.uint8 and image.shape[2] == 3):
            return resized(image)
        return np.stack([resized(image[..., channel]) for channel in range(image.shape[2])], axis=-1)


def framed_place(shape: Sequence[int], size: Sequence[int]) -> tuple[int, int, int, int]:
    """Where an image of this height and width stands in one of `size` that contains it: top, left, height, width."""
    (height, width), (wanted_height, wanted_width) = shape, size
    scale = min(wanted_height / height, wanted_width / width)
    inner_height = min(wanted_height, max(1, round(height * scale)))
    inner_width = min(wanted_width, max(1, round(width * scale)))
    return (wanted_height - inner_height) // 2, (wanted_width - inner_width) // 2, inner_height, inner_width


def resize_shorter_side(image: Array, size: int, method: str, longest: int | None) -> Array:
    """One image with its shorter side of this length, and the longer one in proportion, cut to a whole number as torchvision does."""
    height, width = image.shape[:2]
    if 0 in image.shape:
        raise InputError(f"an image of shape {list(image.shape)} has no pixels", where="motet.ops.image.resize_shorter")
    short, long = min(height, width), max(height, width)
    new_short, new_long = size, int(size * long / short)
    if longest is not None and new_long > longest:
        new_short, new_long = int(longest * new_short / new_long), longest
    new_short = max(1, new_short)
    new_height, new_width = (new_short, new_long) if height <= width else (new_long, new_short)
    if new_height * new_width > most_pixels():
        what = f"an image of {height} x {width} would become one of {new_height} x {new_width}, more than {most_pixels()} pixels"
        raise InputError(what, where="motet.ops.image.resize_shorter", hint="longest= bounds the longer side")
    return image if (new_height, new_width) == (height, width) else Resizing((new_height, new_width), method)(image)


_COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#9a6324",
    "#808000",
    "#000075",
    "#f032e6",
)


def draw_boxes(image: Array, boxes: Array, labels: Any, scores: Any, width: int) -> Array:
    """A picture, uint8 `[h, w, 3]`, with boxes `[n, 4]` drawn onto it, and labels and scores where there are such."""
    library, drawing = (_pillow(name, "motet.ops.boxes.draw") for name in ("Image", "ImageDraw"))
    picture = library.fromarray(np.ascontiguousarray(image))
    draw = drawing.Draw(picture)
    height, breadth = image.shape[:2]
    most = [breadth - 1, height - 1, breadth - 1, height - 1]
    for place in np.flatnonzero(np.isfinite(boxes).all(axis=1)).tolist():
        if (boxes[place, :2] > most[:2]).any() or (boxes[place, 2:] < 0).any():
            continue  # it lies outside
        left, top, right, bottom = boxes[place].clip(0, most).round().astype(int).tolist()
        if right < left or bottom < top:
            continue
        label = "" if labels is None else str(labels[place])
        colour = _COLOURS[zlib.crc32(label.encode()) % len(_COLOURS)]
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        text = " ".join([label] * bool(label) + ([] if scores is None else [f"{float(scores[place]):.2f}"]))
        if text:
            corner = draw.textbbox((left, top), text)
            draw.rectangle(corner, fill=colour)
            draw.text((left, top), text, fill="white")
    return np.asarray(picture)


def check_size(size: Sequence[int]) -> None:
    """Refuse a size that is not a height and a width, whole numbers of at least 1, with a ValueError."""
    fits = isinstance(size, (list, tuple)) and len(size) == 2
    if not fits or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in size):
        raise ValueError(f"size is a height and a width in pixels, for example [224, 224], got {size!r}")
