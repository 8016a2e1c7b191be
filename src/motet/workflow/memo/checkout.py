"""Files that somebody reads while others may write them: as they were, whether they still are, and copies of one's own."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from motet.system.folders import files_below
from motet.workflow.memo.trees import pack

__all__ = ["Checkout", "FileState", "digest_file", "digest_folder", "see"]

_TICK_NS = 50_000_000
"""Clocks of file systems may go in steps; what was changed less than this before it was looked at may be changed again
unseen."""

_Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class FileState:
    """A file or a folder as it was: its path, a digest of its content, and what its file system said of it before."""

    path: str
    digest: str
    stamp: _Stamp
    seen_ns: int

    @property
    def changed(self) -> bool:
        """Whether its content is another one now, or it is gone."""
        try:
            if _stamp(self.path) == self.stamp and max((each[0] for each in self.stamp), default=0) < self.seen_ns:
                return False
            return see(self.path).digest != self.digest
        except OSError:
            return True


def see(path: str) -> FileState:
    """Look at a file or a folder. Raises OSError for one that cannot be read."""
    now = time.time_ns() - _TICK_NS
    stamp = _stamp(path)
    if not os.path.isdir(path):
        return FileState(path, digest_file(Path(path)), stamp, now)
    digests = {name: "" if name.endswith("/") else digest_file(Path(at)) for name, at in files_below(path).items()}
    return FileState(path, digest_folder(digests), stamp, now)


def digest_file(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256, _bufsize=1 << 20).hexdigest()


def digest_folder(files: dict[str, str]) -> str:
    """The digest of a folder, 64 hex digits: of the names and digests of what `files_below` finds in it."""
    return hashlib.sha256(pack(sorted(files.items()))).hexdigest()


def _stamp(path: str) -> _Stamp:
    paths = files_below(path).values() if os.path.isdir(path) else (path,)
    found = [(each, os.stat(each)) for each in paths]
    return tuple((s.st_ctime_ns, s.st_mtime_ns, s.st_size, s.st_ino, s.st_dev, hash(name)) for name, s in found)


@dataclass(slots=True)
class Checkout:
    """Where one who takes results finds the files in them: at their own paths, or copied apart.

    Attributes:
        folder: for copies.
        contested: absolute paths at which more than one result belongs, so that they are copied.
        all_apart: whether all are copied.
        seen: what was found at its own path.
        names: the paths of what was copied, by where it is now.
    """

    folder: str = ""
    contested: frozenset[str] = frozenset()
    all_apart: bool = False
    seen: list[FileState] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def place(self, path: str, content: str) -> str:
        """Where a file or folder with some content goes."""
        return self.apart(path, content) if self.all_apart or os.path.abspath(path) in self.contested else path

    def apart(self, path: str, content: str) -> str:
        """Where a copy of it goes."""
        place = os.path.join(self.folder, content[:16], os.path.basename(os.path.abspath(path)))
        self.names[place] = path
        return place

    def named(self, path: str) -> str:
        """What a path is called in results: a copy as what it was copied from."""
        for place, name in self.names.items():
            if path == place or path.startswith(place + os.sep):
                return name + path[len(place) :]
        return path

    def changed(self) -> list[str]:
        """What was found at its own path and is not as it was any more."""
        return [each.path for each in self.seen if each.changed]
