"""Files of a store: read, listed, and made where they are not there yet. On disks, and on what fsspec opens."""

from __future__ import annotations

import contextlib
import datetime
import os
import posixpath
import shutil
import time
import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from motet.errors import InputError, MissingExtraError, StoreError
from motet.system.created_files import create_file, creates_files
from motet.system.whole_files import write_new

__all__ = ["DiskStorage", "ObjectStorage", "Storage", "open_storage"]

_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_DRAFTS = ("*/[0-9]*/.new-*", "*/aliases/*/.new-*")
"""Where files are being written: of versions and aliases; in a version's own `files/` nothing is looked for."""


class DiskStorage:
    """A store in a folder; several machines may share it. Paths are relative, with slashes.

    Methods raise `StoreError` when the storage cannot be reached.

    Args:
        folder: made when something is written first.

    Attributes:
        url: what it was opened by, absolute.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder.absolute()
        self.url = str(self.root)

    def read(self, path: str) -> bytes | None:
        """A file's content; None where there is none."""
        with self._asking(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (self.root / path).read_bytes()
        return None

    def create(self, path: str, data: bytes) -> bool:
        """Make a file, whole or not at all, that must not be there yet; False where it is, whoever made it."""
        target = self.root / path
        with self._asking():
            try:
                write_new(target, data, sync=True)
            except FileExistsError:
                return False
            _sync_folder(target.parent)
        return True

    def remove_drafts(self, older_than_s: float) -> None:
        """Remove what was being written by processes that were killed; younger files may still be on their way."""
        with self._asking():
            for part in chain.from_iterable(self.root.glob(place) for place in _DRAFTS):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - part.stat().st_mtime >= older_than_s:
                        part.unlink()

    def put(self, path: str, source: Path) -> None:
        """Copy a local file to where nothing is, or something that nobody reads yet."""
        target = self.root / path
        with self._asking():
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(source, "rb") as reader, open(target, "wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
                os.fsync(writer.fileno())
            _sync_folder(target.parent)

    def get(self, path: str, target: Path) -> None:
        """Copy a file to a local one."""
        with self._asking():
            shutil.copyfile(self.root / path, target)

    def names(self, folder: str) -> list[str]:
        """The names of the files and folders in a folder, in order; none where there is no folder."""
        with self._asking(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(name for name in os.listdir(self.root / folder) if not name.startswith("."))
        return []

    def age_s(self, path: str) -> float | None:
        """Seconds since a file was made, by the clock of this machine; None where there is none."""
        try:
            return max(0.0, time.time() - (self.root / path).stat().st_mtime)
        except OSError:
            return None

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        target = self.root / path
        with self._asking():
            if target.is_dir():
                shutil.rmtree(target, ignore_errors=True)
            else:
                target.unlink(missing_ok=True)

    def local(self, path: str) -> Path | None:
        """The file itself, where it is on a disk of this machine."""
        return self.root / path

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "check the folder and its rights"
            raise StoreError(f"{type(error).__name__}: {error}", where=f"store {self.url}", hint=hint) from error


class ObjectStorage:
    """A store on a file system of fsspec that can make a file only where there is none: S3, Google Cloud, memory.

    Args:
        url: what fsspec opens.
        options: of the file system.
    """

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        import fsspec

        protocol = url.partition("://")[0]
        try:
            self._system, self._root = fsspec.core.url_to_fs(url, **(options or {}))
        except ImportError as error:
            package, extra = _EXTRAS.get(protocol, ("", ""))
            if package:
                raise MissingExtraError(package, extra, f"store {url}") from error
            raise InputError(str(error), where=f"store {url}", hint="install the package that it names") from error
        except ValueError as error:
            raise InputError(str(error), where=f"store {url}", hint="check the address") from error
        self.url = url.rstrip("/")
        self._atomic = creates_files(self._system)
        self._tried = False

    def read(self, path: str) -> bytes | None:
        """See `DiskStorage`."""
        try:
            with self._asking(maybe_missing=True) as system:
                return bytes(system.cat_file(self._path(path)))
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
        """See `DiskStorage`; by a conditional request, once it was seen that the storage keeps to the condition."""
        if not self._tried:
            self._try()
        return self._create(path, data)

    def _try(self) -> None:
        """See that nothing is written over.

        Raises:
            StoreError: when it is: two who publish at the same time would not know of each other.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        refuses = self._atomic and self._create(probe, b"1") and not self._create(probe, b"2")
        if self._atomic:
            self.remove(probe)
        if not refuses:
            raise StoreError(
                "this storage cannot make a file only where there is none, so nothing can be published to it",
                where=f"store {self.url}",
                hint="use a folder, S3 (or what knows its conditional writes), Google Cloud Storage or Azure's",
            )
        self._tried = True

    def _create(self, path: str, data: bytes) -> bool:
        with self._asking() as system:
            return create_file(system, self._path(path), data)

    def put(self, path: str, source: Path) -> None:
        """See `DiskStorage`."""
        with self._asking() as system:
            system.put_file(str(source), self._path(path))

    def get(self, path: str, target: Path) -> None:
        """See `DiskStorage`."""
        with self._asking() as system:
            system.get_file(self._path(path), str(target))

    def names(self, folder: str) -> list[str]:
        """See `DiskStorage`."""
        try:
            with self._asking(maybe_missing=True) as system:
                found = system.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted({posixpath.basename(each.rstrip("/")) for each in found} - {""})

    def age_s(self, path: str) -> float | None:
        """See `DiskStorage`."""
        try:
            with self._asking(maybe_missing=True) as system:
                made = system.modified(self._path(path))
        except FileNotFoundError:
            return None
        if made.tzinfo is None:
            made = made.replace(tzinfo=datetime.UTC)
        return max(0.0, float((datetime.datetime.now(datetime.UTC) - made).total_seconds()))

    def remove(self, path: str) -> None:
        """See `DiskStorage`."""
        with contextlib.suppress(FileNotFoundError), self._asking(maybe_missing=True) as system:
            system.rm(self._path(path), recursive=True)

    def remove_drafts(self, older_than_s: float) -> None:
        """See `DiskStorage`: there are none."""

    def local(self, path: str) -> Path | None:
        """See `DiskStorage`: never."""
        return None

    def _path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}".rstrip("/")

    @contextlib.contextmanager
    def _asking(self, *, maybe_missing: bool = False) -> Iterator[Any]:
        """The file system, with nothing of it remembered; a file may be missing only where that is said."""
        self._system.invalidate_cache()
        try:
            yield self._system
        except StoreError:
            raise
        except Exception as error:
            if maybe_missing and isinstance(error, FileNotFoundError):
                raise
            hint = "check the address, the credentials and the network"
            raise StoreError(f"{type(error).__name__}: {error}", where=f"store {self.url}", hint=hint) from error


Storage: TypeAlias = DiskStorage | ObjectStorage
"""Where a store is."""


def open_storage(url: str, options: dict[str, Any] | None = None) -> Storage:
    """The storage of a URL: a path, `file://...`, or what fsspec opens."""
    plain = url.removeprefix("file://").removeprefix("local://")
    if "://" not in plain:
        return DiskStorage(Path(plain).expanduser())
    return ObjectStorage(url, options)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
