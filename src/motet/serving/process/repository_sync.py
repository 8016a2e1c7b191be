"""What is loaded, unloaded and scaled in one process of a server is so in all: a small file says what, and every process
looks at it.

The file is written whole, under a lock. Each graph has a number that grows with every change, and so has each model
that was scaled; a process that sees a greater one than it has followed does the same.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from pathlib import Path

import msgspec

from motet.errors import MotetError
from motet.serving.repository.repository import ModelRepository
from motet.system.whole_files import write_whole

__all__ = ["RepositorySync"]

_LOG = logging.getLogger("motet.serving")
LOOK_S = 0.2
"""How often the file is looked at."""
SCALED = "replicas of "
"""Before the name of a model, which no name of a graph begins with."""


class _Change(msgspec.Struct):
    number: int
    loaded: bool = True
    replicas: int | None = None


_decode = msgspec.json.Decoder(dict[str, _Change]).decode


class RepositorySync:
    """Follows what the other processes load and unload, and tells them what this one does.

    Args:
        folder: what the processes of the server share.
        repository: of this process.
    """

    def __init__(self, folder: str | Path, repository: ModelRepository) -> None:
        self._path, self._repository = Path(folder) / "loaded.json", repository
        self._followed: dict[str, int] = {}
        self._seen: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, and to tell; what was changed before this process came is followed too."""
        self._repository.switched.append(self.tell)
        self._repository.scaled.append(self.tell_scaled)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    def tell(self, name: str, loaded: bool) -> None:
        """This process has loaded or unloaded a graph, because somebody asked it to."""
        self._tell(name, _Change(1, loaded))

    def tell_scaled(self, name: str, count: int) -> None:
        """This process has now so many replicas of a model, because somebody asked it to."""
        self._tell(f"{SCALED}{name}", _Change(1, replicas=count))

    def _tell(self, name: str, change: _Change) -> None:
        with open(self._path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            changes = self._read()
            before = changes.get(name)
            change.number = 1 if before is None else before.number + 1
            changes[name] = change
            write_whole(self._path, msgspec.json.encode(changes))
            self._followed[name] = change.number

    def _read(self) -> dict[str, _Change]:
        try:
            return _decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}

    async def _run(self) -> None:
        failing = False
        while True:
            try:
                await self._look()
            except OSError as error:  # no file can be opened any more: it is tried again
                if not failing:
                    _LOG.error("what other processes load and unload is not followed now: %s", error)
                failing = True
            else:
                failing = False
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return
        state = found.st_ino, found.st_mtime_ns
        if state != self._seen:
            changes = self._read()
            self._seen = state
            for name, change in changes.items():
                await self._follow(name, change)

    async def _follow(self, name: str, change: _Change) -> None:
        if self._followed.get(name, 0) >= change.number:
            return
        self._followed[name] = change.number
        try:
            if change.replicas is not None:
                await self._repository.scale(name.removeprefix(SCALED), change.replicas, tell=False)
            elif change.loaded:
                await self._repository.load(name, tell=False)
            else:
                await self._repository.unload(name, tell=False)
        except MotetError as error:
            what = name.removeprefix(SCALED)
            _LOG.error("%s, which another process has changed, stays as it is: %s", what, error)
