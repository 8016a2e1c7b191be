"""Rows kept after the first time they were read: in memory, or on disk and memory-mapped.

    FOLDER/KEY/about.json       names, dtypes and shapes; KEY is a digest of the source and of what was done to its rows
    FOLDER/KEY/0.bin 1.bin ...  one column a file, C order
    FOLDER/.building-KEY/       an entry that is being filled
    FOLDER/.KEY.lock            held by the process that fills the entry, or removes it

An entry is written beside its place and renamed, so it is there whole or not at all. One process fills it, others that
want the same wait for it and then share its pages. What a killed process had begun is removed when anything is filled next.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from motet.errors import InputError
from motet.system.locks import lock_file, wait_for_lock
from motet.training.data.readers import ArraysReader, Columns, RandomReader, same_kinds

__all__ = ["DiskCache", "MemoryCache", "RowCache", "cache_at"]

_WAIT_S, _POLL_S = 3600.0, 0.05
_ABOUT, _BUILDING = "about.json", ".building-"

Blocks = Callable[[], Iterable[Columns]]


def cache_at(where: str | os.PathLike[str], max_bytes: int | None, max_entries: int) -> RowCache:
    """The cache that `where` names: `memory`, or a folder."""
    return MemoryCache(max_bytes) if where == "memory" else DiskCache(Path(where), max_bytes, max_entries)


class MemoryCache:
    """Keeps rows in this process, for the datasets that are made from the one that was cached.

    A dataset that goes to another process is filled there again: share a `DiskCache` among workers.

    Args:
        max_bytes: the most it may hold; None is half of the machine's memory.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        self._rows: RandomReader | None = None

    def rows(self, key: Callable[[], str], blocks: Blocks) -> RandomReader:
        """The rows that are kept under a key, filled from `blocks` where there are none yet.

        Raises:
            InputError: when the rows take more than `max_bytes`, or there are none.
        """
        if self._rows is None:
            held = list(_bounded(blocks(), self.max_bytes, "memory"))
            if not held:
                raise InputError("there are no rows to cache")
            names = list(held[0])
            whole = {name: np.concatenate([block.pop(name) for block in held]) for name in names}
            self._rows = ArraysReader(whole, "the cache in memory")
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes, "_rows": None}


class DiskCache:
    """Keeps rows in a folder, one entry a key, memory-mapped when read.

    Args:
        folder: where; made when it is not there.
        max_bytes: the most that one entry may take; None is what the disk has free, less a tenth.
        max_entries: entries that are kept; filling one more removes those that were not used for longest.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None, max_entries: int = 8) -> None:
        self.folder, self.max_bytes, self.max_entries = folder.absolute(), max_bytes, max_entries
        self._rows: RandomReader | None = None

    def rows(self, key: Callable[[], str], blocks: Blocks) -> RandomReader:
        """See `MemoryCache.rows`.

        Raises:
            InputError: when the rows take more than `max_bytes`, are of no fixed size, or there are none; when another
                process does not finish filling the entry within an hour.
        """
        if self._rows is None:
            self._rows = self._open_or_fill(key(), blocks)
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_rows": None}

    def _open_or_fill(self, key: str, blocks: Blocks) -> RandomReader:
        entry = self.folder / key
        found = _opened(entry)
        if found is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._lock(key)):
            found = _opened(entry)
            if found is None:
                found = self._filled(entry, blocks)
                self._drop_oldest(entry)
        return found

    def _lock(self, key: str) -> Path:
        return self.folder / f".{key}.lock"

    def _filled(self, entry: Path, blocks: Blocks) -> RandomReader:
        building = self.folder / f"{_BUILDING}{entry.name}"
        shutil.rmtree(building, ignore_errors=True)
        for name in os.listdir(self.folder):
            if name.startswith(_BUILDING):
                self._drop(name.removeprefix(_BUILDING))
        building.mkdir()
        free = shutil.disk_usage(self.folder).free
        limit = self.max_bytes if self.max_bytes is not None else free - free // 10
        try:
            _write(building, _bounded(blocks(), limit, str(self.folder)), str(self.folder))
            found = _opened(building)  # in its place another process may drop it at once
            assert found is not None, f"{building} was just written"
            shutil.rmtree(entry, ignore_errors=True)  # a damaged one
            os.rename(building, entry)
            return found
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _drop_oldest(self, newest: Path) -> None:
        used: dict[Path, float] = {}
        for about in self.folder.glob(f"[!.]*/{_ABOUT}"):
            with suppress(FileNotFoundError):  # another process has just dropped it
                used[about.parent] = about.stat().st_mtime
        used.pop(newest, None)
        for entry in sorted(used, key=used.__getitem__, reverse=True)[self.max_entries - 1 :]:
            self._drop(entry.name)

    def _drop(self, key: str) -> None:
        """Remove an entry, what was begun of it, and its lock, unless another process fills it."""
        lock = self._lock(key)
        if (held := lock_file(str(lock))) is not None:
            shutil.rmtree(self.folder / key, ignore_errors=True)
            shutil.rmtree(self.folder / f"{_BUILDING}{key}", ignore_errors=True)
            lock.unlink()
            os.close(held)


RowCache: TypeAlias = MemoryCache | DiskCache
"""Keeps rows: it is filled when it is first asked, and gives what it keeps afterwards."""


def _write(folder: Path, blocks: Iterator[Columns], where: str) -> None:
    """Write blocks into one file a column, and what they are last."""
    about: dict[str, dict[str, Any]] = {}
    num_rows = 0
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for block in blocks:
            if not files:
                about = _about(block, where)
                files = {name: stack.enter_context(open(folder / each["file"], "wb")) for name, each in about.items()}
            for name, column in block.items():
                np.ascontiguousarray(column).tofile(files[name])
            num_rows += len(next(iter(block.values())))
        if not files:
            raise InputError("there are no rows to cache", where=where)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    with open(folder / _ABOUT, "w", encoding="utf-8") as text:
        json.dump({"num_rows": num_rows, "columns": about}, text)
        text.flush()
        os.fsync(text.fileno())


def _about(block: Columns, where: str) -> dict[str, dict[str, Any]]:
    """The file of each column, and what it holds."""
    for name, column in block.items():
        if column.dtype.hasobject:
            raise InputError(
                f"column {name!r} holds Python objects, which have no fixed size",
                where=where,
                hint="cache before they are made, keep numbers only, or cache in memory",
            )
    return {
        name: {"file": f"{place}.bin", "dtype": column.dtype.str, "shape": list(column.shape[1:])}
        for place, (name, column) in enumerate(block.items())
    }


def _opened(entry: Path) -> RandomReader | None:
    """The entry's rows, memory-mapped; None where there is no entry, or a file has not the size it should have."""
    try:
        about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
        columns = {name: _mapped(entry, about["num_rows"], column) for name, column in about["columns"].items()}
        os.utime(entry / _ABOUT)
    except (OSError, ValueError, KeyError):
        return None
    return ArraysReader(columns, f"the cache {entry.parent}")


def _mapped(entry: Path, num_rows: int, about: dict[str, Any]) -> Any:
    path, dtype, shape = entry / about["file"], np.dtype(about["dtype"]), (num_rows, *about["shape"])
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if path.stat().st_size != expected:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, {expected} are expected")
    return np.memmap(path, dtype, "r", shape=shape) if expected else np.empty(shape, dtype)


def _bounded(blocks: Iterable[Columns], max_bytes: int, where: str) -> Iterator[Columns]:
    """The blocks, all of the first one's types, as long as they take no more than `max_bytes`."""
    size = 0
    for block in same_kinds(blocks, where):
        size += sum(column.nbytes for column in block.values())
        if size > max_bytes:
            raise InputError(
                f"the rows take more than {max_bytes:,} bytes",
                where=where,
                hint="cache in a folder, cache before transformations that make rows larger, or raise max_bytes",
            )
        yield dict(block)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process; waits an hour at most."""
    held = wait_for_lock(str(path), _WAIT_S)
    if held is None:
        raise InputError(
            f"another process has been filling this entry for {_WAIT_S:g} s",
            where=str(path),
            hint="see what it does, or use another folder",
        )
    try:
        yield
    finally:
        os.close(held)


def entry_key(parts: Iterable[str]) -> str:
    """The name of an entry, 32 hex digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
