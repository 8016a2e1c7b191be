"""Sums over all processes of a server, also those that died.

Files of processes that died are put together into one when there are many, so that a server whose processes die often
has few files. A file that holds the numbers of others names them, and a reader leaves those out: at no moment is
anything counted twice or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from motet.batch import Array, Indices
from motet.serving.observability.counters import NAMES, VALUES
from motet.serving.observability.errors import ERRORS, SLOTS, pack, read_errors

__all__ = ["MANY", "CounterSeries", "Numbers", "Totals"]

MANY = 8
"""Files of dead processes that are put together into one."""
_LOCK, _HOLDS = "merge.lock", "holds"
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CounterSeries:
    """What some numbers are.

    Attributes:
        kind: `counter`, `gauge` or `latest`.
        name: of the metric.
        labels: what it is of.
        place: where the numbers begin.
        size: how many they are.
    """

    kind: str
    name: str
    labels: dict[str, str]
    place: int
    size: int


@dataclass(slots=True)
class Numbers:
    """The totals at one moment.

    Attributes:
        values: all numbers, shape `[numbers]`.
        series: what they are, by name of the metric.
        processes: how many are alive.
    """

    values: Array
    series: dict[str, list[CounterSeries]]
    processes: int

    def of(self, name: str) -> Iterator[tuple[dict[str, str], Array]]:
        """The labels and the numbers of everything that is called so."""
        for each in list(self.series.get(name, ())):
            yield each.labels, self.at(each)

    def at(self, series: CounterSeries) -> Array:
        """The numbers of one series; zeros where it is younger than these totals."""
        found = self.values[series.place : series.place + series.size]
        return found if len(found) == series.size else np.zeros(series.size)


@dataclass(slots=True)
class _File:
    """The numbers of one process, as others see them.

    Attributes:
        names: its open file of names.
        values: its numbers.
        holds: processes whose numbers are in it, where it was put together from theirs.
        places: by kind, where its numbers are and where they belong in the totals.
    """

    names: int
    values: Array
    read: int = 0
    rest: bytes = b""
    holds: set[str] = field(default_factory=set)
    places: dict[str, tuple[Indices, Indices]] = field(default_factory=dict)

    def lines(self) -> list[list[Any]]:
        """Lines that were added since they were last read."""
        data = self.rest
        while part := os.pread(self.names, 1 << 16, self.read):
            self.read += len(part)
            data += part
        *whole, self.rest = data.split(b"\n")
        return [json.loads(line) for line in whole]

    def alive(self) -> bool:
        """Whether its process lives; a file of the dead is not locked."""
        try:
            fcntl.flock(self.names, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.names, fcntl.LOCK_UN)
        return False


class Totals:
    """Reads the numbers of every process of a server. Used by one thread.

    Args:
        folder: what the processes share; made where it is missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        self._files: dict[str, _File] = {}
        self._known: dict[tuple[str, Labels], CounterSeries] = {}
        self._series: dict[str, list[CounterSeries]] = {}
        self._used = 0

    def read(self) -> Numbers:
        """The totals now."""
        with self._listing(fcntl.LOCK_SH) as free:
            if free or not self._files:  # while files are put together, those that are known still hold
                self._look()
        return self._sum()

    def errors(self) -> list[dict[str, Any]]:
        """The last errors of every process, the last one first."""
        return read_errors(self._folder.glob(f"*{ERRORS}"))

    def merge(self, many: int = MANY) -> None:
        """Put the files of processes that died into one, where there are `many`."""
        with self._listing(fcntl.LOCK_EX) as free:
            if not free:
                return  # another process is at it
            self._look()
            for name in self._held():
                self._remove(name)  # left by a process that died while it put files together
            dead = {name for name, file in self._files.items() if not file.alive()}
            if len(dead) < many:
                return
            living = {name: self._files.pop(name) for name in self._files.keys() - dead}
            self._write(self._sum(), dead)
            self._files |= living
            for name in dead:
                self._remove(name)

    def close(self) -> None:
        """Give the files back."""
        for name in list(self._files):
            self._forget(name)

    def _look(self) -> None:
        """See which files there are, and what was added to them."""
        there = {path.name.removesuffix(NAMES) for path in self._folder.glob(f"[!.]*{NAMES}")}
        for name in self._files.keys() - there:
            self._forget(name)
        for name in there - self._files.keys():
            values = np.memmap(self._folder / f"{name}{VALUES}", np.float64, "r").view(np.ndarray)
            self._files[name] = _File(os.open(self._folder / f"{name}{NAMES}", os.O_RDONLY | os.O_CLOEXEC), values)

    def _held(self) -> set[str]:
        """Files whose numbers are in another one."""
        for file in self._files.values():
            self._learn(file)
        return set().union(*(file.holds for file in self._files.values())) & self._files.keys()

    def _sum(self) -> Numbers:
        held = self._held()
        total, processes = np.zeros(self._used), 0
        for name, file in self._files.items():
            if name in held:
                continue
            alive = file.alive()
            processes += alive
            for kind, (theirs, ours) in file.places.items():
                if kind == "latest":
                    total[ours] = np.maximum(total[ours], file.values[theirs])
                elif kind == "counter" or alive:
                    total[ours] += file.values[theirs]
        return Numbers(total, self._series, processes)

    def _learn(self, file: _File) -> None:
        added: dict[str, list[Indices]] = {}
        for kind, name, labels, place, size in file.lines():
            if kind == _HOLDS:
                file.holds.add(name)
                continue
            series = self._series_of(kind, name, labels, size)
            added.setdefault(kind, []).append(np.array([[place], [series.place]]) + np.arange(size))
        for kind, parts in added.items():
            theirs, ours = file.places.get(kind, (np.empty(0, np.int64),) * 2)
            new = np.concatenate(parts, axis=1)
            file.places[kind] = np.append(theirs, new[0]), np.append(ours, new[1])

    def _series_of(self, kind: str, name: str, labels: dict[str, str], size: int) -> CounterSeries:
        key = (name, tuple(sorted(labels.items())))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = CounterSeries(kind, name, labels, self._used, size)
            self._series.setdefault(name, []).append(found)
            self._used += size
        return found

    def _write(self, numbers: Numbers, dead: set[str]) -> None:
        """A file of these totals. It counts when its names have their name, and from then on theirs do not."""
        made = f"merged-{secrets.token_hex(4)}"
        kept = [each for listed in numbers.series.values() for each in listed if each.kind != "gauge"]
        lines: list[list[Any]] = [[_HOLDS, name, {}, 0, 0] for name in dead]
        lines += [[each.kind, each.name, each.labels, each.place, each.size] for each in kept]
        errors = read_errors((self._folder / f"{name}{ERRORS}" for name in dead), SLOTS)
        (self._folder / f"{made}{ERRORS}").write_bytes(b"".join(map(pack, errors)))
        numbers.values.tofile(self._folder / f"{made}{VALUES}")
        draft = self._folder / f".{made}{NAMES}"
        draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        draft.rename(self._folder / f"{made}{NAMES}")

    def _forget(self, name: str) -> None:
        os.close(self._files.pop(name).names)

    def _remove(self, name: str) -> None:
        self._forget(name)
        for suffix in (NAMES, VALUES, ERRORS):
            (self._folder / f"{name}{suffix}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _listing(self, how: int) -> Iterator[bool]:
        """Hold the lock of the list of files; gives whether it was free."""
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)
