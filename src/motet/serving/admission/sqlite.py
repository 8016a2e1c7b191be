"""A storage for `limits` that all processes of a machine share: SQLite, in WAL mode.

Of its strategies it serves the moving window. The times of the last `limit` hits of a key are a ring: hit number `n` is
in place `n` modulo `limit`, so that a check looks at one row, however high the limit is, and old hits are overwritten.

Times are of a clock that only goes up, whatever is done to the time of day: the seconds since the machine's start, which are
the same for all its processes, and what the file says to add to them. After another start of the machine they go on from the
time of day, or from the last hit where that is later.

What has been written survives the end of any process; after a loss of power hits of the last seconds may be forgotten
(`synchronous=OFF`: a check does not wait for the disk).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limits.storage import MovingWindowSupport, Storage

__all__ = ["MAX_BYTES", "SqliteStorage", "boot_id"]

MAX_BYTES = 1 << 30
"""Of the file; beyond it the keys that would be forgotten first are forgotten at once."""
_PURGE_EVERY = 200
_PURGE_ROWS = 1000
"""Rows that are deleted once in so many hits: more than come, and few enough not to be felt."""
_CUT = "SELECT place FROM hits WHERE name = ? ORDER BY place DESC LIMIT 1 OFFSET ?"
_TABLES = """
    CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, hits INTEGER NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS clock (boot TEXT NOT NULL, zero REAL NOT NULL);
    CREATE INDEX IF NOT EXISTS keys_ends ON keys (ends);
    CREATE TABLE IF NOT EXISTS hits (
        name TEXT NOT NULL, place INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (name, place)
    ) WITHOUT ROWID;
"""


def boot_id() -> str:
    """What tells this start of the machine from every other; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class SqliteStorage(Storage, MovingWindowSupport):
    """Hits in a SQLite file. May be used from several threads, which then wait for each other.

    Args:
        path: the file; its folder must be on a disk of this machine.
        busy_s: how long another process may keep the file before `sqlite3.OperationalError` is raised; 0 never waits.
        ticks: seconds since the machine's start.
        clock: seconds since 1970.
        boot: tells the machine's starts apart.
        max_bytes: of the file, about.
    """

    STORAGE_SCHEME = ["motet+sqlite"]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_s: float = 5.0,
        ticks: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], str] = boot_id,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__()
        self._ticks, self._max_bytes = ticks, max_bytes
        self._lock = threading.RLock()
        self._hits = 0
        self._open = False
        with _alone(f"{os.fspath(path)}.lock"):
            self._base = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
            try:
                self._page_bytes = self._set_up()
                self._zero = self._zero_of(boot(), clock)
                self._base.execute(f"PRAGMA busy_timeout={int(busy_s * 1000)}")
            except sqlite3.Error:
                self._base.close()
                raise

    def _set_up(self) -> int:
        """Make the tables where they are missing; gives the bytes of a page of the file."""
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute("PRAGMA wal_autocheckpoint=250")
        self._base.executescript(_TABLES)
        page: int = self._base.execute("PRAGMA page_size").fetchone()[0]
        return page

    def _zero_of(self, boot: str, clock: Callable[[], float]) -> float:
        """What is added to the seconds since the machine's start."""
        row = self._base.execute("SELECT zero FROM clock WHERE boot = ? AND boot != ''", (boot,)).fetchone()
        if row is None:
            last = self._base.execute("SELECT max(at) FROM hits").fetchone()[0] or 0.0
            row = (max(clock(), last) - self._ticks(),)
            with self.together():
                self._base.execute("DELETE FROM clock")
                self._base.execute("INSERT INTO clock VALUES (?, ?)", (boot, *row))
        return float(row[0])

    def now(self) -> float:
        """The time of hits, in seconds: about the time of day, but it only goes up."""
        return self._ticks() + self._zero

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What goes wrong with the file."""
        return sqlite3.Error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make what is done in the block one step for all processes; an exception undoes all of it."""
        with self._lock:
            if self._open:
                yield
                return
            self._base.execute("BEGIN IMMEDIATE")
            self._open = True
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise
            finally:
                self._open = False

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count hits where the window has room for them.

        Args:
            key: whose.
            limit: how many hits the window holds.
            expiry: its length in seconds.
            amount: how many are added, all of them or none.

        Returns:
            Whether there was room.
        """
        if amount > limit:
            return False
        with self.together():
            now = self.now()
            row = self._base.execute("SELECT hits FROM keys WHERE name = ?", (key,)).fetchone()
            hits: int = row[0] if row else 0
            oldest = hits + amount - limit - 1
            if oldest >= 0 and self._at(key, oldest % limit) > now - expiry:
                return False
            self._base.executemany(
                "INSERT OR REPLACE INTO hits VALUES (?, ?, ?)",
                ((key, each % limit, now) for each in range(hits, hits + amount)),
            )
            self._base.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (key, hits + amount, now + expiry))
            self._hits += 1
            if self._hits % _PURGE_EVERY == 0:
                self._purge(now)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the window began, that is its oldest hit, and how many hits are in it."""
        now = self.now()
        with self._lock:
            query = "SELECT min(at), count(*) FROM hits WHERE name = ? AND at > ?"
            began, hits = self._base.execute(query, (key, now - expiry)).fetchone()
        return (began, hits) if hits else (now, 0)

    def free_at(self, key: str, limit: int, expiry: int) -> float:
        """When the window has room for a hit, on the clock of `now`; not after that where it has."""
        with self._lock:
            row = self._base.execute("SELECT hits FROM keys WHERE name = ?", (key,)).fetchone()
            return self._at(key, (row[0] - limit) % limit) + expiry if row and row[0] >= limit else 0.0

    def _at(self, key: str, place: int) -> float:
        row = self._base.execute("SELECT at FROM hits WHERE name = ? AND place = ?", (key, place)).fetchone()
        return float(row[0]) if row else 0.0

    def _purge(self, now: float) -> None:
        """Forget some hits of keys whose hits are all too old; of any keys, where the file is too big."""
        free = self._base.execute("PRAGMA freelist_count").fetchone()[0]
        pages = self._base.execute("PRAGMA page_count").fetchone()[0]
        ended = float("inf") if (pages - free) * self._page_bytes > self._max_bytes else now
        query = "SELECT name FROM keys WHERE ends < ? ORDER BY ends LIMIT ?"
        left = _PURGE_ROWS
        for (name,) in self._base.execute(query, (ended, _PURGE_ROWS)).fetchall():
            cut = self._base.execute(_CUT, (name, left - 1)).fetchone()
            gone = self._base.execute("DELETE FROM hits WHERE name = ? AND place >= ?", (name, cut[0] if cut else 0))
            left -= gone.rowcount
            if left <= 0:
                return
            self._base.execute("DELETE FROM keys WHERE name = ?", (name,))

    # `Storage` has counts of windows that do not move, and ways to manage them, as abstract methods; nothing here asks for them.

    def _unserved(self, *_: object) -> Any:
        raise NotImplementedError("this storage serves the moving window alone")

    incr: Any = _unserved
    get: Any = _unserved
    get_expiry: Any = _unserved
    check: Any = _unserved
    reset: Any = _unserved
    clear: Any = _unserved

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()


@contextmanager
def _alone(lock: str) -> Iterator[None]:
    """While the file is made ready: SQLite does not wait for others that change its mode; others may not read it."""
    import fcntl

    before = os.umask(0o077)
    try:
        with open(lock, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    finally:
        os.umask(before)
