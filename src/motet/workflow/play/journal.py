"""Results of steps without cache, kept as long as the run may have to go on: one line each in a file of the run.

    HOME/runs/RUN/results.jsonl       appended to in one write, so a line is there or, at the end of the file, torn

A line counts only with the artifacts that it names. A run that went well removes the file.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from motet.workflow.memo.artifacts import KeptValue

__all__ = ["Journal", "Noted", "journals"]

NAME = "results.jsonl"
_NOTHING = KeptValue("", (), (), "")
"""Noted for a result that is not to be taken."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A result that is noted: what is kept, the seconds it took, and when it was noted, in seconds since 1970."""

    kept: KeptValue
    seconds: float
    created: float


class Journal:
    """The journal of a run. `add` may be called from any thread.

    Args:
        folder: the folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: int | None = None
        self._lock = threading.Lock()

    def read(self) -> dict[tuple[str, str], Noted]:
        """The results that are noted, by step and key."""
        found = {(step, key): noted for step, key, noted in _lines(self.path)}
        return {name: noted for name, noted in found.items() if noted.kept != _NOTHING}

    def _open(self) -> int:
        """Begin to note; what a crash has torn is cut off."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        data = self.path.read_bytes()
        os.ftruncate(file, data.rfind(b"\n") + 1)
        return file

    def add(self, step: str, key: str, kept: KeptValue, seconds: float) -> None:
        """Note a result. When this returns, a kill of the process does not lose it.

        Raises:
            OSError: when there is no room for all of it; what was written spoils no other note.
        """
        line = b"\n" + orjson.dumps([step, key, kept.to_json(), seconds, time.time()]) + b"\n"
        with self._lock:
            if self._file is None:
                self._file = self._open()
        if os.write(self._file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def drop(self, step: str, key: str) -> None:
        """Note that a result is not to be taken again; where that cannot be noted, none is."""
        try:
            self.add(step, key, _NOTHING, 0.0)
        except OSError:
            self.path.unlink(missing_ok=True)

    def close(self, remove: bool) -> None:
        """Close it, and remove it where nothing can go on from it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if remove:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):
                self.path.parent.rmdir()  # where there are no logs


def journals(home: Path) -> Iterator[tuple[Path, list[KeptValue]]]:
    """The journals of all runs that may have to go on, with the results that they note."""
    for path in sorted((home / "runs").glob(f"*/{NAME}")):
        yield path, [noted.kept for _, _, noted in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[str, str, Noted]]:
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.split(b"\n"):
        try:
            found: Any = orjson.loads(line)
            yield found[0], found[1], Noted(KeptValue.from_json(found[2]), found[3], found[4])
        except (ValueError, LookupError, TypeError):
            continue
