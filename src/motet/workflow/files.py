"""`File`: a file or a folder whose content counts."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["File"]


@dataclass(frozen=True, slots=True)
class File:
    """A file or a folder that a step reads, or has written.

    As a parameter of a step it counts by its content, where a plain path counts by its name alone. As a result its
    content is kept with the result, and put back where it was when it is missing or changed.

    Attributes:
        path: where it is, as given.
    """

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", os.fspath(path))

    def __fspath__(self) -> str:
        return self.path
