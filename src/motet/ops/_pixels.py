"""What functions over images do with the pixels of one, or of many of one size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Array
from motet.errors import InputError


def cut_box(image: Array, corners: Array) -> Array:
    """What a box holds of an image: left, top, right, bottom, rounded outward."""
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


def by_channel(values: float | Sequence[float], channels: str) -> Array:
    """One number, or one for each channel, so that images of that order can be worked with it."""
    array = np.asarray(values, dtype=np.float32)
    if array.size == 1:
        return array.reshape(())
    return array if channels == "last" else array[:, None, None]


def grey(images: Array) -> Array:
    """Brightness of images of one size, shape `[rows, h, w]`."""
    if images.ndim == 3 or images.shape[-1] == 1:
        return images if images.ndim == 3 else images[..., 0]
    if images.dtype == np.uint8:
        whole = images.astype(np.uint32)
        sums = whole[..., 0] * 19595 + whole[..., 1] * 38470 + whole[..., 2] * 7471
        return ((sums + 0x8000) >> 16).astype(np.uint8)
    exact = images.astype(np.float64)
    mixed = exact[..., 0] * 0.299 + exact[..., 1] * 0.587 + exact[..., 2] * 0.114
    return (mixed if images.dtype.kind == "f" else np.rint(mixed)).astype(images.dtype)
