"""A file of lines that several processes append to, and that rotates.

Each write is of whole lines, under a lock beside the file. A file that is full is renamed to FILE.1, that one to FILE.2, and
the oldest is deleted; a file that somebody else has renamed or deleted is made anew.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

__all__ = ["RotatingFile", "write_all"]


class RotatingFile:
    """Appends to such a file. One thread may use it.

    Args:
        path: where it is; its folder is made where there is none.
        file_bytes: a file that is as long is put aside.
        files: how many files there are at most, with those that were put aside.

    Raises:
        OSError: when it cannot be written.
    """

    def __init__(self, path: str, file_bytes: int, files: int) -> None:
        self._path, self._file_bytes = path, file_bytes
        self._names = [path, *(f"{path}.{number}" for number in range(1, files))]
        self._broken = False
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self._lock = _open(f"{path}.lock")
        try:
            self._file = _open(path)
        except OSError:
            os.close(self._lock)
            raise

    def append(self, data: bytes) -> None:
        """Write whole lines. Raises OSError when they cannot be written, or not all of them."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._follow()
            data, self._broken = (b"\n" + data if self._broken else data), True  # begin after a line that was cut off
            write_all(self._file, data)
            self._broken = False
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)
        os.close(self._lock)

    def _follow(self) -> None:
        """Take up the file that is there now; put aside one that is full."""
        mine = os.fstat(self._file)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            there = None
        if there is not None and there.st_size >= self._file_bytes:
            self._rotate()
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            fresh = _open(self._path)
            os.close(self._file)
            self._file, self._broken = fresh, False

    def _rotate(self) -> None:
        if len(self._names) == 1:
            os.unlink(self._path)
        for older, old in zip(reversed(self._names[1:]), reversed(self._names[:-1]), strict=True):
            with suppress(FileNotFoundError):
                os.replace(old, older)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of some bytes to an open file. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
