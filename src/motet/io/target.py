"""Where the bytes of a file go that is not yet there: a partial file beside it, an upload (see uploads.py), or a stream.

A file appears under its name whole, when it is published: by a rename, or by the request that ends an upload. What a
killed process leaves of it is either invisible or taken over by the next one that writes the same file.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pyarrow as pa

from motet.errors import InputError, RunError
from motet.io.places import Place, file_system, place_of
from motet.io.remote import check_bucket
from motet.io.uploads import StoreTarget
from motet.system.locks import lock_file
from motet.system.streams import STANDARD_OUTPUT, output_number

__all__ = [
    "DiskTarget",
    "FileTarget",
    "MemoryTarget",
    "StreamTarget",
    "is_stream",
    "target_of",
    "write_file",
    "writing",
]  # fmt: skip

_LOG = logging.getLogger("motet.io")

_BUFFER_BYTES = 1 << 20
_WRONG = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.EBADF, errno.EEXIST)
)
"""What is wrong with a place, in contrast to what may pass."""


@contextmanager
def writing(where: str, *, resumes: bool = True) -> Iterator[None]:
    """Tell what the system refuses while a file is written as an error of that file; a reader that is gone stays one.

    Raises:
        InputError: when the place cannot be written to.
        RunError: when the disk is full, or fails.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        what = f"cannot be written: {os.strerror(error.errno)}"
        if error.errno in _WRONG:
            raise InputError(
                what, where=where, hint="write to another place, or mend the rights of this one"
            ) from error
        hint = f"make room, or mend the disk{'; then --resume goes on with what is finished' if resumes else ''}"
        raise RunError(what, where=where, hint=hint) from error


class DiskTarget:
    """A file on this machine, by way of a partial one.

    Args:
        path: the file itself, no link to it.
        partial: the file that becomes it, on the same file system, which nobody else writes; None is a hidden one beside it,
            which one writer at a time may have.
        where: what errors call it.

    Attributes:
        is_stream: whether what is written is gone at once.
    """

    is_stream = False

    def __init__(self, path: str, partial: str | None = None, where: str | None = None) -> None:
        self._path, self._where = path, where or path
        folder, name = os.path.split(path)
        self._partial = partial or os.path.join(folder, f".{name}.part")
        self._lock: int | None = None

    def open(self) -> Any:
        """Begin; gives an Arrow file to write to.

        Raises:
            InputError: when there is no folder, or another writer has the file.
        """
        folder = os.path.dirname(self._partial) or "."
        if not os.path.isdir(folder):
            raise InputError(f"there is no folder {folder!r} to write to", where=self._where, hint="make it first")
        with writing(self._where):
            self._lock = lock_file(self._partial)
            if self._lock is None:
                raise InputError("another run is writing it", where=self._where, hint="wait for it, or write elsewhere")
            return pa.OSFile(os.fsencode(self._partial), "wb")

    def publish(self) -> None:
        """Let the file that was written, and closed, appear under its name."""
        assert self._lock is not None
        with writing(self._where):
            os.fsync(self._lock)
            os.replace(self._partial, self._path)
        self._release()

    def probe(self) -> None:
        """See that the file can be written, before work is done for it; leaves nothing.

        Raises:
            InputError: when it cannot.
        """
        if os.path.isdir(self._path):
            raise InputError("is a folder", where=self._where, hint="name a file in it")
        self.open().close()
        self.discard()

    def discard(self) -> None:
        """Leave nothing. After `publish` it does nothing."""
        if self._lock is not None:
            os.unlink(self._partial)
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None


class MemoryTarget:
    """A file in memory.

    Attributes:
        content: of the file, once it is published.
    """

    is_stream = False
    content = b""

    def open(self) -> Any:
        """See `DiskTarget`."""
        self._buffer = pa.BufferOutputStream()
        return self._buffer

    def publish(self) -> None:
        """See `DiskTarget`."""
        self.content = self._buffer.getvalue().to_pybytes()

    def probe(self) -> None:
        """See `DiskTarget`."""

    def discard(self) -> None:
        """See `DiskTarget`."""


class StreamTarget:
    """Standard output, a pipe or a device: it is written into, and never replaced.

    Args:
        path: the stream.
    """

    is_stream = True

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> Any:
        """See `DiskTarget`; waits for a reader, and says so."""
        with writing(self._path, resumes=False):
            return pa.PythonFile(open(self._descriptor(), "wb", buffering=_BUFFER_BYTES), mode="w")

    def _descriptor(self) -> int:
        if (number := _number_of(self._path)) is not None:
            return os.dup(number)
        path = file_system(self._path)[1]
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            _LOG.warning("%s: waits for somebody to read it", self._path)
            return os.open(path, os.O_WRONLY)
        os.set_blocking(handle, True)
        return handle

    def publish(self) -> None:
        """See `DiskTarget`: it has gone already."""

    def probe(self) -> None:
        """See `DiskTarget`: who reads it would see it."""

    def discard(self) -> None:
        """See `DiskTarget`: what went out stays so."""


FileTarget: TypeAlias = DiskTarget | MemoryTarget | StreamTarget | StoreTarget
"""A file that is written from its start to its end. One thread at a time may touch it."""


def is_stream(place: Place) -> bool:
    """Whether a place is standard output (`-`), a descriptor, a pipe or a device."""
    if _number_of(place.text) is not None:
        return True
    try:
        mode = os.stat(place.path).st_mode if place.is_local else stat.S_IFREG
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode)


def _number_of(path: str) -> int | None:
    """The number of a descriptor that is named by a path."""
    if path in STANDARD_OUTPUT:
        return output_number()
    if path == "/dev/stderr":
        return 2
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", path)
    return int(found[1]) if found else None


def write_file(path: str, data: bytes) -> None:
    """Write a whole file, which appears when it is complete.

    Args:
        path: a path or an fsspec URL.
        data: what is in it.

    Raises:
        InputError, RunError: when it cannot be written.
    """
    target = target_of(path)
    try:
        with writing(path), target.open() as file:
            file.write(data)
        target.publish()
    except BaseException:
        target.discard()
        raise


def target_of(what: str | Place, partial: str | None = None) -> FileTarget:
    """Where the bytes of a file go.

    Args:
        what: a path, an fsspec URL, or the place of either, which errors name as it is spelled.
        partial: see `DiskTarget` and `StoreTarget`; in the file system of the place.
    """
    place = what if isinstance(what, Place) else place_of(what)
    if is_stream(place):
        return StreamTarget(place.text)
    if place.is_local:
        return DiskTarget(place.key[1], partial, place.text)
    check_bucket(place.text, place.fs, place.path)
    folder, _, name = place.path.rpartition("/")
    return StoreTarget(place.text, place.fs, place.path, partial or f"{folder}/.{name}.part")
