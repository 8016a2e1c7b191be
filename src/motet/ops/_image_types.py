"""What the functions of `motet.ops.image` give for columns of which types, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows
from motet.ops._boxes import boxes_type
from motet.ops._kinds import NUMBERS, is_any, refuse
from motet.pictures import Resizing, check_size
from motet.types import ANY, ColumnType


def _check_image(
    function: str, image: ColumnType, axes: tuple[int, ...] = (2, 3), dtypes: frozenset[str] = NUMBERS
) -> None:
    if image.dtype == "any":
        return
    if image.dtype not in dtypes or len(image.shape) not in axes:
        forms = " or ".join({2: "[h,w]", 3: "[h,w,c]"}[count] for count in axes)
        refuse(function, f"images of {'numbers' if dtypes == NUMBERS else ' or '.join(sorted(dtypes))}, {forms}", image)


def decode_type(
    data: ColumnType,
    mode: str = "rgb",
    size: Sequence[int] | None = None,
    method: str = "bilinear",
    fit: str = "stretch",
    pad: float = 0,
    max_pixels: int | None = None,
) -> ColumnType:
    if data.dtype not in ("bytes", "any") or data.shape:
        refuse("decode", "bytes, the content of an image file", data)
    if mode not in ("rgb", "grey"):
        raise ValueError(f"decode knows no mode {mode!r}; known: rgb, grey")
    channels = (3,) if mode == "rgb" else ()
    if size is None:
        return ColumnType("uint8", (None, None, *channels))
    return ColumnType("uint8", (*Resizing(size, method, fit, pad).size, *channels))


def encode_type(image: ColumnType, format: str = "png", quality: int = 90) -> ColumnType:
    _check_image("encode", image, dtypes=frozenset({"uint8"}))
    if format not in ("png", "jpeg"):
        raise ValueError(f"encode knows no format {format!r}; known: png, jpeg")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is from 1 to 100, got {quality}")
    channels = (1, 3, 4) if format == "png" else (1, 3)
    if len(image.shape) == 3 and image.shape[2] not in (None, *channels):
        refuse(f"encode to {format}", f"{', '.join(map(str, channels))} channels on the last axis", image)
    return ColumnType("bytes")


def resize_type(
    image: ColumnType, size: Sequence[int] = (), method: str = "bilinear", fit: str = "stretch", pad: float = 0
) -> ColumnType:
    _check_image("resize", image, dtypes=frozenset({"uint8", "float32"}))
    if len(image.shape) == 3 and (image.shape[2] or 1) > 4:
        refuse("resize", "channels last, 1 to 4 of them (to_chw comes after it)", image)
    if image.dtype == "uint8" and not 0 <= pad <= 255:
        raise ValueError(f"pad must fit uint8, from 0 to 255, got {pad}")
    target = Resizing(size, method, fit, pad).size
    return ANY if is_any(image) else ColumnType(image.dtype, (*target, *image.shape[2:]))


def center_crop_type(image: ColumnType, size: Sequence[int] = (), halves: str = "down") -> ColumnType:
    _check_image("center_crop", image)
    if halves not in ("down", "even"):
        raise ValueError(f"halves is down or even, got {halves!r}")
    check_size(size)
    for have, want in zip(image.shape, size, strict=False):
        if have is not None and have < want:
            raise ValueError(f"center_crop to {list(size)} needs images of at least that size, got {image}")
    return ANY if is_any(image) else ColumnType(image.dtype, (*size, *image.shape[2:]))


def crop_type(
    image: ColumnType, box: ColumnType, size: Sequence[int] | None = None, method: str = "bilinear"
) -> ColumnType:
    _check_image("crop", image)
    if box.dtype != "any" and (box.dtype not in NUMBERS or box.shape != (4,)):
        refuse("crop", "a box of 4 numbers (left, top, right, bottom) as its second column", box)
    if size is not None:
        return resize_type(image, size, method)
    return ANY if is_any(image) else ColumnType(image.dtype, (None, None, *image.shape[2:]))


def scale_type(image: ColumnType, by: float = 255.0) -> ColumnType:
    if image.dtype not in NUMBERS | {"any"}:
        refuse("scale", "numbers", image)
    if not by:
        raise ValueError("scale cannot divide by 0")
    return ANY if is_any(image) else image.with_dtype("float32")


PRESETS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5,), (0.5,)),
}
"""Means and deviations that models are trained with, of images from 0 to 1: torchvision's and timm's, OpenAI's CLIP, and -1 to 1."""


def moments(mean: Any, std: Any, preset: str | None) -> tuple[Any, Any]:
    """Mean and deviation, given or by the name of a preset."""
    if preset is None:
        return mean, std
    if mean is not None or std is not None:
        raise ValueError("normalise takes mean and std, or a preset, not both")
    if preset not in PRESETS:
        raise ValueError(f"normalise knows no preset {preset!r}; known: {', '.join(PRESETS)}")
    return PRESETS[preset]


def normalise_type(
    image: ColumnType, mean: Any = None, std: Any = None, channels: str = "last", preset: str | None = None
) -> ColumnType:
    _check_image("normalise", image)
    mean, std = moments(mean, std, preset)
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


def moved_type(function: str, image: ColumnType, first: bool) -> ColumnType:
    _check_image(function, image, (2, 3) if first else (3,))
    if is_any(image):
        return ANY
    if len(image.shape) == 2:
        return ColumnType(image.dtype, (1, *image.shape))
    return ColumnType(image.dtype, (image.shape[2], *image.shape[:2]) if first else (*image.shape[1:], image.shape[0]))


def colours_type(function: str, image: ColumnType, channels: tuple[int, ...], out: tuple[int, ...]) -> ColumnType:
    _check_image(function, image)
    if len(image.shape) == 3 and image.shape[2] is not None and image.shape[2] not in channels:
        refuse(function, f"[h,w] or {' or '.join(map(str, channels))} channels on the last axis", image)
    return ANY if is_any(image) else ColumnType(image.dtype, (*image.shape[:2], *out))


def flip_type(image: ColumnType, direction: str = "horizontal") -> ColumnType:
    _check_image("flip", image)
    if direction not in ("horizontal", "vertical"):
        raise ValueError(f"direction is horizontal or vertical, got {direction!r}")
    return image


def shorter_type(image: ColumnType, size: int = 0, method: str = "bilinear", longest: int | None = None) -> ColumnType:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"size is the length of the shorter side in pixels, for example 256, got {size!r}")
    if longest is not None and longest < size:
        raise ValueError(f"longest is at least size, {size}, got {longest}")
    resized = resize_type(image, (size, size), method)
    return ANY if is_any(resized) else ColumnType(resized.dtype, (None, None, *resized.shape[2:]))


def crops_type(function: str, image: ColumnType, size: Sequence[int] = (), overlap: int = 0) -> ColumnType:
    _check_image(function, image)
    check_size(size)
    if not 0 <= overlap < min(size):
        raise ValueError(f"overlap is less than a side of a tile, got {overlap}")
    for have, want in zip(image.shape, size, strict=False):
        if have is not None and have < want:
            raise ValueError(f"{function} of {list(size)} needs images of at least that size, got {image}")
    return ANY if is_any(image) else ColumnType(image.dtype, (*size, *image.shape[2:]))


def draw_type(
    image: ColumnType,
    boxes: ColumnType,
    labels: ColumnType | None = None,
    scores: ColumnType | None = None,
    width: int = 2,
) -> ColumnType:
    _check_image("draw", image, (3,), frozenset({"uint8"}))
    if len(image.shape) == 3 and image.shape[2] not in (None, 3):
        refuse("draw", "3 channels on the last axis (motet.ops.image.to_rgb makes them)", image)
    boxes_type("draw", boxes)
    if width < 1:
        raise ValueError(f"width is at least 1, got {width}")
    return image


def check_rows(function: str, column: Rows, rule: Any, module: str = "image") -> ColumnType:
    """Apply a type rule to what really came, and raise its ValueError as an InputError."""
    first = column if isinstance(column, (np.ndarray, Ragged)) else Ragged.from_rows(column)
    shape = first.shape[1:] if isinstance(first, np.ndarray) else _common(first)
    try:
        return ColumnType.parse(rule(ColumnType(str(first.dtype), shape)))
    except ValueError as error:
        raise InputError(str(error), where=f"motet.ops.{module}.{function}") from error


def _common(column: Ragged) -> tuple[int | None, ...]:
    """The axes that all rows share, None for the others."""
    if not len(column):
        return (None,) * int(column.shapes.shape[1])
    same: list[bool] = (column.shapes == column.shapes[0]).all(axis=0).tolist()
    first: list[int] = column.shapes[0].tolist()
    return tuple(axis if fixed else None for axis, fixed in zip(first, same, strict=True))
