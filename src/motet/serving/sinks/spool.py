"""A spool: a local file that holds records until they can be written.

The file is JSON Lines. Its first line, of fixed length, names the spool and says how far it was read. Then come blocks: a
mapping with the table and its kinds, and the records, each a list of values. The process that a spool belongs to holds a
lock on it; when the process dies, however it does, the lock goes, and another process takes what is left.

A line that was cut off by a crash is left out: nobody was told that it is there.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from motet.serving.sinks.convert import json_bytes
from motet.serving.sinks.records import Records

__all__ = ["Spool", "adopt", "spool_bytes"]

_HEADER = '{{"spool":"{}","part":"{:012d}","done":"{:015d}"}}\n'
_HEADER_BYTES = len(_HEADER.format("0" * 12, 0, 0))


class Spool:
    """One spool. One thread at a time may use it, which the caller sees to, except for `append`.

    Args:
        path: the file; made when something is appended.
        token: names the spool.
        fd: the file, open and locked, for one that exists.
    """

    def __init__(self, path: Path, token: str, fd: int | None = None) -> None:
        self.path, self.token, self._fd = path, token, fd
        self._lock = threading.Lock()
        self._part, self.done, self.end = 0, _HEADER_BYTES, _HEADER_BYTES
        if fd is not None:
            self._load(fd)

    @classmethod
    def new(cls, folder: Path, name: str) -> Spool:
        """A spool that is not there yet."""
        token = secrets.token_hex(6)
        return cls(folder / f"{name}.{token}.jsonl", token)

    def _load(self, fd: int) -> None:
        self.end = max(os.fstat(fd).st_size, _HEADER_BYTES)
        try:
            header = msgspec.json.decode(os.pread(fd, _HEADER_BYTES, 0))
            self.token, self._part = str(header["spool"]), int(header["part"])
            self.done = min(max(int(header["done"]), _HEADER_BYTES), self.end)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            self.done = _HEADER_BYTES  # cut off while it was made

    @property
    def backlog(self) -> bool:
        """Whether it holds records that were not read."""
        return self.end > self.done

    @property
    def batch_name(self) -> str:
        """Names what is read next: the same after a crash."""
        return f"{self.token}-{self._part:06d}-{self.done:012d}"

    def append(self, batch: Sequence[Records], *, sync: bool) -> None:
        """Add records at the end, all or none.

        Args:
            batch: the records.
            sync: whether they are on disk, and not only handed to the system, when this returns.

        Raises:
            OSError: when the file cannot be written.
        """
        data = b"".join(_block(records) for records in batch)
        with self._lock:
            fd = self._open()
            try:
                _write(fd, data, self.end)
                if sync:
                    os.fdatasync(fd)
            except OSError:
                os.ftruncate(fd, self.end)
                raise
            self.end += len(data)

    def _open(self) -> int:
        if self._fd is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                _write(fd, self._header(), 0)
            except OSError:  # a disk that is full: the next try makes it anew
                self.path.unlink(missing_ok=True)
                os.close(fd)
                raise
            self._fd = fd
        return self._fd

    def _header(self) -> bytes:
        return _HEADER.format(self.token, self._part, self.done).encode()

    def read(self, num_rows: int) -> tuple[list[Records], int, int]:
        """The records that come next, at least one block of them where there is any.

        Returns:
            The records; where they end, for `advance`; and how many lines could not be read.
        """
        assert self._fd is not None
        batch: list[Records] = []
        rows = damaged = 0
        offset = self.done
        head: Any = None
        values: list[Any] = []
        for line in _lines(self._fd, self.done, self.end):
            try:
                value = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                value = None
            if isinstance(value, dict):
                if rows >= num_rows:
                    break
                if head is not None:
                    batch.append(_records(head, values))
                head, values = value, []
            elif isinstance(value, list) and head is not None and len(value) == len(head["kinds"]):
                values.append(value)
                rows += 1
            else:
                damaged += 1
            offset += len(line)
        else:
            offset = self.end  # with it what was cut off
        if head is not None:
            batch.append(_records(head, values))
        return [each for each in batch if len(each)], offset, damaged

    def advance(self, offset: int) -> None:
        """Forget what is before `offset`; a spool that was read to its end becomes empty."""
        with self._lock:
            if self._fd is None:
                return
            self.done = offset
            if self.done >= self.end:
                os.ftruncate(self._fd, _HEADER_BYTES)
                self._part += 1
                self.done = self.end = _HEADER_BYTES
            _write(self._fd, self._header(), 0)

    def close(self) -> None:
        """Let go of the file, and remove it where it holds nothing any more."""
        with self._lock:
            if self._fd is None:
                return
            if not self.backlog:
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def _block(records: Records) -> bytes:
    head = json_bytes({"table": records.table, "kinds": records.kinds, **({"latest": True} if records.latest else {})})
    rows = zip(*records.columns.values(), strict=True)
    return b"\n".join([head, *map(json_bytes, rows)]) + b"\n"


def _records(head: dict[str, Any], values: Sequence[Sequence[Any]]) -> Records:
    columns: dict[str, Sequence[Any]] = dict(zip(head["kinds"], zip(*values, strict=True), strict=False))
    for name, kind in head["kinds"].items():
        if kind == "bytes" and name in columns:
            columns[name] = [None if value is None else base64.b64decode(value) for value in columns[name]]
    filled = columns or dict.fromkeys(head["kinds"], ())
    return Records(head["table"], head["kinds"], filled, latest=head.get("latest", False))


def _lines(fd: int, offset: int, end: int) -> Iterator[bytes]:
    """Whole lines, with their ends."""
    rest = b""
    while offset < end:
        data = os.pread(fd, min(1 << 20, end - offset), offset)
        if not data:
            return
        offset += len(data)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line + b"\n"


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _files(folder: Path, name: str) -> list[Path]:
    pattern = re.compile(re.escape(name) + r"\.[0-9a-f]{12}\.jsonl")
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def spool_bytes(folder: Path, name: str) -> int:
    """What all spools of a sink hold."""
    total = 0
    for path in _files(folder, name):
        try:
            total += path.stat().st_size - _HEADER_BYTES
        except FileNotFoundError:
            continue  # its process has just emptied it
    return max(total, 0)


def adopt(folder: Path, name: str) -> list[Spool]:
    """The spools of processes that are gone, the oldest first; empty ones are removed."""
    found: list[tuple[float, Spool]] = []
    for path in _files(folder, name):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        status = os.fstat(fd)
        spool = Spool(path, path.name[-18:-6], fd)
        if not status.st_nlink or not spool.backlog:
            spool.close()
        else:
            found.append((status.st_mtime, spool))
    return [spool for _, spool in sorted(found, key=lambda each: each[0])]
