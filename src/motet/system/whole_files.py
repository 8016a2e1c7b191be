"""Files that are written whole or not at all: beside their place, and then renamed."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["beside", "draft", "write_new", "write_whole"]

_numbers = itertools.count(int.from_bytes(os.urandom(6), "big"))


@contextmanager
def draft(folder: str | os.PathLike[str], name: str = "") -> Iterator[str]:
    """Where a file is written that is moved to its place then, and is removed instead where something is raised meanwhile.

    Args:
        folder: where it is written; on the same disk as its place.
        name: how its name ends.
    """
    part = os.path.join(folder, f".new-{os.getpid()}-{threading.get_ident()}-{next(_numbers)}{name}")
    try:
        yield part
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


@contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[str]:
    """Where a file is written that then takes its place, and is removed instead where something is raised meanwhile.

    Args:
        path: its place; what is there is replaced.
    """
    folder, name = os.path.split(path)
    with draft(folder, f"-{name[:8]}") as part:
        yield part
        os.replace(part, path)


def write_whole(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o666, sync: bool = False) -> None:
    """Write a file whole or not at all; its folder is made where there is none.

    Args:
        path: where it is then; what is there is replaced.
        data: what is in it.
        mode: its mode, before the umask.
        sync: whether it is on the disk before it is at its place.
    """
    with beside(path) as part:
        _write_there(part, data, mode, sync)


def write_new(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o666, sync: bool = False) -> None:
    """Write a file whole where there is none, as `write_whole` does; by a link, which also fails on network file systems.

    Raises:
        FileExistsError: when there is one.
    """
    folder, name = os.path.split(path)
    with draft(folder, f"-{name[:8]}") as part:
        _write_there(part, data, mode, sync)
        os.link(part, path)
    os.unlink(part)


def _write_there(path: str, data: bytes, mode: int, sync: bool) -> None:
    try:
        _write(path, data, mode, sync)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, data, mode, sync)


def _write(path: str, data: bytes, mode: int, sync: bool) -> None:
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(made, "wb") as file:  # which writes all of it, or raises
        file.write(data)
        if sync:
            file.flush()
            os.fsync(made)
