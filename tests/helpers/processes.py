"""Processes below another one, as `/proc` shows them; those that end meanwhile are left out."""

import contextlib
from pathlib import Path


def children(pid: int | str) -> list[int]:
    """The processes that any thread of a process has started."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(each) for each in thread.read_text().split()]
    return found


def below(pid: int | str) -> list[int]:
    """All processes that a process and those below it have started."""
    return [each for child in children(pid) for each in (child, *below(child))]


def is_replica(pid: int) -> bool:
    """Whether a process has a model."""
    try:
        return b"motet-replica" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
