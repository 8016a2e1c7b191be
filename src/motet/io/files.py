"""Files by path, pattern, folder or fsspec URL: finding, opening and telling them apart."""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from motet.errors import InputError, MissingExtraError
from motet.io.remote import RemoteFile, asking, check_bucket

__all__ = [
    "COMPRESSIONS",
    "TABLE_SUFFIXES",
    "File",
    "Found",
    "file_system",
    "find_files",
    "fingerprint_files",
    "look_for",
    "shown_path",
    "suffix_of",
]

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
        return shown_path(self.path) if self.fs is None else str(self.fs.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_utf8(self) -> bool:
        """Whether the path is text, as Arrow has it; on this machine it may be any bytes."""
        return self.path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in self.path)

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine."""
        return self.fs is None

    def open(self) -> Any:
        """Open for random access, as Arrow reads files."""
        return pa.memory_map(os.fsencode(self.path)) if self.fs is None else RemoteFile(str(self), self.fs, self.path)

    def read(self) -> bytes:
        """The whole content."""
        if self.fs is not None:
            with asking(str(self), self.fs):
                return bytes(self.fs.cat_file(self.path))
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise InputError("is no regular file")
        with open(self.path, "rb") as file:
            return file.read()

    def stream(self) -> Any:
        """Open for reading from the start, decompressed as the suffix says. An Arrow `NativeFile`."""
        raw = pa.OSFile(os.fsencode(self.path)) if self.fs is None else pa.PythonFile(self.open(), mode="r")
        codec = COMPRESSIONS.get(os.path.splitext(self.path)[1].lower())
        return pa.CompressedInputStream(raw, codec) if codec else raw

    def state(self) -> tuple[int, str]:
        """Size in bytes, and what changes when the content does: the time of change, or an object's tag."""
        if self.fs is None:
            found = os.stat(self.path)
            return found.st_size, str(found.st_mtime_ns)
        with asking(str(self), self.fs):
            info = self.fs.info(self.path)
        stamps = [f"{key}={info[key]}" for key in _STAMPS if info.get(key) is not None]
        return int(info.get("size") or 0), ";".join(stamps)


def shown_path(path: str) -> str:
    """A path of this machine as people see it: what is no UTF-8 in it as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def suffix_of(path: str) -> str:
    """The suffix in small letters, with what is under a compression's: `.csv` of `rows.csv.gz`."""
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


@dataclass(frozen=True)
class Found:
    """What a path, a pattern or a folder holds.

    Attributes:
        files: sorted by path.
        named: whether it was one file, named as such.
        hidden: those whose name, or a folder's in between, begins with `_` or `.`.
    """

    files: list[File]
    named: bool = False
    hidden: list[File] = field(default_factory=list)


def find_files(what: str | os.PathLike[str]) -> list[File]:
    """The files of a path, a pattern (`*`, `?`, `[..]`, `**`), a folder or an fsspec URL, sorted by path.

    A folder is searched through all its folders; names that begin with `_` or `.` are left out.

    Raises:
        InputError: when there are none; names the nearest. When credentials are missing, or do not allow it.
        MissingExtraError: when the URL's file system is not installed.
        RunError: when a remote file system does not answer.
    """
    return look_for(what).files


def look_for(what: str | os.PathLike[str]) -> Found:
    """What `find_files` finds, and what it leaves out; raises as it does."""
    text = os.fspath(what)
    fs, path = file_system(text)
    with asking(text, fs):
        return _found(text, fs, path)


def _found(text: str, fs: Any, path: str) -> Found:
    here: Any = fs or _Here()
    if here.isdir(path):
        names = {name: name[len(path) :] for name in here.find(path)}
        missing = f"the folder {text!r} holds no files"
    elif here.exists(path):
        return Found([File(path, fs)], named=True)
    else:
        names = {name: os.path.basename(name) for name in here.glob(path) if not here.isdir(name)}
        missing = f"no file fits {text!r}" if glob.has_magic(path) else f"there is no file {text!r}"
    files = [File(name, fs) for name in sorted(names) if not _hidden(names[name])]
    if not files:
        check_bucket(text, fs, path)
        raise InputError(missing, hint=_near(here, path))
    return Found(files, hidden=[File(name, fs) for name in sorted(names) if _hidden(names[name])])


def fingerprint_files(files: Sequence[File], options: Iterable[object] = ()) -> str:
    """A digest that changes when a file does: of names, sizes, times or tags, and the content of few small files."""
    digest = hashlib.sha256(repr(tuple(options)).encode())
    for file in files:
        digest.update(os.fsencode(file.name) + b"\0")
        try:
            size, stamp = file.state()
            digest.update(f"{size}\0{stamp}\0".encode())
            if size <= _HASHED_BYTES and len(files) <= _HASHED_FILES:
                digest.update(hashlib.sha256(file.read()).digest())
        except (OSError, InputError) as error:  # whoever reads it says so; if it is mended it is another file
            digest.update(f"{type(error).__name__}\0".encode())
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
        """All files; linked folders are gone into too, and each folder once."""
        found: list[str] = []
        seen = {os.path.realpath(path)}
        for folder, folders, names in os.walk(path, onerror=_raise, followlinks=True):
            real = {os.path.realpath(os.path.join(folder, each)): each for each in sorted(folders, reverse=True)}
            folders[:] = sorted(each for place, each in real.items() if place not in seen)
            seen.update(real)
            found += [os.path.join(folder, name) for name in names]
        return found

    @staticmethod
    def ls(path: str, detail: bool = False) -> list[str]:
        return [os.path.join(path, name) for name in os.listdir(path)]


def _raise(error: OSError) -> None:
    """A folder that cannot be read is not the same as an empty one."""
    raise InputError(f"the folder {error.filename!r} cannot be read: {error.strerror}") from error


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
        hint = "use a path or a URL that fsspec knows; rows of a database come as frames: pandas.read_sql(query, connection)"
        raise InputError(f"cannot open {text!r}: {error}", hint=hint) from None
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
