"""What is loaded, unloaded and scaled in one process of a server is so in all: every process looks at what the others tell."""

from __future__ import annotations

import asyncio
import logging

from motet.errors import MotetError
from motet.serving.repository.changes import SCALED, Change, RepositoryChanges
from motet.serving.repository.repository import ModelRepository

__all__ = ["RepositorySync"]

_LOG = logging.getLogger("motet.serving")
LOOK_S = 0.2
"""How often it is looked."""


class RepositorySync:
    """Follows what the other processes load, unload and scale.

    Args:
        changes: what they tell.
        repository: of this process.
    """

    def __init__(self, changes: RepositoryChanges, repository: ModelRepository) -> None:
        self._changes, self._repository = changes, repository
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; what was changed before this process came is followed too."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failing = False
        while True:
            try:
                for name, change in self._changes.look().items():
                    await self._follow(name, change)
            except OSError as error:  # no file can be opened any more: it is tried again
                if not failing:
                    _LOG.error("what other processes load and unload is not followed now: %s", error)
                failing = True
            else:
                failing = False
            await asyncio.sleep(LOOK_S)

    async def _follow(self, name: str, change: Change) -> None:
        if not self._changes.is_new(name, change):
            return
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
