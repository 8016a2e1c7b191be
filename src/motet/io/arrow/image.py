"""Files of pictures into pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Column, Ragged
from motet.errors import InputError
from motet.pictures import Array, read_picture
from motet.types import ColumnType

__all__ = ["decode_images"]


def decode_images(encoded: Sequence[bytes | None], kind: ColumnType) -> tuple[Column, dict[int, str]]:
    """Read files of pictures; the ones that can be read, and by position why the others cannot.

    Args:
        encoded: files as they are on disk; None is left out of both.
        kind: a type that `motet.pictures.is_picture`.

    Raises:
        MissingExtraError: when Pillow is not installed.
    """
    images: list[Array] = []
    bad: dict[int, str] = {}
    for position, data in enumerate(encoded):
        if data is None:
            continue
        try:
            images.append(read_picture(data, kind))
        except InputError as error:
            bad[position] = error.what
    if kind.varies:
        return Ragged.from_rows(images, np.uint8, len(kind.shape)), bad
    return (np.stack(images) if images else np.empty((0, *kind.shape), np.uint8)), bad  # type: ignore[arg-type]
