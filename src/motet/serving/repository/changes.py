"""What the processes of a server tell each other: a small file says which graphs are loaded and models scaled, and how.

The file is written whole, under a lock. Each graph has a number that grows with every change, and so has each model
that was scaled; a process that sees a greater one than it has followed does the same.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from motet.system.whole_files import write_whole

__all__ = ["SCALED", "Change", "RepositoryChanges"]

SCALED = "replicas of "
"""Before the name of a model, which no name of a graph begins with."""


class Change(msgspec.Struct):
    """The last change of a graph or model: its number, and how it is from then on."""

    number: int
    loaded: bool = True
    replicas: int | None = None


_decode = msgspec.json.Decoder(dict[str, Change]).decode


class RepositoryChanges:
    """Tells the other processes what this one does, and reads what they have done.

    Args:
        folder: what the processes of the server share.
    """

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / "loaded.json"
        self._followed: dict[str, int] = {}
        self._seen: tuple[int, int] | None = None

    def switched(self, name: str, loaded: bool) -> None:
        """This process has loaded or unloaded a graph, because somebody asked it to."""
        self._tell(name, Change(1, loaded))

    def scaled(self, name: str, count: int) -> None:
        """This process has now so many replicas of a model, because somebody asked it to."""
        self._tell(f"{SCALED}{name}", Change(1, replicas=count))

    def _tell(self, name: str, change: Change) -> None:
        with open(self._path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            changes = self._read()
            before = changes.get(name)
            change.number = 1 if before is None else before.number + 1
            changes[name] = change
            write_whole(self._path, msgspec.json.encode(changes))
            self._followed[name] = change.number

    def _read(self) -> dict[str, Change]:
        try:
            return _decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}

    def look(self) -> dict[str, Change]:
        """What the file says, where it was written since the last look; else nothing.

        Raises:
            OSError: when it cannot be read.
        """
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return {}
        state = found.st_ino, found.st_mtime_ns
        if state == self._seen:
            return {}
        changes = self._read()
        self._seen = state
        return changes

    def is_new(self, name: str, change: Change) -> bool:
        """Whether a change is neither this process's nor asked for before; it counts as followed from then on."""
        if self._followed.get(name, 0) >= change.number:
            return False
        self._followed[name] = change.number
        return True
