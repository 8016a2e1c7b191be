"""The last errors of one process: a ring of slots in a file that other processes read.

A slot holds one JSON object and NUL bytes. A reader that meets one half written leaves it out.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["ERRORS", "SLOTS", "SLOT_BYTES", "Errors", "pack", "read_errors"]

ERRORS = ".errors"
SLOTS, SLOT_BYTES = 64, 1024
RATE = 50
"""Errors that are kept in a second; more are counted in the metrics only."""
LONGEST = 400
"""Characters of a message that are kept."""


class Errors:
    """The last 64 errors of this process. Written by one thread.

    Args:
        path: the file; made.
        clock: seconds since 1970.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Callable[[], float] = time.time) -> None:
        with open(path, "xb+") as file:
            file.truncate(SLOTS * SLOT_BYTES)
            self._map = mmap.mmap(file.fileno(), SLOTS * SLOT_BYTES)
        self._clock, self._next, self._second, self._left = clock, 0, 0, RATE

    def add(self, graph: str, node: str, error: str, message: str, id: str = "", rows: int = 1) -> None:
        """Keep an error.

        Args:
            graph: what was asked.
            node: where it failed; empty where the whole batch or request did.
            error: the class of the exception.
            message: what it said.
            id: of the request, empty where it has none.
            rows: how many rows failed of it.
        """
        now = self._clock()
        if int(now) != self._second:
            self._second, self._left = int(now), RATE
        if not self._left:
            return
        self._left -= 1
        kept = {"time": now, "graph": graph[:64], "node": node[:64], "error": error[:64], "id": id[:64], "rows": rows}
        kept["message"] = message[:LONGEST]
        start = self._next % SLOTS * SLOT_BYTES
        self._map[start : start + SLOT_BYTES] = pack(kept)
        self._next += 1


def pack(error: Mapping[str, Any]) -> bytes:
    """An error as a slot holds it; where it is too long, without what it said."""
    data = msgspec.json.encode(error)
    if len(data) > SLOT_BYTES:
        data = msgspec.json.encode({"time": error["time"], "error": "too long to be kept"})
    return data.ljust(SLOT_BYTES, b"\0")


def read_errors(paths: Iterable[Path], limit: int = 100) -> list[dict[str, Any]]:
    """What the files hold, the last error first."""
    found: list[dict[str, Any]] = []
    for path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        for start in range(0, len(data), SLOT_BYTES):
            text = data[start : start + SLOT_BYTES].rstrip(b"\0")
            if text:
                try:
                    found.append(msgspec.json.decode(text, type=dict[str, Any]))
                except msgspec.DecodeError:
                    continue  # being written just now
    found.sort(key=lambda each: float(each.get("time", 0)), reverse=True)
    return found[:limit]
