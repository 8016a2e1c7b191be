"""What is in a folder and below."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

__all__ = ["files_below"]


def files_below(folder: str, *, once: bool = False) -> dict[str, str]:
    """The paths of all files in a folder and below, by their names in it with `/`, in order; what links lead to is in it, too.

    A folder that is empty, or may not be read, has a name that ends with `/`. Raises OSError where links lead round in a circle,
    unless each folder is to be looked at `once`, however many links lead to it.
    """
    found: dict[str, str] = {}
    left: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(folder, "", frozenset())]
    seen: set[tuple[int, int]] = set()
    while left:
        at, name, above = left.pop()
        about = os.stat(at)
        own = (about.st_dev, about.st_ino)
        if once and own in seen:
            continue
        if own in above:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), at)
        seen.add(own)
        inside: list[os.DirEntry[str]] = []
        with suppress(PermissionError), os.scandir(at) as entries:
            inside += entries
        if name and not inside:
            found[name] = at
        for each in sorted(inside, key=lambda each: each.name):
            if _is_folder(each, once):
                left.append((each.path, f"{name}{each.name}/", above | {own}))
            else:
                found[name + each.name] = each.path
    return dict(sorted(found.items()))


def _is_folder(entry: os.DirEntry[str], once: bool) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        if once:
            return False
        raise
