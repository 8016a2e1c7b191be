"""An index of the entries of a cache, in SQLite, on this machine.

It holds nothing that the entries' files do not say, so it may be deleted at any time. Before it is asked it looks which
folders of entries have changed, and reads the entries that it does not know.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from motet.errors import WorkflowError
from motet.workflow.memo.base import open_base
from motet.workflow.memo.cache import Cache, KeptResult, home_folder

__all__ = ["Index", "Row"]

_VERSION = 2
_SETTLED_S = 2.0
"""A folder that changed later than so long ago is looked through again: times of change are coarse."""
_LAST = 12
_MOST_GONE = 10_000
_SCHEMA = """
create table if not exists shards(name text primary key, changed integer) without rowid;
create table if not exists entries(
    key text primary key, shard text, step text, created real, seconds real, size_bytes integer, formats text, run text,
    arguments text) without rowid;
create index if not exists entries_by_step on entries(step, created);
create index if not exists entries_by_shard on entries(shard, key);
create table if not exists refs(artifact text, key text, size_bytes integer, primary key(artifact, key)) without rowid;
create index if not exists refs_by_key on refs(key);
create table if not exists codes(key text primary key, code text) without rowid;
create table if not exists gone(key text unique, step text);
create index if not exists gone_by_step on gone(step);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in the index; `created` in seconds since 1970."""

    key: str
    shard: str
    step: str
    created: float
    seconds: float
    size_bytes: int
    formats: str
    run: str
    arguments: str


class Index:
    """The index of a cache. It belongs to the thread that made it; close it."""

    def __init__(self, cache: Cache, path: Path) -> None:
        self.cache, self.path = cache, path
        try:
            self._base = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise WorkflowError(f"the index of the cache cannot be opened: {error}", where=str(path)) from error

    @classmethod
    def of(cls, cache: Cache) -> Index:
        """The index of a cache, in the home folder: the cache itself may be on a disk that others share."""
        name = hashlib.sha256(os.fsencode(cache.root)).hexdigest()[:16]
        return cls(cache, home_folder() / "indexes" / f"{name}.sqlite")

    def _opened(self) -> sqlite3.Connection:
        try:
            return open_base(self.path, _SCHEMA, _VERSION, durable=False)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # damaged: it is made anew from the entries
            for end in ("", "-wal", "-shm"):
                Path(f"{self.path}{end}").unlink(missing_ok=True)
            return open_base(self.path, _SCHEMA, _VERSION, durable=False)

    def close(self) -> None:
        """Close it."""
        self._base.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def sync(self, limit_s: float | None = None) -> None:
        """Take in what has changed in the folders of entries.

        Args:
            limit_s: seconds after which it leaves the rest for the next time; None takes all.
        """
        known = dict(self._base.execute("select name, changed from shards").fetchall())
        end = None if limit_s is None else time.monotonic() + limit_s
        found: set[str] = set()
        with suppress(FileNotFoundError), os.scandir(self.cache.root / "entries") as folders:
            for folder in folders:
                if not folder.is_dir():
                    continue
                found.add(folder.name)
                changed = folder.stat().st_mtime_ns
                if known.get(folder.name) != changed and (end is None or time.monotonic() < end):
                    self._sync_shard(folder.name, folder.path, changed, end)
        for name in known.keys() - found:
            self._sync_shard(name, "", 0, None)

    def _sync_shard(self, name: str, path: str, changed: int, end: float | None) -> None:
        names = {each[:-5] for each in os.listdir(path) if each.endswith(".json") and each[0] != "."} if path else set()
        known = {key for (key,) in self._base.execute("select key from entries where shard=?", (name,))}
        new: list[KeptResult] = []
        whole = True
        for key in names - known:
            if end is not None and time.monotonic() > end:
                whole = False
                break
            entry = self.cache.peek(key)
            if entry is not None:
                new.append(entry)
        with self._base:
            self._base.execute("begin immediate")
            self._remove(known - names)
            self._add(new)
            if whole and path and time.time_ns() - changed > _SETTLED_S * 1e9:
                self._base.execute("insert or replace into shards values(?,?)", (name, changed))
            elif not path:
                self._base.execute("delete from shards where name=?", (name,))

    def add(self, entries: Iterable[KeptResult]) -> None:
        """Add entries that were just written."""
        with self._base:
            self._base.execute("begin immediate")
            self._add(entries)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries."""
        with self._base:
            self._base.execute("begin immediate")
            self._remove(keys)

    def _add(self, entries: Iterable[KeptResult]) -> None:
        rows, refs, codes = [], [], []
        for each in entries:
            arguments = ", ".join(f"{name}={value.told}" for name, value in each.key.arguments.items())
            about = (each.created, each.seconds, each.kept.size_bytes, " ".join(each.kept.formats), each.run, arguments)
            rows.append((each.digest, each.digest[:2], each.key.step, *about))
            refs += [(leaf.digest, each.digest, leaf.size) for leaf in each.kept.leaves]
            codes.append((each.digest, each.key.code))
        self._base.executemany("insert or replace into entries values(?,?,?,?,?,?,?,?,?)", rows)
        self._base.executemany("delete from refs where key=?", [(row[0],) for row in rows])
        self._base.executemany("insert or replace into refs values(?,?,?)", refs)
        self._base.executemany("insert or replace into codes values(?,?)", codes)

    def _remove(self, keys: Iterable[str]) -> None:
        gone = [(key,) for key in keys]
        self._base.executemany("insert or replace into gone(key, step) select key, step from entries where key=?", gone)
        self._base.execute("delete from gone where rowid <= (select max(rowid) from gone) - ?", (_MOST_GONE,))
        for table in ("entries", "refs", "codes"):
            self._base.executemany(f"delete from {table} where key=?", gone)

    def last(self, step: str, limit: int = _LAST) -> list[KeptResult]:
        """The last entries of a step, the newest first."""
        rows = self._base.execute(
            "select key from entries where step=? order by created desc limit ?", (step, limit)
        ).fetchall()
        return [entry for (key,) in rows if (entry := self.cache.peek(key)) is not None]

    def gone(self, step: str) -> set[str]:
        """The keys of a step whose entries have been removed, of the last 10,000 that were."""
        return {key for (key,) in self._base.execute("select key from gone where step=?", (step,))}

    def rows(self, step: str = "", limit: int = -1) -> list[Row]:
        """Entries, the newest first.

        Args:
            step: only those of steps whose names have this in them.
            limit: at most so many; -1 is all.
        """
        rows = self._base.execute(
            "select * from entries where instr(step, ?) > 0 or ? = '' order by created desc limit ?",
            (step, step, limit),
        ).fetchall()
        return [Row(*row) for row in rows]

    def totals(self) -> tuple[int, int]:
        """How many entries there are, and the bytes of their values; what several share counts once."""
        (count,) = self._base.execute("select count(*) from entries").fetchone()
        (size,) = self._base.execute(
            "select coalesce(sum(size_bytes), 0) from (select size_bytes from refs group by artifact)"
        ).fetchone()
        return count, size

    def refs(self) -> list[tuple[str, str, int]]:
        """All pairs of artifact and entry, with the artifact's size in bytes."""
        return self._base.execute("select artifact, key, size_bytes from refs").fetchall()

    def codes(self) -> set[str]:
        """The digests of code that entries name."""
        return {code for (code,) in self._base.execute("select distinct code from codes")}
