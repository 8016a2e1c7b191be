"""Rows of anything that `motet.io` reads, and images in folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import objects
from motet.errors import InputError
from motet.io import is_image, open_source, split_faults, to_column
from motet.io.files import find_files
from motet.io.images import IMAGE_SUFFIXES, ImagesSource
from motet.ops.image import decode
from motet.training.data.readers import Columns
from motet.types import ColumnType

__all__ = ["ImagesReader", "SourceReader"]

_BLOCK_ROWS = 4096
_IMAGE_BLOCK_ROWS = 256


class SourceReader:
    """Columns of a source.

    Args:
        what: what `motet.io.open_source` opens: a path, a pattern, a URL, a table.
        types: column types by name, as graphs write them; only these columns are read.

    Raises:
        InputError: when there is nothing to read, or rows of a column may differ in shape.
        UnknownNameError: when the source has no such column.
    """

    def __init__(self, what: Any, types: Mapping[str, str | ColumnType]) -> None:
        self._types = {name: ColumnType.parse(kind, name) for name, kind in types.items()}
        if not self._types:
            raise InputError("no column is named", hint="name columns with types, such as image='uint8[28,28]'")
        for name, kind in self._types.items():
            if kind.varies:
                raise InputError(
                    f"rows of column {name!r} may differ in shape: {kind}",
                    hint="give every axis a length; resize or pad the rows before they are stored",
                )
        self._source = open_source(what, wanted=self._types)
        self.description, self.num_rows = self._source.description, self._source.num_rows
        self._source.batches(1, list(self._types))  # names that do not exist are found here

    def blocks(self) -> Iterator[Columns]:
        """Blocks of 4,096 rows at most.

        Raises:
            InputError: at the first row that cannot be read or does not fit its type.
        """
        at = 0
        for batch in self._source.batches(_BLOCK_ROWS, list(self._types)):
            plain, faults = split_faults(batch)
            self._check(faults, at)
            columns: dict[str, Any] = {}
            for name, kind in self._types.items():
                encoded = is_image(plain.schema.field(name))
                columns[name], bad = to_column(plain.column(name), kind, name=name, image=encoded)
                self._check({row: f"column {name!r} {reason}" for row, reason in bad.items()}, at)
            yield columns
            at += len(batch)

    def fingerprint(self) -> str:
        """A digest of the source's own and the types."""
        types = {name: str(kind) for name, kind in self._types.items()}
        return hashlib.sha256(f"{self._source.fingerprint()}{types}".encode()).hexdigest()

    def _check(self, faults: Mapping[int, str], at: int) -> None:
        for row, reason in faults.items():
            raise InputError(
                f"row {at + row}: {reason}",
                where=self.description,
                hint="mend the row, or write the others to a new file",
            )


class ImagesReader:
    """Images in one folder a class: `image` uint8 `[height, width, 3]` (grey: `[height, width]`), `label` int64.

    Args:
        folder: holds one folder a class; labels count them in the order of their names.
        size: height and width that images are resized to.
        grey: whether images have one channel.

    Raises:
        InputError: when there is no folder with images.
    """

    def __init__(self, folder: str | os.PathLike[str], size: tuple[int, int], grey: bool = False) -> None:
        self._size, self._grey, self.description = size, grey, os.fspath(folder)
        found = [file for file in find_files(folder) if PurePath(file.path).suffix.lower() in IMAGE_SUFFIXES]
        classes = [PurePath(file.path).parent.name for file in found]
        self.classes = tuple(sorted(set(classes)))
        if not found or any(PurePath(file.path).parent.parent != PurePath(folder) for file in found):
            raise InputError(
                "is no folder with one folder of images a class",
                where=self.description,
                hint="such as coats/1.png, bags/2.png",
            )
        self._labels = np.array([self.classes.index(name) for name in classes], dtype=np.int64)
        self._source = ImagesSource(found, self.description)
        self.num_rows = len(found)

    def blocks(self) -> Iterator[Columns]:
        """Blocks of 256 images at most.

        Raises:
            InputError: at the first file that is no image.
            MissingExtraError: when Pillow is not installed.
        """
        at = 0
        for batch in self._source.batches(_IMAGE_BLOCK_ROWS):
            plain, faults = split_faults(batch)
            for reason in faults.values():
                raise InputError(reason, where=self.description)
            files = zip(plain.column("path").to_pylist(), plain.column("image").to_pylist(), strict=True)
            images = np.concatenate([self._decoded(path, data) for path, data in files])
            yield {"image": images, "label": self._labels[at : at + len(images)]}
            at += len(images)

    def _decoded(self, path: str, data: bytes) -> npt.NDArray[np.uint8]:
        try:
            return np.asarray(decode(objects([data]), mode="grey" if self._grey else "rgb", size=self._size))
        except InputError as error:
            raise error.located(path) from None

    def fingerprint(self) -> str:
        """A digest of the files' names, sizes and times, and how they are decoded."""
        text = f"{self._source.fingerprint()}{self.classes}{self._labels.tolist()}{self._size}{self._grey}"
        return hashlib.sha256(text.encode()).hexdigest()
