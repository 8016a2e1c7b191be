"""What can be read once: standard input, pipes, and answers over HTTP of which no parts can be asked for.

CSV is read as it comes (`Passing`). Whatever must be looked at twice, or at places, is put into a temporary file without
a name first (`Spooled`), which goes when nobody reads it any more, however the process ends.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from motet.errors import InputError
from motet.io.places import STANDARD
from motet.io.read_only import ReadOnlyFile, SeekableFile
from motet.system.places import temporary_folder

__all__ = ["ByteReader", "Content", "HeldContent", "Passing", "Spooled", "open_pipe"]

SPOOL_BYTES = 16 << 30
"""The most that is put into a temporary file."""
WRITER_S = 60.0
"""How long a pipe is waited for that nobody writes to."""
_HEAD_BYTES = 32 << 20
"""What is held of the beginning, so that it can be read again."""
_READ_BYTES = 1 << 20
_LOOK_MS = 200


class ByteReader(Protocol):
    """What comes, in order."""

    def read(self, size: int) -> bytes:
        """Some bytes, at most so many; none at the end."""
        ...

    def stop(self) -> None:
        """End a read that waits in another thread, as if nothing came any more."""
        ...


class Passing:
    """Read as it comes. Its beginning can be read again, as long as no more than 32 MiB have been read.

    Args:
        make: gives what comes, when it is wanted.
        where: what errors call it.
    """

    reads_again = False

    def __init__(self, make: Callable[[], ByteReader], where: str) -> None:
        self._make, self._where = make, where
        self._reader: ByteReader | None = None
        self._head, self._holds, self._end = bytearray(), True, False

    def open(self) -> Any:
        """An Arrow file, from the beginning.

        Raises:
            InputError: when it is too late to begin again.
        """
        if not self._holds:
            raise InputError("can be read only once", where=self._where, hint="write it to a file first")
        return pa.PythonFile(_Following(self), mode="r")

    def take(self, place: int, size: int) -> bytes:
        """Bytes from a place that is no further than what was read; fewer only at the end."""
        held = bytes(self._head[place : place + size]) if self._holds else b""
        parts, missing = [held], size - len(held)
        while missing and not self._end:
            if self._reader is None:
                self._reader = self._make()
            data = self._reader.read(missing)
            self._end = not data
            self._hold(data)
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _hold(self, data: bytes) -> None:
        if self._holds and len(self._head) + len(data) <= _HEAD_BYTES:
            self._head += data
        elif self._holds:
            self._holds, self._head = False, bytearray()

    def stop(self) -> None:
        """End what waits for more."""
        if self._reader is not None:
            self._reader.stop()


class _Following(ReadOnlyFile):
    """One reading of what passes."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing

    def read(self, size: int) -> bytes:
        """Some bytes; fewer only at the end."""
        data = self._passing.take(self._place, size)
        self._place += len(data)
        return data


class Spooled:
    """All of it, in a temporary file without a name.

    Args:
        reader: what comes.
        where: what errors call it.

    Raises:
        InputError: when it is more than 16 GiB, or there is no room for it.
    """

    reads_again = True

    def __init__(self, reader: ByteReader, where: str) -> None:
        self.file = tempfile.TemporaryFile(prefix="motet-", dir=temporary_folder())  # noqa: SIM115 (open as long as this is)
        self.size = 0
        weakref.finalize(self, self.file.close)
        try:
            self._take(reader, where)
        except OSError as error:
            what = f"cannot be put into a temporary file in {temporary_folder()}: {error.strerror or error}"
            hint = "set TMPDIR to a folder with room, or write it to a file first"
            raise InputError(what, where=where, hint=hint) from error

    def _take(self, reader: ByteReader, where: str) -> None:
        while data := reader.read(_READ_BYTES):
            self.size += len(data)
            if self.size > SPOOL_BYTES:
                what = f"is more than {SPOOL_BYTES >> 30} GiB, which is the most that is put into a temporary file"
                raise InputError(what, where=where, hint="write it to a file first; CSV is read as it comes")
            self.file.write(data)
        self.file.flush()

    def open(self) -> Any:
        """An Arrow file, from the beginning."""
        return pa.PythonFile(_Places(self), mode="r")

    def stop(self) -> None:
        """All has come."""


class HeldContent:
    """All of it, in memory.

    Args:
        data: what there is.
    """

    reads_again = True

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self) -> Any:
        """An Arrow file, from the beginning."""
        return pa.BufferReader(self._data)

    def stop(self) -> None:
        """All has come."""


Content: TypeAlias = Passing | Spooled | HeldContent
"""What is in a file that can be read once; `reads_again` says whether it can be read more than once after all."""


class _Places(SeekableFile):
    """One reading of what was put into a file, which others read too."""

    def __init__(self, spooled: Spooled) -> None:
        super().__init__(spooled.size)
        self._spooled = spooled

    def read(self, size: int = -1) -> bytes:
        """Some bytes; fewer only at the end."""
        wanted = self._size - self._place if size is None or size < 0 else size
        data = os.pread(self._spooled.file.fileno(), wanted, self._place)
        self._place += len(data)
        return data


def open_pipe(path: str) -> ByteReader:
    """Open standard input (`-`), a pipe or a device.

    Raises:
        InputError: when standard input is closed, or nobody writes to a pipe for a minute.
    """
    if path == STANDARD:
        if sys.stdin is None or sys.stdin.closed:
            raise InputError("is closed", where="standard input")
        try:
            return _Pipe(sys.stdin.fileno(), "standard input")
        except (OSError, AttributeError):  # something else was put in its place
            return _Given(sys.stdin.buffer)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return _Pipe(descriptor, path, named=stat.S_ISFIFO(os.fstat(descriptor).st_mode))


class _Given:
    """What stands for standard input in this process."""

    def __init__(self, file: Any) -> None:
        self._file, self._stopped = file, False

    def read(self, size: int) -> bytes:
        """See `ByteReader.read`."""
        return b"" if self._stopped else bytes(self._file.read(size))

    def stop(self) -> None:
        """See `ByteReader.stop`."""
        self._stopped = True


class _Pipe:
    """A descriptor, of which a read that waits can be ended."""

    def __init__(self, descriptor: int, where: str, *, named: bool = False) -> None:
        self._descriptor, self._where = descriptor, where
        self._stopped = threading.Event()
        self._looks = int(WRITER_S * 1000 / _LOOK_MS) if named else -1
        """How often it is looked at before somebody must have opened it to write; never where somebody has."""

    def read(self, size: int) -> bytes:
        """See `ByteReader.read`.

        Raises:
            InputError: when nobody has opened it to write for a minute.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._stopped.is_set():
            if poll.poll(_LOOK_MS):
                self._looks = -1
                return os.read(self._descriptor, size)
            self._looks -= self._looks > 0
            if self._looks == 0:
                return self._of_somebody(size)
        return b""

    def _of_somebody(self, size: int) -> bytes:
        """What comes from whoever has opened it to write.

        Raises:
            InputError: when nobody has.
        """
        try:
            data = os.read(self._descriptor, size)
        except BlockingIOError:
            self._looks = -1
            return self.read(size)
        if not data:
            raise InputError(f"is a pipe that nobody has written to for {WRITER_S:.0f} s", where=self._where)
        return data

    def stop(self) -> None:
        """See `ByteReader.stop`."""
        self._stopped.set()
