"""Boxes as the functions of `motet.ops` take them: `[?, 4]` a row, or `[n, 4]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import InputError
from motet.ops._kinds import NUMBERS, float_of, is_any, refuse
from motet.types import ANY, ColumnType


def boxes_type(function: str, boxes: ColumnType) -> ColumnType:
    """Boxes of floats, as many as come.

    Raises:
        ValueError: when these are none.
    """
    if boxes.dtype != "any" and (
        boxes.dtype not in NUMBERS or len(boxes.shape) != 2 or boxes.shape[1] not in (None, 4)
    ):
        refuse(function, "boxes of 4 numbers, float32[?,4]", boxes)
    return ANY if is_any(boxes) else ColumnType(float_of(boxes), (boxes.shape[0], 4))


def check_boxes(function: str, shape: Sequence[int], module: str = "boxes") -> None:
    """Refuse what are no boxes of 4 numbers, where there are any: read as such they would be others."""
    if 0 not in shape and (len(shape) != 2 or shape[1] != 4):
        what = f"a box is 4 numbers, [?,4] a row; got {list(shape)}"
        raise InputError(what, where=f"motet.ops.{module}.{function}", hint="leave other columns out, such as scores")


def corners(function: str, boxes: Any, dtype: Any = None, module: str = "boxes") -> Array:
    """The boxes of a row, `[n, 4]`."""
    found = np.asarray(boxes, dtype=dtype)
    check_boxes(function, found.shape, module)
    return found.reshape(-1, 4)
