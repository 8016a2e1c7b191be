"""What a model's memory is, measured; and giving memory back to the system."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import sys
from collections.abc import Callable

from motet.system.folders import files_below

__all__ = ["file_bytes", "resident_bytes", "trim"]

_PAGE = resource.getpagesize()


def resident_bytes() -> int:
    """Memory of this process that is in use, without what it shares with files; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            fields = statm.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE


def file_bytes(location: str) -> int:
    """The size of a model's file, or of all files in its folder; 0 where it is no file."""
    try:
        files = files_below(location) if os.path.isdir(location) else {location: location}
        return sum(os.path.getsize(path) for name, path in files.items() if not name.endswith("/"))
    except (OSError, ValueError):
        return 0


def trim() -> None:
    """Give memory that was freed back to the system, where the allocator keeps it (glibc)."""
    release = _malloc_trim()
    if release is not None:
        release(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux") or os.environ.get("LD_PRELOAD"):
        return None  # another allocator may be in the place of glibc's
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return found
