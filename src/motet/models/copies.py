"""Copies of remote model files: fetched into the cache, and by which state of the remote they are."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motet.errors import InputError, ModelLoadError
from motet.models.cache import FileCache, cache_bound, cache_root
from motet.models.folders import FolderRule, refused_code
from motet.models.remote import RemoteError, RemoteModelFile, RemoteModelFolder

if TYPE_CHECKING:
    from motet.models.fetch import Companions

__all__ = ["cached_copy", "cached_folder"]

_ANY_CHANGES = 3


def cached_copy(uri: str, storage: Mapping[str, Any], companions: Companions | None) -> Path:
    """The path of a model's file in the cache, fetched where the remote's state is not there yet.

    Args:
        uri: the remote file.
        storage: options of the remote file system.
        companions: names the other files of a model once its own is local; they are fetched beside it.

    Raises:
        ModelLoadError: when the remote does not answer, the file does not stay the same while it is fetched, or nothing can be
            kept in the cache.
        MissingExtraError: when the package for the remote's protocol is not installed.
    """
    remote = RemoteModelFile(uri, storage)
    return _kept(remote, partial(_write, remote, companions))


def cached_folder(uri: str, storage: Mapping[str, Any], rule: FolderRule, *, allow_code: bool) -> Path:
    """The path of the own file of a model that is a folder, in the cache; see `cached_copy`.

    Args:
        uri: the folder, or the file that stands for it.
        storage: options of the remote file system.
        rule: which of its files belong to the model.
        allow_code: whether files may be among them that can run code when they are loaded.

    Raises:
        ModelLoadError: as for `cached_copy`, and for files that may run code.
        MissingExtraError: likewise.
    """
    remote = RemoteModelFolder(rule.folder(uri), storage, rule.files)

    def write(folder: Path) -> list[str]:
        names = remote.names()
        if rule.carries_code(names) and not allow_code:
            raise refused_code(next(f"{remote.uri}/{name}" for name in names if rule.carries_code([name])))
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            remote.file(_inside(name, remote)).get(folder / name)
        return names

    return _kept(remote, write)


_Write = Callable[[Path], Sequence[str]]
"""Writes the files of a model into a folder, and says their names, its own first."""


def _kept(remote: RemoteModelFile | RemoteModelFolder, write: _Write) -> Path:
    cache = FileCache(cache_root(), cache_bound())
    try:
        return _cached(remote, cache, write)
    except OSError as error:
        raise ModelLoadError(
            f"the model cannot be kept in {cache.root}: {error.strerror or error}",
            where=remote.uri,
            hint="set MOTET_CACHE_DIR to a folder that can be written to and has room",
        ) from error


def _cached(remote: RemoteModelFile | RemoteModelFolder, cache: FileCache, write: _Write) -> Path:
    with cache.locked(remote.key):
        if _offline():
            return _last_copy(remote, cache)
        try:
            for _ in range(_ANY_CHANGES):
                version = remote.version()
                found = cache.find(remote.key, version)
                if found is not None and not (remote.unversioned and remote.key not in _fetched):
                    return found
                added = cache.add(remote.key, version, write)
                if remote.version() == version:
                    _fetched.add(remote.key)
                    return added
        except RemoteError as error:
            raise ModelLoadError(f"the model cannot be fetched: {error}", where=remote.uri, hint=error.hint) from error
    raise ModelLoadError(
        f"the file changed {_ANY_CHANGES} times while it was fetched",
        where=remote.uri,
        hint="try again when it is at rest",
    )


_fetched: set[str] = set()


def _write(remote: RemoteModelFile, companions: Companions | None, folder: Path) -> list[str]:
    name = remote.name
    remote.get(folder / name)
    others = [] if companions is None else _named_by(companions, str(folder / name), remote)
    for other in others:
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        remote.beside(other).get(folder / other)
    return [name, *others]


def _named_by(companions: Companions, path: str, remote: RemoteModelFile) -> list[str]:
    try:
        return [_inside(other, remote) for other in companions(path)]
    except ModelLoadError as error:
        raise ModelLoadError(error.what, where=remote.uri, hint=error.hint) from error


def _inside(other: str, remote: RemoteModelFile | RemoteModelFolder) -> str:
    """A companion's path, which must not lead out of the model's folder."""
    plain = posixpath.normpath(other)
    if posixpath.isabs(plain) or plain.split("/")[0] == "..":
        raise ModelLoadError(
            f"the model names a file outside its folder: {other!r}", where=remote.uri, hint="save it as one file"
        )
    return plain


def _last_copy(remote: RemoteModelFile | RemoteModelFolder, cache: FileCache) -> Path:
    found = cache.find(remote.key, None)
    if found is None:
        raise ModelLoadError(
            "MOTET_OFFLINE is set and the cache has no whole copy of this file",
            where=remote.uri,
            hint=f"unset MOTET_OFFLINE once, so that it can be fetched into {cache.root}",
        )
    return found


def _offline() -> bool:
    value = os.environ.get("MOTET_OFFLINE", "0")
    if value not in ("0", "1", ""):
        raise InputError(
            f"{value!r} is neither 0 nor 1", where="environment variable MOTET_OFFLINE", hint="write 0 or 1"
        )
    return value == "1"
