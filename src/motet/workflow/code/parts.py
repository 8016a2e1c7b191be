"""What a function stands on, once it is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from motet.workflow.memo.checkout import FileState
from motet.workflow.memo.trees import pack

__all__ = ["PROGRAM", "Code"]

PROGRAM = "settings of the program"
"""How parts are called that only the process has that was begun with a program: no process of a step runs that."""


@dataclass(frozen=True)
class Code:
    """What a function stands on.

    Attributes:
        parts: a digest of each part of the project, by its name.
        pins: versions of what is not the project's, by name.
        told: what says which half of a part has changed: `code NAME`, a digest of a part without the values of its
            names, and `value NAME`, the beginning of a value's digest, and the value in short.
        bodies: a digest of the compiled code of each function, without anything that it refers to.
        files: the files and folders that count with their content, as values of names are `File`s.
        shared: what it may set that its process has once, such as `numpy.random.seed` and `os.chdir`.
    """

    parts: dict[str, str]
    pins: dict[str, str]
    told: dict[str, str]
    bodies: dict[str, str]
    files: tuple[FileState, ...] = ()
    shared: frozenset[str] = frozenset()

    @cached_property
    def digest(self) -> str:
        """One digest of all of it."""
        return hashlib.sha256(pack([sorted(self.parts.items()), sorted(self.pins.items())])).hexdigest()

    def named(self) -> dict[str, str]:
        """All that is told of it, by name, as it is kept: parts, what they are made of, and `package NAME`: a version."""
        return {**self.parts, **self.told, **{f"package {name}": version for name, version in self.pins.items()}}
