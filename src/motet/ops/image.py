"""Functions over images: reading and writing, sizes, numbers, axes and colours.

An image is `[h, w]` (grey) or `[h, w, c]`, channels last, until `to_chw` puts them first for a model that wants it so.
Images of different sizes come as a `Ragged` or a list of arrays and go as a `Ragged`; `decode` with a size, `resize`
and `center_crop` make them one array. Files and resizing are Pillow's (the extra `image`); the rest is numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Ragged, objects
from motet.errors import InputError
from motet.ops._arrays import Rows, by_image, elementwise
from motet.ops._kinds import NUMBERS, is_any, refuse
from motet.ops._pillow import Resizing, check_size, decode_one, encode_one
from motet.types import ANY, ColumnType, returns

__all__ = [
    "center_crop",
    "crop",
    "decode",
    "encode",
    "flip",
    "normalise",
    "resize",
    "scale",
    "to_chw",
    "to_grey",
    "to_hwc",
    "to_rgb",
]

Array = npt.NDArray[Any]


def _check_image(
    function: str, image: ColumnType, axes: tuple[int, ...] = (2, 3), dtypes: frozenset[str] = NUMBERS
) -> None:
    if image.dtype == "any":
        return
    if image.dtype not in dtypes or len(image.shape) not in axes:
        forms = " or ".join({2: "[h,w]", 3: "[h,w,c]"}[count] for count in axes)
        refuse(function, f"images of {'numbers' if dtypes == NUMBERS else ' or '.join(sorted(dtypes))}, {forms}", image)


def _decode_type(
    data: ColumnType,
    mode: str = "rgb",
    size: Sequence[int] | None = None,
    method: str = "bilinear",
    fit: str = "stretch",
    pad: float = 0,
    max_pixels: int = 2**26,
) -> ColumnType:
    if data.dtype not in ("bytes", "any") or data.shape:
        refuse("decode", "bytes, the content of an image file", data)
    if mode not in ("rgb", "grey"):
        raise ValueError(f"decode knows no mode {mode!r}; known: rgb, grey")
    channels = (3,) if mode == "rgb" else ()
    if size is None:
        return ColumnType("uint8", (None, None, *channels))
    return ColumnType("uint8", (*Resizing(size, method, fit, pad).size, *channels))


@returns(_decode_type)
def decode(
    data: Array,
    *,
    mode: str = "rgb",
    size: Sequence[int] | None = None,
    method: str = "bilinear",
    fit: str = "stretch",
    pad: float = 0,
    max_pixels: int = 2**26,
) -> Array | Ragged:
    """Read images from the bytes of their files (BMP, GIF, JPEG, PNG, PPM, TIFF, WebP), turned upright as EXIF says.

    Args:
        data: bytes, shape `[rows]`.
        mode: `rgb` or `grey`. Transparency is dropped; 16 bits a pixel become their upper 8.
        size: height and width to resize to; None keeps each image's own.
        method: with a size, how to resize; see `resize`.
        fit: with a size, how to fit; see `resize`.
        pad: with a size, the value around an image that is contained.
        max_pixels: images with more pixels are refused before they are read.

    Returns:
        uint8: with a size, one array of shape `[rows, h, w, 3]` or `[rows, h, w]`; else a `Ragged` of `[?, ?, 3]` or
        `[?, ?]`.

    Raises:
        InputError: for bytes that are no such image.
        MissingExtraError: when Pillow is not installed.

    >>> files = encode(np.zeros((2, 4, 6, 3), dtype=np.uint8))
    >>> decode(files)[0].shape, decode(files, size=(2, 2), mode="grey").shape
    ((4, 6, 3), (2, 2, 2))
    """
    kind = _decode_type(ANY, mode, size, method, fit, pad)
    images = (decode_one(one, mode, max_pixels) for one in data)
    if size is None:
        return Ragged.from_rows(list(images), dtype=np.uint8, axes=len(kind.shape))
    resizing = Resizing(size, method, fit, pad)
    return _stacked((resizing(image) for image in images), len(data), kind)


def _stacked(images: Any, rows: int, kind: ColumnType) -> Array:
    result = np.empty((rows, *(3 if axis is None else axis for axis in kind.shape)), dtype=kind.dtype)
    for row, image in enumerate(images):
        result[row] = image
    return result


def _encode_type(image: ColumnType, format: str = "png", quality: int = 90) -> ColumnType:
    _check_image("encode", image, dtypes=frozenset({"uint8"}))
    if format not in ("png", "jpeg"):
        raise ValueError(f"encode knows no format {format!r}; known: png, jpeg")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is from 1 to 100, got {quality}")
    channels = (1, 3, 4) if format == "png" else (1, 3)
    if len(image.shape) == 3 and image.shape[2] not in (None, *channels):
        refuse(f"encode to {format}", f"{', '.join(map(str, channels))} channels on the last axis", image)
    return ColumnType("bytes")


@returns(_encode_type)
def encode(image: Rows, *, format: str = "png", quality: int = 90) -> Array:
    """Write images as the bytes of files.

    Args:
        image: uint8, `[h, w]`, `[h, w, 1]`, `[h, w, 3]` or, for PNG, `[h, w, 4]` a row.
        format: `png` or `jpeg`.
        quality: of JPEG, from 1 to 100.

    Returns:
        bytes, shape `[rows]`.

    >>> encode(np.zeros((1, 2, 2), dtype=np.uint8))[0][:4]
    b'\\x89PNG'
    """
    _check_rows("encode", image, lambda kind: _encode_type(kind, format, quality))
    return objects([encode_one(row, format, quality) for row in image])


def _check_rows(function: str, column: Rows, rule: Any) -> ColumnType:
    """Apply a type rule to what really came, and raise its ValueError as an InputError."""
    first = column if isinstance(column, (np.ndarray, Ragged)) else Ragged.from_rows(column)
    shape = first.shape[1:] if isinstance(first, np.ndarray) else _common(first)
    try:
        return ColumnType.parse(rule(ColumnType(str(first.dtype), shape)))
    except ValueError as error:
        raise InputError(str(error), where=f"motet.ops.image.{function}") from error


def _common(column: Ragged) -> tuple[int | None, ...]:
    """The axes that all rows share, None for the others."""
    if not len(column):
        return (None,) * int(column.shapes.shape[1])
    same: list[bool] = (column.shapes == column.shapes[0]).all(axis=0).tolist()
    first: list[int] = column.shapes[0].tolist()
    return tuple(axis if fixed else None for axis, fixed in zip(first, same, strict=True))


def _resize_type(
    image: ColumnType, size: Sequence[int] = (), method: str = "bilinear", fit: str = "stretch", pad: float = 0
) -> ColumnType:
    _check_image("resize", image, dtypes=frozenset({"uint8", "float32"}))
    if len(image.shape) == 3 and (image.shape[2] or 1) > 4:
        refuse("resize", "channels last, 1 to 4 of them (to_chw comes after it)", image)
    if image.dtype == "uint8" and not 0 <= pad <= 255:
        raise ValueError(f"pad must fit uint8, from 0 to 255, got {pad}")
    target = Resizing(size, method, fit, pad).size
    return ANY if is_any(image) else ColumnType(image.dtype, (*target, *image.shape[2:]))


@returns(_resize_type)
def resize(
    image: Rows, *, size: Sequence[int], method: str = "bilinear", fit: str = "stretch", pad: float = 0
) -> Array:
    """Bring images to one size, with antialiasing where that is smaller (but `nearest`).

    Args:
        image: uint8 or float32, `[h, w]` or `[h, w, c]` a row with up to 4 channels; sizes may differ.
        size: height and width in pixels.
        method: `bilinear`, `bicubic`, `nearest`, or `area` (the mean of the pixels covered).
        fit: `stretch` to the size; `cover` it, and cut the middle out; or be `contained` in it whole, with a frame.
        pad: the value of the frame.

    Returns:
        One array of shape `[rows, h, w]` or `[rows, h, w, c]`, the dtype that came.

    Raises:
        InputError: for other dtypes and shapes, and images without pixels.
        MissingExtraError: when Pillow is not installed.

    >>> resize(np.ones((1, 4, 8), dtype=np.float32), size=(2, 2), fit="contain").tolist()
    [[[1.0, 1.0], [0.0, 0.0]]]
    """
    kind = _check_rows("resize", image, lambda given: _resize_type(given, size, method, fit, pad))
    return _stacked(map(Resizing(size, method, fit, pad), image), len(image), kind)


def _center_crop_type(image: ColumnType, size: Sequence[int] = ()) -> ColumnType:
    _check_image("center_crop", image)
    check_size(size)
    for have, want in zip(image.shape, size, strict=False):
        if have is not None and have < want:
            raise ValueError(f"center_crop to {list(size)} needs images of at least that size, got {image}")
    return ANY if is_any(image) else ColumnType(image.dtype, (*size, *image.shape[2:]))


@returns(_center_crop_type)
def center_crop(image: Rows, *, size: Sequence[int]) -> Array:
    """Cut the middle out of images.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        size: height and width in pixels; where the rest is odd, the smaller half goes above and left.

    Raises:
        InputError: when an image is smaller.

    >>> center_crop(np.arange(16).reshape(1, 4, 4), size=(2, 2)).tolist()
    [[[5, 6], [9, 10]]]
    """
    kind = _check_rows("center_crop", image, lambda given: _center_crop_type(given, size))

    def cut(images: Array) -> Array:
        top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], size, strict=True))
        if min(top, left) < 0:
            raise InputError(
                f"an image of {images.shape[1]} x {images.shape[2]} is smaller than {size[0]} x {size[1]}",
                where="motet.ops.image.center_crop",
                hint="resize with fit='cover' takes any image to a size",
            )
        return np.ascontiguousarray(images[:, top : top + size[0], left : left + size[1]])

    if isinstance(image, np.ndarray):
        return cut(image)
    return _stacked((cut(row[None])[0] for row in image), len(image), kind)


def _crop_type(
    image: ColumnType, box: ColumnType, size: Sequence[int] | None = None, method: str = "bilinear"
) -> ColumnType:
    _check_image("crop", image)
    if box.dtype != "any" and (box.dtype not in NUMBERS or box.shape != (4,)):
        refuse("crop", "a box of 4 numbers (left, top, right, bottom) as its second column", box)
    if size is not None:
        return _resize_type(image, size, method)
    return ANY if is_any(image) else ColumnType(image.dtype, (None, None, *image.shape[2:]))


@returns(_crop_type)
def crop(image: Rows, box: Array, *, size: Sequence[int] | None = None, method: str = "bilinear") -> Array | Ragged:
    """Cut one box out of each image.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        box: left, top, right and bottom in pixels, shape `[rows, 4]`; rounded outward, and clipped to the image.
        size: height and width to resize to (uint8 and float32 only); None keeps each box's own.
        method: with a size, how to resize; see `resize`.

    Raises:
        InputError: when a box has no pixel of its image.

    >>> crop(np.arange(9).reshape(1, 3, 3), np.array([[1, 0, 9, 2]]))[0].tolist()
    [[1, 2], [4, 5]]
    """
    kind = _check_rows("crop", image, lambda given: _crop_type(given, ANY, size, method))
    parts = [_cut(row, corners) for row, corners in zip(image, np.asarray(box, dtype=np.float64), strict=True)]
    if size is None:
        return Ragged.from_rows(parts, dtype=kind.dtype, axes=len(kind.shape))
    return _stacked(map(Resizing(size, method), parts), len(parts), kind)


def _cut(image: Array, corners: Array) -> Array:
    height, width = image.shape[:2]
    if not np.isfinite(corners).all():
        raise InputError(f"box {corners.tolist()} is not finite", where="motet.ops.image.crop")
    left, top = (int(corner) for corner in np.floor(corners[:2]).clip(0, (width, height)))
    right, bottom = (int(corner) for corner in np.ceil(corners[2:]).clip(0, (width, height)))
    if right <= left or bottom <= top:
        raise InputError(
            f"box {corners.tolist()} has no pixel of an image of {height} x {width}",
            where="motet.ops.image.crop",
            hint="a box is left, top, right, bottom in pixels",
        )
    return image[top:bottom, left:right]


def _scale_type(image: ColumnType, by: float = 255.0) -> ColumnType:
    if image.dtype not in NUMBERS | {"any"}:
        refuse("scale", "numbers", image)
    if not by:
        raise ValueError("scale cannot divide by 0")
    return ANY if is_any(image) else image.with_dtype("float32")


@returns(_scale_type)
def scale(image: Rows, *, by: float = 255.0) -> Array | Ragged:
    """Divide by a number, in float32: exactly `float32(image) / float32(by)`, not the product with its inverse.

    Args:
        image: numbers, any shape; rows may differ in shape.
        by: the divisor; 255 takes uint8 to the range 0 to 1.

    >>> scale(np.array([[0, 51, 255]], dtype=np.uint8)).round(3).tolist()
    [[0.0, 0.20000000298023224, 1.0]]
    """
    divisor = np.float32(by)
    if not divisor:
        raise InputError("an image cannot be divided by 0", where="motet.ops.image.scale")
    return elementwise(image, lambda values: np.divide(values, divisor, dtype=np.float32))


def _normalise_type(image: ColumnType, mean: Any = None, std: Any = None, channels: str = "last") -> ColumnType:
    _check_image("normalise", image)
    if channels not in ("last", "first"):
        raise ValueError(f"channels is last or first, got {channels!r}")
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            raise ValueError(f"normalise needs {name}, a number or one for each channel")
        count = np.size(values)
        axis = image.shape[-1 if channels == "last" else 0] if len(image.shape) == 3 else 1
        if not is_any(image) and count != 1 and axis is not None and count != axis:
            raise ValueError(f"normalise has {count} values of {name} for {axis} channels ({channels}), in {image}")
    if not np.all(std):
        raise ValueError("normalise cannot divide by a std of 0")
    return ANY if is_any(image) else image.with_dtype("float32")


@returns(_normalise_type)
def normalise(
    image: Rows, *, mean: float | Sequence[float], std: float | Sequence[float], channels: str = "last"
) -> Array | Ragged:
    """Subtract a mean and divide by a standard deviation, in float32: `(image - mean) / std`.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row (`[c, h, w]` with channels first); sizes may differ.
        mean: one number, or one for each channel, in the image's units (after `scale`, from 0 to 1).
        std: the same.
        channels: `last` or `first`.

    >>> normalise(np.ones((1, 1, 1, 2), dtype=np.float32), mean=[0.5, 1.0], std=0.5).tolist()
    [[[[1.0, 0.0]]]]
    """
    _check_rows("normalise", image, lambda given: _normalise_type(given, mean, std, channels))
    center, spread = (_by_channel(values, channels) for values in (mean, std))

    def normalised(images: Array) -> Array:
        result = np.subtract(images, center, dtype=np.float32)
        result /= spread
        return result

    return by_image(image, normalised)


def _by_channel(values: float | Sequence[float], channels: str) -> Array:
    array = np.asarray(values, dtype=np.float32)
    if array.size == 1:
        return array.reshape(())
    return array if channels == "last" else array[:, None, None]


def _moved_type(function: str, image: ColumnType, first: bool) -> ColumnType:
    _check_image(function, image, (2, 3) if first else (3,))
    if is_any(image):
        return ANY
    if len(image.shape) == 2:
        return ColumnType(image.dtype, (1, *image.shape))
    return ColumnType(image.dtype, (image.shape[2], *image.shape[:2]) if first else (*image.shape[1:], image.shape[0]))


@returns(lambda image: _moved_type("to_chw", image, True))
def to_chw(image: Rows) -> Array | Ragged:
    """Put channels first, as PyTorch's models want them: `[h, w, c]` to `[c, h, w]`, and `[h, w]` to `[1, h, w]`.

    >>> to_chw(np.zeros((5, 2, 4, 3))).shape
    (5, 3, 2, 4)
    """
    return by_image(
        image,
        lambda images: images[:, None] if images.ndim == 3 else np.ascontiguousarray(np.moveaxis(images, -1, 1)),
    )


@returns(lambda image: _moved_type("to_hwc", image, False))
def to_hwc(image: Rows) -> Array | Ragged:
    """Put channels last, as everything here wants them: `[c, h, w]` to `[h, w, c]`.

    >>> to_hwc(np.zeros((5, 3, 2, 4))).shape
    (5, 2, 4, 3)
    """
    return by_image(image, lambda images: np.ascontiguousarray(np.moveaxis(images, 1, -1)))


def _colours_type(function: str, image: ColumnType, channels: tuple[int, ...], out: tuple[int, ...]) -> ColumnType:
    _check_image(function, image)
    if len(image.shape) == 3 and image.shape[2] is not None and image.shape[2] not in channels:
        refuse(function, f"[h,w] or {' or '.join(map(str, channels))} channels on the last axis", image)
    return ANY if is_any(image) else ColumnType(image.dtype, (*image.shape[:2], *out))


@returns(lambda image: _colours_type("to_grey", image, (1, 3), ()))
def to_grey(image: Rows) -> Array | Ragged:
    """Brightness, `[h, w]`: `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601).

    uint8 is computed in whole numbers with 16 bits of fraction, as Pillow does, so the bits are Pillow's. Images that
    are grey already only lose their last axis.

    Args:
        image: numbers, `[h, w]`, `[h, w, 1]` or `[h, w, 3]` a row; sizes may differ.

    >>> to_grey(np.array([[[[255, 0, 0]]]], dtype=np.uint8)).tolist()
    [[[76]]]
    """
    _check_rows("to_grey", image, lambda given: _colours_type("to_grey", given, (1, 3), ()))
    return by_image(image, _grey)


def _grey(images: Array) -> Array:
    if images.ndim == 3 or images.shape[-1] == 1:
        return images if images.ndim == 3 else images[..., 0]
    if images.dtype == np.uint8:
        whole = images.astype(np.uint32)
        sums = whole[..., 0] * 19595 + whole[..., 1] * 38470 + whole[..., 2] * 7471
        return ((sums + 0x8000) >> 16).astype(np.uint8)
    exact = images.astype(np.float64)
    mixed = exact[..., 0] * 0.299 + exact[..., 1] * 0.587 + exact[..., 2] * 0.114
    return (mixed if images.dtype.kind == "f" else np.rint(mixed)).astype(images.dtype)


@returns(lambda image: _colours_type("to_rgb", image, (1, 3, 4), (3,)))
def to_rgb(image: Rows) -> Array | Ragged:
    """Three channels, `[h, w, 3]`: grey is repeated, the fourth channel (transparency) is dropped.

    Args:
        image: numbers, `[h, w]`, `[h, w, 1]`, `[h, w, 3]` or `[h, w, 4]` a row; sizes may differ.

    >>> to_rgb(np.array([[[7]]], dtype=np.uint8)).tolist()
    [[[[7, 7, 7]]]]
    """
    _check_rows("to_rgb", image, lambda given: _colours_type("to_rgb", given, (1, 3, 4), (3,)))

    def coloured(images: Array) -> Array:
        channels = images[..., None] if images.ndim == 3 else images
        return np.repeat(channels, 3, axis=-1) if channels.shape[-1] == 1 else channels[..., :3]

    return by_image(image, coloured)


def _flip_type(image: ColumnType, direction: str = "horizontal") -> ColumnType:
    _check_image("flip", image)
    if direction not in ("horizontal", "vertical"):
        raise ValueError(f"direction is horizontal or vertical, got {direction!r}")
    return image


@returns(_flip_type)
def flip(image: Rows, *, direction: str = "horizontal") -> Array | Ragged:
    """Mirror images: `horizontal` swaps left and right, `vertical` swaps top and bottom.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        direction: `horizontal` or `vertical`.

    >>> flip(np.array([[[1, 2], [3, 4]]])).tolist()
    [[[2, 1], [4, 3]]]
    """
    _check_rows("flip", image, lambda given: _flip_type(given, direction))
    axis = 2 if direction == "horizontal" else 1
    return by_image(image, lambda images: np.flip(images, axis=axis))
