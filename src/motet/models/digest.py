"""Digests of model files: what says that two models are the same."""

from __future__ import annotations

import hashlib
import os

from motet.system.folders import files_below
from motet.system.recent import LruCache

__all__ = ["Change", "change_of", "digest", "digest_all"]

_CHUNK_BYTES = 1 << 20
Change = tuple[int, int, int, int]
_known: LruCache[tuple[str, Change], str] = LruCache(4096)


def change_of(state: os.stat_result) -> Change:
    """What is another once a file was written to, or another is in its place: which it is, its size, and its times of change."""
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file or folder, 64 hex digits.

    A file is read in pieces, and once a process as long as `change_of` stays the same. A folder's
    digest is that of the sorted relative paths of its files with their digests, also of those that links lead to.

    Raises:
        OSError: when it cannot be read.
    """
    path = os.path.realpath(path)
    return _of_folder(path) if os.path.isdir(path) else _of_file(path)


def digest_all(paths: list[str]) -> str:
    """One digest of several files: of a single one its own, else of their names and digests in order."""
    if len(paths) == 1:
        return digest(paths[0])
    return _of_pairs([(os.path.basename(path), digest(path)) for path in paths])


def _of_file(path: str) -> str:
    key = (path, change_of(os.stat(path)))
    known = _known.get(key)
    if known is not None:
        return known
    with open(path, "rb") as file:
        return _known.put(key, hashlib.file_digest(file, hashlib.sha256, _bufsize=_CHUNK_BYTES).hexdigest())


def _of_folder(folder: str) -> str:
    return _of_pairs([(name, digest(path)) for name, path in files_below(folder).items() if not name.endswith("/")])


def _of_pairs(pairs: list[tuple[str, str]]) -> str:
    total = hashlib.sha256()
    for name, found in pairs:
        total.update(f"{len(name.encode())}:{name}\n{found}\n".encode())
    return total.hexdigest()
