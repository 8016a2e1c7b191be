"""JSON Lines: an object a line, in a file that several processes add to and that is put aside when it is big."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.convert import json_bytes
from motet.serving.sinks.records import Records

__all__ = ["JsonLinesTarget"]


class JsonLinesTarget:
    """A file of JSON Lines. Bytes are base64; numbers that are not finite are null.

    Writers hold a lock on the file. A line that a crash cut off is taken away by the next who writes. A file that has grown
    to `rotate_bytes` is renamed: `predictions.jsonl` to `predictions-20250131T235959-123456.jsonl`.
    """

    def __init__(self, config: SinkConfig, folder: Path) -> None:
        self._path, self._rotate_bytes = folder / config.to, config.rotate_bytes
        self.is_log = config.durable

    def prepare(self, table: str, kinds: Mapping[str, str]) -> None:
        """Make the folder."""
        self._place(table).parent.mkdir(parents=True, exist_ok=True)

    def _place(self, table: str) -> Path:
        return Path(str(self._path).replace("{graph}", table))

    def write(self, batch: Sequence[Records], name: str) -> None:
        """See `Target.write`."""
        lines: dict[str, list[bytes]] = {}
        for records in batch:
            rows = zip(*records.columns.values(), strict=True)
            lines.setdefault(records.table, []).extend(
                json_bytes(dict(zip(records.columns, row, strict=True))) for row in rows
            )
        places: dict[Path, list[bytes]] = {}
        for table, each in lines.items():
            places.setdefault(self._place(table), []).extend(each)
        for path, each in places.items():
            self._append(path, b"\n".join(each) + b"\n")

    def _append(self, path: Path, data: bytes) -> None:
        fd = _locked(path)
        try:
            size = _whole(fd, os.fstat(fd).st_size)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                if self.is_log:
                    os.fdatasync(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
            if size + len(data) >= self._rotate_bytes:
                _put_aside(path)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nothing is open."""


def _locked(path: Path) -> int:
    """The file, open and locked; opened again where another process has just put it aside."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)


def _whole(fd: int, size: int) -> int:
    """The size of a file without the line that was cut off at its end."""
    end = size
    while end and os.pread(fd, 1, end - 1) != b"\n":
        start = max(0, end - (1 << 16))
        end = start + os.pread(fd, end - start, start).rfind(b"\n") + 1
    if end < size:
        os.ftruncate(fd, end)
    return end


def _put_aside(path: Path) -> None:
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    target = path.with_name(f"{path.stem}-{stamp}-{int(now % 1 * 1e6):06d}{path.suffix}")
    while target.exists():
        target = target.with_name(f"{target.stem}x{target.suffix}")
    path.rename(target)
