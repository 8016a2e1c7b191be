"""Functions over images: reading and writing, sizes, numbers, axes and colours.

An image is `[h, w]` (grey) or `[h, w, c]`, channels last, until `to_chw` puts them first for a model that wants it so.
Images of different sizes come as a `Ragged` or a list of arrays and go as a `Ragged`; `decode` with a size, `resize`
and `center_crop` make them one array. Files and resizing are Pillow's (the extra `image`); the rest is numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from motet.batch import Array, Ragged, objects
from motet.errors import InputError
from motet.ops._arrays import Rows, by_image, elementwise
from motet.ops._image_types import (
    center_crop_type,
    check_rows,
    colours_type,
    crop_type,
    decode_type,
    encode_type,
    flip_type,
    moments,
    moved_type,
    normalise_type,
    resize_type,
    scale_type,
    shorter_type,
)
from motet.ops._pixels import by_channel, cut_box, grey
from motet.pictures import Resizing, encode_picture, read_pixels, resize_shorter_side
from motet.types import ANY, ColumnType, returns

__all__ = [
    "center_crop",
    "crop",
    "decode",
    "encode",
    "flip",
    "letterbox",
    "normalise",
    "resize",
    "resize_shorter",
    "scale",
    "to_bgr",
    "to_chw",
    "to_grey",
    "to_hwc",
    "to_rgb",
]


@returns(decode_type)
def decode(
    data: Array,
    *,
    mode: str = "rgb",
    size: Sequence[int] | None = None,
    method: str = "bilinear",
    fit: str = "stretch",
    pad: float = 0,
    max_pixels: int | None = None,
) -> Array | Ragged:
    """Read images from the bytes of their files (BMP, GIF, JPEG, PNG, PPM, TIFF, WebP), turned upright as EXIF says.

    Args:
        data: bytes, shape `[rows]`.
        mode: `rgb` or `grey`. Transparency is dropped; 16 bits a pixel become their upper 8.
        size: height and width to resize to; None keeps each image's own.
        method: with a size, how to resize; see `resize`.
        fit: with a size, how to fit; see `resize`.
        pad: with a size, the value around an image that is contained.
        max_pixels: images with more pixels are refused before they are read; None for the limit of all pictures, which is
            2**26 or what the environment variable `MOTET_MAX_PIXELS` says.

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
    kind = decode_type(ANY, mode, size, method, fit, pad)
    images = (_decoded(one, "L" if mode == "grey" else "RGB", max_pixels) for one in data)
    if size is None:
        return Ragged.from_rows(list(images), dtype=np.uint8, axes=len(kind.shape))
    resizing = Resizing(size, method, fit, pad)
    return _stacked((resizing(image) for image in images), len(data), kind)


def _decoded(data: Any, mode: str, max_pixels: int | None) -> Array:
    try:
        return read_pixels(data, mode, max_pixels)
    except InputError as error:
        raise InputError(f"data {error.what}", where="motet.ops.image.decode", hint=error.hint) from None


def _stacked(images: Any, rows: int, kind: ColumnType) -> Array:
    result = np.empty((rows, *(3 if axis is None else axis for axis in kind.shape)), dtype=kind.dtype)
    for row, image in enumerate(images):
        result[row] = image
    return result


@returns(encode_type)
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
    check_rows("encode", image, lambda kind: encode_type(kind, format, quality))
    return objects([encode_picture(row, format, quality) for row in image])


@returns(resize_type)
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
    kind = check_rows("resize", image, lambda given: resize_type(given, size, method, fit, pad))
    return _stacked(map(Resizing(size, method, fit, pad), image), len(image), kind)


@returns(shorter_type)
def resize_shorter(image: Rows, *, size: int, method: str = "bilinear", longest: int | None = None) -> Ragged:
    """Bring the shorter side of images to a length, with the longer one in proportion: torchvision's `Resize(size)` of pictures.

    Args:
        image: uint8 or float32, `[h, w]` or `[h, w, c]` a row with up to 4 channels; sizes may differ.
        size: the shorter side in pixels.
        method: see `resize`.
        longest: the most that the longer side may have; None for no bound but the pixels that a picture may have (see `decode`).

    Returns:
        Images of different sizes; `center_crop`, or `motet.ops.crops`, make them one array.

    >>> [row.shape for row in resize_shorter(np.zeros((1, 4, 10), dtype=np.uint8), size=6)]
    [(6, 15)]
    """
    kind = check_rows("resize_shorter", image, lambda given: shorter_type(given, size, method, longest))
    rows = [resize_shorter_side(row, size, method, longest) for row in image]
    return Ragged.from_rows(rows, dtype=kind.dtype, axes=len(kind.shape))


@returns(lambda image, size=(), method="bilinear", pad=114: resize_type(image, size, method, "contain", pad))
def letterbox(image: Rows, *, size: Sequence[int], method: str = "bilinear", pad: float = 114) -> Array:
    """Images whole in the middle of a frame, as detectors want them; `motet.ops.boxes.unletterbox` takes boxes back.

    Args:
        image: uint8 or float32, `[h, w]` or `[h, w, c]` a row with up to 4 channels; sizes may differ.
        size: height and width in pixels.
        method: see `resize`.
        pad: the value of the frame; 114 is what YOLO's models are trained with.

    >>> letterbox(np.zeros((1, 2, 4), dtype=np.uint8), size=(4, 4))[0, :, 0].tolist()
    [114, 0, 0, 114]
    """
    return resize(image, size=size, method=method, fit="contain", pad=pad)


@returns(center_crop_type)
def center_crop(image: Rows, *, size: Sequence[int], halves: str = "down") -> Array:
    """Cut the middle out of images.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        size: height and width in pixels.
        halves: where the rest is odd, `down` has the smaller half above and left, and `even` an even number, as torchvision's
            `CenterCrop` rounds.

    Raises:
        InputError: when an image is smaller.

    >>> center_crop(np.arange(16).reshape(1, 4, 4), size=(2, 2)).tolist()
    [[[5, 6], [9, 10]]]
    """
    kind = check_rows("center_crop", image, lambda given: center_crop_type(given, size, halves))
    half = round if halves == "even" else int

    def cut(images: Array) -> Array:
        top, left = (half((have - want) / 2) for have, want in zip(images.shape[1:3], size, strict=True))
        if images.shape[1] < size[0] or images.shape[2] < size[1]:
            raise InputError(
                f"an image of {images.shape[1]} x {images.shape[2]} is smaller than {size[0]} x {size[1]}",
                where="motet.ops.image.center_crop",
                hint="resize with fit='cover' takes any image to a size",
            )
        return np.ascontiguousarray(images[:, top : top + size[0], left : left + size[1]])

    if isinstance(image, np.ndarray):
        return cut(image)
    return _stacked((cut(row[None])[0] for row in image), len(image), kind)


@returns(crop_type)
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
    kind = check_rows("crop", image, lambda given: crop_type(given, ANY, size, method))
    parts = [cut_box(row, corners) for row, corners in zip(image, np.asarray(box, dtype=np.float64), strict=True)]
    if size is None:
        return Ragged.from_rows(parts, dtype=kind.dtype, axes=len(kind.shape))
    return _stacked(map(Resizing(size, method), parts), len(parts), kind)


@returns(scale_type)
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


@returns(normalise_type)
def normalise(
    image: Rows,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: str = "last",
    preset: str | None = None,
) -> Array | Ragged:
    """Subtract a mean and divide by a standard deviation, in float32: `(image - mean) / std`.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row (`[c, h, w]` with channels first); sizes may differ.
        mean: one number, or one for each channel, in the image's units (after `scale`, from 0 to 1).
        std: the same.
        channels: `last` or `first`.
        preset: instead of both `imagenet` (torchvision, timm), `clip` (OpenAI's) or `half` (0.5 and 0.5: from -1 to 1), of images
            from 0 to 1 with three channels, red first.

    >>> normalise(np.ones((1, 1, 1, 2), dtype=np.float32), mean=[0.5, 1.0], std=0.5).tolist()
    [[[[1.0, 0.0]]]]
    """
    check_rows("normalise", image, lambda given: normalise_type(given, mean, std, channels, preset))
    center, spread = (by_channel(values, channels) for values in moments(mean, std, preset))

    def normalised(images: Array) -> Array:
        result = np.subtract(images, center, dtype=np.float32)
        result /= spread
        return result

    return by_image(image, normalised)


@returns(lambda image: moved_type("to_chw", image, True))
def to_chw(image: Rows) -> Array | Ragged:
    """Put channels first, as PyTorch's models want them: `[h, w, c]` to `[c, h, w]`, and `[h, w]` to `[1, h, w]`.

    >>> to_chw(np.zeros((5, 2, 4, 3))).shape
    (5, 3, 2, 4)
    """
    return by_image(
        image,
        lambda images: images[:, None] if images.ndim == 3 else np.ascontiguousarray(np.moveaxis(images, -1, 1)),
    )


@returns(lambda image: moved_type("to_hwc", image, False))
def to_hwc(image: Rows) -> Array | Ragged:
    """Put channels last, as everything here wants them: `[c, h, w]` to `[h, w, c]`.

    >>> to_hwc(np.zeros((5, 3, 2, 4))).shape
    (5, 2, 4, 3)
    """
    return by_image(image, lambda images: np.ascontiguousarray(np.moveaxis(images, 1, -1)))


@returns(lambda image: colours_type("to_grey", image, (1, 3), ()))
def to_grey(image: Rows) -> Array | Ragged:
    """Brightness, `[h, w]`: `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601).

    uint8 is computed in whole numbers with 16 bits of fraction, as Pillow does, so the bits are Pillow's. Images that
    are grey already only lose their last axis.

    Args:
        image: numbers, `[h, w]`, `[h, w, 1]` or `[h, w, 3]` a row; sizes may differ.

    >>> to_grey(np.array([[[[255, 0, 0]]]], dtype=np.uint8)).tolist()
    [[[76]]]
    """
    check_rows("to_grey", image, lambda given: colours_type("to_grey", given, (1, 3), ()))
    return by_image(image, grey)


@returns(lambda image: colours_type("to_rgb", image, (1, 3, 4), (3,)))
def to_rgb(image: Rows) -> Array | Ragged:
    """Three channels, `[h, w, 3]`: grey is repeated, the fourth channel (transparency) is dropped.

    Args:
        image: numbers, `[h, w]`, `[h, w, 1]`, `[h, w, 3]` or `[h, w, 4]` a row; sizes may differ.

    >>> to_rgb(np.array([[[7]]], dtype=np.uint8)).tolist()
    [[[[7, 7, 7]]]]
    """
    check_rows("to_rgb", image, lambda given: colours_type("to_rgb", given, (1, 3, 4), (3,)))

    def coloured(images: Array) -> Array:
        channels = images[..., None] if images.ndim == 3 else images
        return np.repeat(channels, 3, axis=-1) if channels.shape[-1] == 1 else channels[..., :3]

    return by_image(image, coloured)


@returns(lambda image: colours_type("to_bgr", image, (3,), (3,)))
def to_bgr(image: Rows) -> Array | Ragged:
    """Channels the other way round: red, green, blue to blue, green, red, as OpenCV has them, and back.

    Args:
        image: numbers, `[h, w, 3]` a row; sizes may differ.

    >>> to_bgr(np.array([[[[1, 2, 3]]]])).tolist()
    [[[[3, 2, 1]]]]
    """
    check_rows("to_bgr", image, lambda given: colours_type("to_bgr", given, (3,), (3,)))
    return by_image(image, lambda images: np.ascontiguousarray(images[..., ::-1]))


@returns(flip_type)
def flip(image: Rows, *, direction: str = "horizontal") -> Array | Ragged:
    """Mirror images: `horizontal` swaps left and right, `vertical` swaps top and bottom.

    Args:
        image: numbers, `[h, w]` or `[h, w, c]` a row; sizes may differ.
        direction: `horizontal` or `vertical`.

    >>> flip(np.array([[[1, 2], [3, 4]]])).tolist()
    [[[2, 1], [4, 3]]]
    """
    check_rows("flip", image, lambda given: flip_type(given, direction))
    axis = 2 if direction == "horizontal" else 1
    return by_image(image, lambda images: np.flip(images, axis=axis))
