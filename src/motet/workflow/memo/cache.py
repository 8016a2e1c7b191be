"""The cache: kept results by key.

    ROOT/entries/ab/KEY.json      one entry: what was kept, what its key is made of; time of change: the last hit
    ROOT/code/ab/DIGEST.json      the parts of the code that keys stand for, to tell what changed
    ROOT/artifacts/               the values themselves (artifacts.py)
    ROOT/locks                    one byte a key: who computes it (locks.py)

The files are the truth, and appear by rename; whatever else there is (index.py) is made from them. So several machines can
share a folder, as far as its file system has `fcntl` locks; without these a key may be computed twice, and the last one
stays.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from motet.system import places
from motet.system.whole_files import write_whole
from motet.workflow.memo.artifacts import Artifacts, KeptValue
from motet.workflow.memo.key import Key
from motet.workflow.memo.locks import key_lock

__all__ = ["Cache", "KeptResult", "cache_folder", "home_folder"]

TOUCH_S = 600
"""A hit is noted when the last one that was noted is this long ago."""


@dataclass(frozen=True, slots=True)
class KeptResult:
    """A kept result.

    Attributes:
        digest: the key it is found by.
        key: what its key is made of, at the time it was made.
        kept: the result.
        created: when it was made, seconds since 1970.
        seconds: how long it took.
        run: the run that made it.
        numbers: what the rules' functions gave for the data then, by their place.
    """

    digest: str
    key: Key
    kept: KeptValue
    created: float
    seconds: float
    run: str
    numbers: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As its file has it."""
        about = {"created": self.created, "seconds": self.seconds, "run": self.run, "numbers": self.numbers}
        return orjson.dumps(
            {"motet": 1, "digest": self.digest, "key": self.key.to_json(), "kept": self.kept.to_json(), **about}
        )

    @classmethod
    def from_json(cls, data: bytes) -> KeptResult:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for what is no entry."""
        found: dict[str, Any] = orjson.loads(data)
        about = (found["created"], found["seconds"], found["run"], found["numbers"])
        return cls(found["digest"], Key.from_json(found["key"]), KeptValue.from_json(found["kept"]), *about)


class Cache:
    """The cache in a folder. Any number of threads, processes and machines may use it at the same time.

    Args:
        root: the folder; made when something is kept.
        clock: gives the time, in seconds since 1970.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self.root, self.clock = root, clock
        self.artifacts = Artifacts(root)
        self._entries = os.path.join(root, "entries", "")
        self._new: list[KeptResult] = []
        self._lock = threading.Lock()

    def path(self, digest: str) -> str:
        """Where the entry of a key is, or would be."""
        return f"{self._entries}{digest[:2]}{os.sep}{digest}.json"

    def get(self, digest: str) -> KeptResult | None:
        """The entry of a key, and a note that it was used; None where there is none, or it is damaged."""
        path = self.path(digest)
        try:
            data, changed = _read(path)
            entry = KeptResult.from_json(data)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        now = self.clock()
        if now - changed > TOUCH_S:
            with suppress(OSError):
                os.utime(path, (now, now))
        return entry if entry.digest == digest else None

    def peek(self, digest: str) -> KeptResult | None:
        """The entry of a key, without a note that it was used; None where there is none, or it is damaged."""
        try:
            return KeptResult.from_json(_read(self.path(digest))[0])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, entry: KeptResult) -> None:
        """Keep an entry, in place of one that was there."""
        write_whole(self.path(entry.digest), entry.to_json())
        with self._lock:
            self._new.append(entry)

    def drop(self, digest: str) -> None:
        """Forget the entry of a key, if there is one."""
        with suppress(OSError):
            os.unlink(self.path(digest))

    def new(self) -> list[KeptResult]:
        """The entries that were put since the last time it was asked."""
        with self._lock:
            found, self._new = self._new, []
        return found

    def put_code(self, digest: str, parts: dict[str, str]) -> None:
        """Keep the parts of some code, unless they are there."""
        path = self.root / "code" / digest[:2] / f"{digest}.json"
        if not path.exists():
            write_whole(path, orjson.dumps(parts))

    def code(self, digest: str) -> dict[str, str]:
        """The parts of some code; empty where they are not there."""
        try:
            found: dict[str, str] = orjson.loads((self.root / "code" / digest[:2] / f"{digest}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def lock(self, digest: str, stopped: Callable[[], bool]) -> AbstractContextManager[bool]:
        """Be the only one, in all processes, to compute a key; False where `stopped` came true while waiting."""
        return key_lock(self.root / "locks", digest, stopped)


def _read(path: str) -> tuple[bytes, float]:
    """A file's content and time of change, with as few calls of the system as can be: hits are many."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        data = os.read(file, found.st_size)
        while len(data) < found.st_size and (more := os.read(file, found.st_size - len(data))):
            data += more
        return data, found.st_mtime
    finally:
        os.close(file)


def home_folder() -> Path:
    """Where this machine keeps its runs: `workflow` in `$MOTET_CACHE_DIR`, else in `~/.cache/motet`."""
    return places.cache_folder() / "workflow"


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the cache: the one given, else `$MOTET_WORKFLOW_CACHE`, else `cache` beside the runs."""
    named = given or os.environ.get("MOTET_WORKFLOW_CACHE")
    return Path(named).absolute() if named else home_folder() / "cache"
