"""Make a model file local: resolve relative paths, fetch remote files into the cache.

A relative path is relative to `base`, the folder of the graph file, which may itself be remote. What has `://` (other
than `file://`) is fetched with fsspec, and kept by its URI and the state the remote tells (ETag, checksum, or time of
change, with the size), so a file that changed is fetched again. A remote that tells none of these is fetched anew by
each process that loads the model.

The remote is asked each time. Where it does not answer, that is an error, not a reason to use an older copy: replicas
would come to differ without anyone knowing. `MOTET_OFFLINE=1` says that the copy used last is good enough; then no
remote is asked at all.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from motet.errors import InputError, ModelLoadError
from motet.models.cache import FileCache, cache_bound, cache_root
from motet.models.digest import digest
from motet.models.remote import Remote, RemoteError

__all__ = ["digest", "is_remote", "local_path", "resolve"]

Companions = Callable[[str], Sequence[str]]
"""From a model's own local file to the relative paths of the files that belong to it."""

_ANY_CHANGES = 3


def local_path(
    uri: str,
    *,
    base: str | Path | None,
    allow_unpickle: bool = False,
    runs_code: bool,
    cache_dir: str | os.PathLike[str] | None = None,
    storage: Mapping[str, Any] | None = None,
    companions: Companions | None = None,
) -> str:
    """A local path of a model file, fetched where it is remote.

    Args:
        uri: a path, absolute or relative to `base`, or a remote URI.
        base: the folder of the graph file, local or remote; None is the current folder.
        allow_unpickle: whether a remote file may be loaded although loading it runs code that it carries.
        runs_code: whether loading it does (`Handler.runs_code`).
        cache_dir: the folder of the cache; None is `$MOTET_CACHE_DIR/models`, else `~/.cache/motet/models`.
        storage: options of the remote file system, for example `{"endpoint_url": ...}` for s3.
        companions: names the other files of a model once its own is local; they are fetched beside it.

    Returns:
        the path of an existing file (a local model may also be a folder).

    Raises:
        ModelLoadError: when there is no such file (says which are near), when the remote does not answer, or when the
            file would run code and is remote.
        MissingExtraError: when the package for the remote's protocol is not installed.
    """
    found = resolve(uri, base)
    if not is_remote(found):
        return _existing(found, uri)
    if runs_code and not allow_unpickle:
        raise ModelLoadError(
            "loading this file runs any code that it carries (unpickling does); remote files are refused",
            where=found,
            hint="if you trust whoever can write there, say `unpickle: allow` in the model's declaration; "
            "or export the model to ONNX, which carries no code",
        )
    return str(_cached(Remote(found, storage or {}), FileCache(cache_root(cache_dir), cache_bound()), companions))


def resolve(uri: str, base: str | Path | None) -> str:
    """The absolute path or remote URI that `uri` means for a graph file in the folder `base`."""
    place = "" if base is None else str(base)
    if "://" in uri:
        return _without_file_scheme(uri)
    uri = os.path.expanduser(uri)
    if is_remote(place) and not os.path.isabs(uri):
        protocol, _, path = place.partition("://")
        return f"{protocol}://{posixpath.normpath(posixpath.join(path, uri))}"
    return os.path.abspath(os.path.join(_without_file_scheme(place), uri))


def is_remote(uri: str) -> bool:
    """Whether a resolved URI has to be fetched."""
    return "://" in uri and not uri.startswith(("file://", "local://"))


def _without_file_scheme(uri: str) -> str:
    return re.sub(r"^(file|local)://", "", uri)


def _existing(path: str, uri: str) -> str:
    if os.path.exists(path):
        return path
    given = "" if path == uri else f" (from {uri!r})"
    raise ModelLoadError(f"there is no such model file{given}", where=path, hint=_near(path))


def _near(path: str) -> str:
    """What to say of the files near a missing one."""
    folder, suffix = os.path.dirname(path), os.path.splitext(path)[1]
    if not os.path.isdir(folder):
        return f"there is no folder {folder} either; relative paths are relative to the graph file's folder"
    names = sorted(name for name in os.listdir(folder) if name.endswith(suffix))
    if not names:
        return f"{folder} has no {suffix} files; relative paths are relative to the graph file's folder"
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{folder} has {', '.join(names[:10])}{more}"


def _cached(remote: Remote, cache: FileCache, companions: Companions | None) -> Path:
    with cache.locked(remote.key):
        if _offline():
            return _last_copy(remote, cache)
        try:
            for _ in range(_ANY_CHANGES):
                version = remote.version()
                found = cache.find(remote.key, version)
                if found is not None and not (remote.unversioned and remote.key not in _fetched):
                    return found
                added = cache.add(remote.key, version, partial(_write, remote, companions))
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


def _write(remote: Remote, companions: Companions | None, folder: Path) -> list[str]:
    name = remote.name
    remote.get(folder / name)
    others = [] if companions is None else _named_by(companions, str(folder / name), remote)
    for other in others:
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        remote.beside(other).get(folder / other)
    return [name, *others]


def _named_by(companions: Companions, path: str, remote: Remote) -> list[str]:
    try:
        return [_inside(other, remote) for other in companions(path)]
    except ModelLoadError as error:
        raise ModelLoadError(error.what, where=remote.uri, hint=error.hint) from error


def _inside(other: str, remote: Remote) -> str:
    """A companion's path, which must not lead out of the model's folder."""
    plain = posixpath.normpath(other)
    if posixpath.isabs(plain) or plain.split("/")[0] == "..":
        raise ModelLoadError(
            f"the model names a file outside its folder: {other!r}", where=remote.uri, hint="save it as one file"
        )
    return plain


def _last_copy(remote: Remote, cache: FileCache) -> Path:
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
