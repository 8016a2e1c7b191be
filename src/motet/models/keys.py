"""The keys for which there are models: `{key}` in a URI stands for what differs in the names of files."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from motet.graph.keyed import KEY
from motet.models.fetch import is_remote, resolve
from motet.models.registry import find_handler

__all__ = ["file_keys"]


def file_keys(uri: str, base: str | Path | None) -> dict[str, str]:
    """For each key that has a file the URI of its model, sorted by key.

    Args:
        uri: of a file, with `{key}` once.
        base: the folder of the graph file, local or remote.

    Raises:
        UnknownNameError: when no handler has the scheme or suffix.
        OSError: when a remote folder cannot be listed.
    """
    _, location = find_handler(uri)
    pattern = resolve(location, base)
    if is_remote(pattern):
        import fsspec

        files, path = fsspec.core.url_to_fs(pattern)
        found = files.glob(path.replace(KEY, "*"))
    else:
        path = pattern
        found = glob.glob("*".join(map(glob.escape, pattern.split(KEY))))
    before, after = path.split(KEY)
    matched = (re.fullmatch(f"{re.escape(before)}([^/]+){re.escape(after)}", str(each)) for each in found)
    keys = sorted(match[1] for match in matched if match is not None)
    return {key: uri.replace(KEY, key) for key in keys}
