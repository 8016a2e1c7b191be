"""What is in a folder and below."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

__all__ = ["files_below"]


def files_below(folder: str, *, circles: bool = False) -> dict[str, str]:
    """The paths of all files in a folder and below, by their names in it with `/`, in order; what links lead to is in it, too.

    A folder that is empty, or may not be read, has a name that ends with `/`. Raises OSError where links lead round in a circle,
    unless there may be `circles`: then they are left out.
    """
    found: dict[str, str] = {}
    left: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(folder, "", frozenset())]
    while left:
        at, name, above = left.pop()
        about = os.stat(at)
        own = (about.st_dev, about.st_ino)
        if own in above and circles:
            continue
        if own in above:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), at)
        inside: list[os.DirEntry[str]] = []
        with suppress(PermissionError), os.scandir(at) as entries:
            inside += entries
        if name and not inside:
            found[name] = at
        for each in inside:
            if each.is_dir():
                left.append((each.path, f"{name}{each.name}/", above | {own}))
            else:
                found[name + each.name] = each.path
    return dict(sorted(found.items()))
