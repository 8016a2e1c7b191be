"""The numbers of one process: an array of float64 in a file, which other processes of the server map and read.

Two files a process lie in the server's folder. `ID.values` holds the numbers; `ID.names` says what each one is, a JSON
line each, and only grows, so that graphs that are loaded later find room. The process holds a lock on `ID.names` while
it lives: that is how others know, and no kill can keep it. A number is written in one piece by the processor, so a
reader needs no lock. Names are written after their cells exist, in one write each.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

__all__ = ["CAPACITY", "NAMES", "VALUES", "Counters", "Followed", "Gauges", "Kind"]

_LOG = logging.getLogger("motet.serving")
Kind = Literal["counter", "gauge", "latest"]
"""How the numbers of several processes become one: `counter` adds up and keeps those of the dead, `gauge` adds up the
living, `latest` is the largest of all."""
CAPACITY = 1 << 18
"""Numbers that a process may have (2 MiB of a sparse file); what is beyond them is counted nowhere, and said once."""
SPARE = 256
"""The last numbers take what has no place of its own; nobody reads them. One name has fewer."""
NAMES, VALUES = ".names", ".values"


class Counters:
    """The numbers of this process. Written by one thread.

    Args:
        folder: what the processes of the server share; made where it is missing.
        capacity: numbers that there is room for.

    Attributes:
        id: the name of its files.
        values: the numbers; `values[at] += 1` is seen by every process.
    """

    def __init__(self, folder: str | os.PathLike[str], *, capacity: int = CAPACITY) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(0o700, parents=True, exist_ok=True)
        self.id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._capacity, self._used, self._full = capacity, 0, False
        self._known: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self.values = _map(self.folder / f"{self.id}{VALUES}", capacity)
        self._names = _locked(self.folder, self.id)

    def at(self, kind: Kind, name: str, size: int = 1, **labels: str) -> int:
        """Where the numbers of a name and its labels begin in `values`; they are made, as zeros, when first asked for.

        Args:
            kind: how the processes' numbers become one.
            name: of the metric.
            size: how many numbers stand there one after the other.
            labels: what it is of.
        """
        key = (name, tuple(sorted(labels.items())))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._make(kind, name, size, labels)
        return found

    def _make(self, kind: Kind, name: str, size: int, labels: Mapping[str, str]) -> int:
        if self._used + size > self._capacity - SPARE:
            if not self._full:
                _LOG.warning("there are too many metrics; %s%s and later ones are not shown", name, dict(labels))
            self._full = True
            return self._capacity - SPARE
        place, self._used = self._used, self._used + size
        line = json.dumps([kind, name, labels, place, size]) + "\n"
        os.write(self._names, line.encode())
        return place

    def close(self) -> None:
        """Count no more; what was counted stays in the totals, as for a process that died."""
        os.close(self._names)


class Gauges:
    """Gauges that are looked up together from time to time; one that is not among them any more is 0.

    Args:
        cells: where they stand.
    """

    def __init__(self, cells: Counters) -> None:
        self._values = cells.values
        self._shown: set[int] = set()

    def show(self, gauges: Mapping[int, float]) -> None:
        """Write these, by their places."""
        for place in self._shown - gauges.keys():
            self._values[place] = 0.0
        for place, value in gauges.items():
            self._values[place] = value
        self._shown = set(gauges)


class Followed:
    """Cells of what is counted elsewhere, where it may begin anew.

    Args:
        cells: where they stand.
    """

    def __init__(self, cells: Counters) -> None:
        self._values = cells.values
        self._totals: dict[int, int] = {}

    def follow(self, place: int, total: int) -> None:
        """Add what is new of a total; all of it where it is less than it was."""
        before = self._totals.get(place, 0)
        self._values[place] += total - before if total >= before else total
        self._totals[place] = total


def _map(path: Path, count: int) -> memoryview[float]:
    with open(path, "xb+") as file:
        file.truncate(8 * count)
        return memoryview(mmap.mmap(file.fileno(), 8 * count)).cast("d")


def _locked(folder: Path, name: str) -> int:
    """A new file for names; it is locked when others first see it."""
    made = folder / f".{name}{NAMES}"
    descriptor = os.open(made, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    made.rename(folder / f"{name}{NAMES}")
    return descriptor
