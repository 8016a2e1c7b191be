"""Opening databases of SQLite that several processes use at the same time."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

__all__ = ["open_base"]

_BUSY_S = 30.0
_AGAIN_S = 0.01


def open_base(path: Path, schema: str, version: int, *, durable: bool) -> sqlite3.Connection:
    """A connection to a database in WAL mode, which is made where it does not exist. Any thread may use it, one at a time.

    Args:
        path: the file; its folder is made.
        schema: statements that make what does not exist.
        version: changes with the schema, which is only looked at where the file has another one.
        durable: whether what is committed outlives a crash of the machine, and not only of the process.

    Raises:
        OSError: when the folder cannot be made.
        sqlite3.Error: when the file is no database, or others kept it busy for 30 s.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    base = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
    end = time.monotonic() + _BUSY_S
    try:
        while True:
            try:
                _prepare(base, schema, version, durable)
            except sqlite3.OperationalError as error:  # changing the mode does not wait for others itself
                if ("locked" not in str(error) and "busy" not in str(error)) or time.monotonic() > end:
                    raise
                time.sleep(_AGAIN_S)
            else:
                return base
    except BaseException:
        base.close()
        raise


def _prepare(base: sqlite3.Connection, schema: str, version: int, durable: bool) -> None:
    if base.execute("pragma journal_mode").fetchone() != ("wal",):
        base.execute("pragma journal_mode=wal")
    base.execute(f"pragma synchronous={'normal' if durable else 'off'}")
    if base.execute("pragma user_version").fetchone() != (version,):
        base.executescript(f"begin immediate; {schema} pragma user_version={version}; commit;")
