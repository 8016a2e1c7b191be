"""Files by path, pattern, folder or fsspec URL: finding, opening and telling them apart."""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from motet.errors import InputError, MissingExtraError
from motet.io.remote import RemoteFile, asking, check_bucket

__all__ = ["COMPRESSIONS", "TABLE_SUFFIXES", "File", "file_system", "find_files", "fingerprint_files", "suffix_of"]

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
TABLE_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
"""The built-in formats of tables by suffix, read and written; text formats may be compressed (`.csv.gz`)."""
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_STAMPS = (
    "ETag",
    "etag",
    "md5Hash",
    "md5",
    "checksum",
    "crc32c",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)
_HASHED_BYTES = 1 << 20
_HASHED_FILES = 64


@dataclass(frozen=True, slots=True)
class File:
    """A file that exists.

    Attributes:
        path: its path in its file system.
        fs: the fsspec file system, None for this machine's own.
    """

    path: str
    fs: Any = None

    def __str__(self) -> str:
        return self.path if self.fs is None else str(self.fs.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine."""
        return self.fs is None

    def open(self) -> Any:
        """Open for random access, as Arrow reads files."""
        return pa.memory_map(self.path) if self.fs is None else RemoteFile(str(self), self.fs, self.path)

    def read(self) -> bytes:
        """The whole content."""
        if self.fs is not None:
            with asking(str(self), self.fs):
                return bytes(self.fs.cat_file(self.path))
        with open(self.path, "rb") as file:
            return file.read()

    def stream(self) -> Any:
        """Open for reading from the start, decompressed as the suffix says. An Arrow `NativeFile`."""
        raw = pa.OSFile(self.path) if self.fs is None else pa.PythonFile(self.open(), mode="r")
        codec = COMPRESSIONS.get(os.path.splitext(self.path)[1].lower())
        return pa.CompressedInputStream(raw, codec) if codec else raw

    def state(self) -> tuple[int, str]:
        """Size in bytes, and what changes when the content does: the time of change, or an object's tag."""
        if self.fs is None:
            stat = os.stat(self.path)
            return stat.st_size, str(stat.st_mtime_ns)
        with asking(str(self), self.fs):
            info = self.fs.info(self.path)
        stamps = [f"{key}={info[key]}" for key in _STAMPS if info.get(key) is not None]
        return int(info.get("size") or 0), ";".join(stamps)


def suffix_of(path: str) -> str:
    """The suffix in small letters, with what is under a compression's: `.csv` of `rows.csv.gz`."""
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


def find_files(what: str | os.PathLike[str]) -> list[File]:
    """The files of a path, a pattern (`*`, `?`, `[..]`, `**`), a folder or an fsspec URL, sorted by path.

    A folder is searched through all its folders; names that begin with `_` or `.` are left out.

    Raises:
        InputError: when there are none; names the nearest. When credentials are missing, or do not allow it.
        MissingExtraError: when the URL's file system is not installed.
        RunError: when a remote file system does not answer.
    """
    text = os.fspath(what)
    fs, path = file_system(text)
    with asking(text, fs):
        return _found(text, fs, path)


def _found(text: str, fs: Any, path: str) -> list[File]:
    here: Any = fs or _Here()
    if here.isdir(path):
        found = [name for name in here.find(path) if not _hidden(name[len(path) :])]
        missing = f"the folder {text!r} holds no files"
    elif here.exists(path):
        return [File(path, fs)]
    else:
        found = [name for name in here.glob(path) if not here.isdir(name) and not _hidden(os.path.basename(name))]
        missing = f"no file fits {text!r}" if glob.has_magic(path) else f"there is no file {text!r}"
    if not found:
        check_bucket(text, fs, path)
        raise InputError(missing, hint=_near(here, path))
    return [File(name, fs) for name in sorted(found)]


def fingerprint_files(files: Sequence[File], options: Iterable[object] = ()) -> str:
    """A digest that changes when a file does: of names, sizes, times or tags, and the content of few small files."""
    digest = hashlib.sha256(repr(tuple(options)).encode())
    for file in files:
        size, stamp = file.state()
        digest.update(f"{file.name}\0{size}\0{stamp}\0".encode())
        if size <= _HASHED_BYTES and len(files) <= _HASHED_FILES:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()


class _Here:
    """This machine's files, as fsspec names its functions."""

    exists = staticmethod(os.path.exists)
    isdir = staticmethod(os.path.isdir)

    @staticmethod
    def glob(path: str) -> list[str]:
        return glob.glob(path, recursive=True)

    @staticmethod
    def find(path: str) -> list[str]:
        return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]

    @staticmethod
    def ls(path: str, detail: bool = False) -> list[str]:
        return [os.path.join(path, name) for name in os.listdir(path)]


def file_system(text: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, None for this machine's own files; and the path in it.

    Raises:
        InputError: when the URL cannot be opened.
        MissingExtraError: when its file system is not installed.
    """
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme in ("", "file"):
        return None, text.removeprefix("file://")
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(text)
    except ImportError as error:
        if scheme in _EXTRAS:
            raise MissingExtraError(*_EXTRAS[scheme], needed_for=f"opening {scheme}:// addresses") from None
        raise InputError(f"cannot open {text!r}: {error}") from None
    except ValueError as error:
        raise InputError(f"cannot open {text!r}: {error}", hint="use a path or a URL that fsspec knows") from None
    return fs, str(path)


def _hidden(relative: str) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.split("/") if part)


def _near(here: Any, path: str) -> str:
    folder, name = os.path.split(path)
    if glob.has_magic(path):
        return "check the pattern"
    if not here.isdir(folder or "."):
        return f"the folder {folder!r} does not exist either"
    names = [os.path.basename(entry.rstrip("/")) for entry in here.ls(folder or ".", detail=False)]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"near it: {', '.join(near)}" if near else f"the folder {folder or '.'!r} holds no name like it"
