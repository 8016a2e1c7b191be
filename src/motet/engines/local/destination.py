"""Where the answers of a run go, as the user said it: a file, a folder of parts, or a stream."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from motet.engines.local.output import FileOutput, Output, StreamOutput
from motet.engines.local.work import UNFINISHED, WorkFolder, work_folder
from motet.errors import InputError
from motet.io.places import Place, place_of
from motet.io.remote import asking
from motet.io.sink import can_hold
from motet.io.target import is_stream

if TYPE_CHECKING:
    from motet.engines.local.folder_output import Added

__all__ = ["Destination"]

PARTS_FORMAT = "parquet"
"""The format of the parts of a folder, unless one is named."""


@dataclass(frozen=True)
class Destination:
    """Where answers go.

    Attributes:
        path: a path on this machine, or a URL.
        format: of the file, the parts or the stream, see `motet.io.open_writer`; None goes by the suffix.
        part_rows: rows of a part of a folder.
        partition_by: columns whose values name folders of parts.
    """

    path: str
    format: str | None = None
    part_rows: int = 1_000_000
    partition_by: Sequence[str] = ()

    @cached_property
    def place(self) -> Place:
        """The path as a place."""
        return place_of(self.path)

    @cached_property
    def is_stream(self) -> bool:
        """Whether it is standard output, a pipe or a device, which takes bytes at once and for good."""
        return is_stream(self.place)

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder of parts: its path ends in `/`, or a folder is there."""
        return not self.is_stream and self.place.names_folder

    @property
    def shown(self) -> str:
        """What reports and messages call it."""
        return self.path

    there_hint = "--overwrite replaces it, --resume goes on with an unfinished run (overwrite=True, resume=True)"
    """What may be done about one that is there."""

    @property
    def failed(self) -> str | None:
        """Where failures go unless something else is said; None for nowhere."""
        return None if self.is_stream else f"{self.path.rstrip('/')}.failed.parquet"

    @property
    def kind(self) -> str:
        """What of it fixes the bytes that are written."""
        if not self.is_folder:
            return self.format or os.path.splitext(self.path)[1]
        by = f" by {', '.join(self.partition_by)}" if self.partition_by else ""
        return f"folder of {self.format or PARTS_FORMAT}{by}, {self.part_rows} rows a part"

    def check(self, *, resume: bool, append: bool) -> None:
        """See that its options fit it.

        Raises:
            InputError: when they do not.
        """
        if self.partition_by and not self.is_folder:
            raise InputError(
                f"{self.path} is no folder", where="partition_by", hint="a folder is a path with / at its end"
            )
        if append and not self.is_folder:
            raise InputError(f"{self.path} is no folder", where="append", hint="a folder is a path with / at its end")
        if self.is_stream and resume:
            raise InputError("a stream cannot be gone on with", where=self.path, hint="write to a file, or begin anew")

    def exists(self) -> bool:
        """Whether it is there already: a file, or a folder with something in it."""
        place = self.place
        if self.is_stream:
            return False
        if not self.is_folder:
            return place.exists()
        with asking(self.path, place.fs):
            try:
                if place.is_local:
                    return any(name != UNFINISHED for name in os.listdir(place.path))
                place.fs.invalidate_cache()
                found = place.fs.ls(place.path.rstrip("/"), detail=False)
            except FileNotFoundError:
                return False
            return any(path.rstrip("/").rpartition("/")[2] != UNFINISHED for path in found)

    def holds(self, field: pa.Field) -> bool:
        """Whether it can hold a column."""
        return can_hold(self.path, field, format=self.format or (PARTS_FORMAT if self.is_folder else None))

    def work_folder(self) -> WorkFolder:
        """Where a run keeps what is finished until the output is there."""
        return WorkFolder() if self.is_stream else work_folder(self.place, is_folder=self.is_folder)

    def open(self, work: WorkFolder, added: Added | None = None) -> Output:
        """What answers are written to.

        Args:
            work: where they stand until the output is finished.
            added: how parts are added to those that are there; None replaces these.
        """
        if self.is_stream:
            return StreamOutput(self.path, self.format)
        if not self.is_folder:
            return FileOutput(self.place, work, self.format)
        from motet.engines.local.folder_output import (  # few outputs are folders
            FolderOutput,
            FolderParts,
            PartitionedOutput,
        )

        parts = FolderParts(self.path, work, self.format or PARTS_FORMAT, added)
        if self.partition_by:
            return PartitionedOutput(parts, self.partition_by, self.part_rows)
        return FolderOutput(parts, self.part_rows)
