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
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from motet.errors import ModelLoadError
from motet.graph.places import joined
from motet.models.digest import digest
from motet.models.folders import FolderRule, refused_code

__all__ = ["digest", "is_remote", "local_path", "resolve"]

Companions = Callable[[str], Sequence[str]]
"""From a model's own local file to the relative paths of the files that belong to it."""


def local_path(
    uri: str,
    *,
    base: str | Path | None,
    allow_unpickle: bool = False,
    runs_code: bool,
    storage: Mapping[str, Any] | None = None,
    companions: Companions | None = None,
    rule: FolderRule | None = None,
) -> str:
    """A local path of a model file, fetched where it is remote.

    Args:
        uri: a path, absolute or relative to `base`, or a remote URI.
        base: the folder of the graph file, local or remote; None is the current folder.
        allow_unpickle: whether a remote file may be loaded although loading it runs code that it carries.
        runs_code: whether loading it does (`Handler.runs_code`).
        storage: options of the remote file system, for example `{"endpoint_url": ...}` for s3.
        companions: names the other files of a model once its own is local; they are fetched beside it.
        rule: of models that are folders; then a folder may be named, here or there.

    Returns:
        the path of an existing file (a local model may also be a folder).

    Raises:
        ModelLoadError: when there is no such file (says which are near), when the remote does not answer, or when the
            file would run code and is remote.
        MissingExtraError: when the package for the remote's protocol is not installed.
    """
    found = resolve(uri, base)
    if not is_remote(found):
        return _existing(found, uri) if rule is None else rule.own(_existing(found, uri))
    if runs_code and not allow_unpickle:
        raise refused_code(found)
    from motet.models.copies import (  # what copies need is slow to import, and most models lie here
        cached_copy,
        cached_folder,
    )

    if rule is not None:
        return str(cached_folder(found, storage or {}, rule, allow_code=allow_unpickle))
    return str(cached_copy(found, storage or {}, companions))


def resolve(uri: str, base: str | Path | None) -> str:
    """The absolute path or remote URI that `uri` means for a graph file in the folder `base`."""
    place = "" if base is None else str(base)
    if "://" in uri:
        return _without_file_scheme(uri)
    uri = os.path.expanduser(uri)
    if is_remote(place) and not os.path.isabs(uri):
        return joined(place, uri)
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
