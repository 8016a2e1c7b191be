"""A process that takes the place of another serves what the others serve, or not yet.

The processes of a server share a small file with a digest for each graph: of what it says, its functions and its models' files,
as those have loaded it that serve. One that comes later compares its own. Where they differ, since files were changed in place,
it does not listen until it has loaded the same, as after `motet load`, or the files are what they were. Whoever has said what it
serves keeps a shared lock for as long as it lives. Where nobody has it what is said there was said by processes that have ended:
what is on the disk holds then.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from motet.engines.local.manifest import graph_digest
from motet.errors import MotetError
from motet.models.digest import digest
from motet.runtime.resolve import ResolvedModel
from motet.serving.repository.entry import UNLOADED, RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.system.incidents import Outage
from motet.system.whole_files import write_whole

__all__ = ["SameFiles"]

_LOG = logging.getLogger("motet.serving")
LOOK_S = 0.2
"""How often a process that waits looks whether it may serve."""
AGAIN_S = 5.0
"""How often it loads what differs again, since files may be what they were."""
TURN, SERVES = 0, 1
"""The bytes of the lock file: of who compares now, and of those that serve. A process that is forked has no part in them."""


class SameFiles:
    """What the processes of a server have loaded, compared.

    Args:
        folder: what they share.
        repository: of this process.
    """

    def __init__(self, folder: str | Path, repository: ModelRepository) -> None:
        self._path, self._repository = Path(folder) / "digests.json", repository
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        self._written: dict[str, RepositoryEntry] = {}
        self._code: dict[str, str] = {}
        """Digests of the modules of models in this process, as they were when a graph with them was first loaded here."""

    async def agree(self) -> None:
        """Wait until every graph here is as the other processes have it; from then on they are told what is loaded anew."""
        loop = asyncio.get_running_loop()
        outage, again_at = Outage(_LOG, "files", "graphs"), loop.time()
        while not self._repository.stopping and (differ := self._hold(first=True)):
            reasons = sorted({self._repository.served[name].reason for name in differ} - {""})
            why = "".join(f": {' '.join(each.split())}" for each in reasons)
            text = "process %d does not serve: the files of graph %s are not those that the other processes have loaded%s; "
            text += "load the graph anew, or bring the earlier ones back"
            outage.out(text, os.getpid(), ", ".join(differ), why)
            if loop.time() >= again_at:
                await self._load(differ)
                again_at = loop.time() + AGAIN_S
            await asyncio.sleep(LOOK_S)
        outage.back("process %d has the files of the other processes, and serves", os.getpid())
        self._repository.changed.append(self._note)

    def _note(self) -> None:
        try:
            self._hold()
        except OSError as error:  # what is loaded is served all the same; the next change notes this one too
            _LOG.error("the other processes of the server are not told what was loaded: %s", error)

    async def _load(self, names: list[str]) -> None:
        for name in names:
            try:
                await self._repository.load(name, tell=False)
            except MotetError as error:
                _LOG.debug("graph %s: %s", name, error)

    def _hold(self, first: bool = False) -> list[str]:
        """Note what was loaded; gives the graphs that others have otherwise.

        Args:
            first: whether what others have loaded holds, and not what is loaded here.
        """
        graphs = [each for each in self._repository.things if each.kind == "graph" and each.reason != UNLOADED]
        fresh = [each for each in graphs if self._written.get(each.name) is not each]
        if not fresh:
            return []
        with self._turn():
            mine = {each.name: self._digest(each) for each in fresh}
            held = {} if self._is_first() else self._read()
            differ = [name for name, digest in mine.items() if held.get(name, digest) != digest]
            if first and differ:
                return differ
            fcntl.lockf(self._lock, fcntl.LOCK_SH, 1, SERVES)
            said = {**held, **{name: digest for name, digest in mine.items() if digest}}
            write_whole(self._path, msgspec.json.encode(said))
        self._written.update((each.name, each) for each in fresh if mine[each.name])
        return []

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, TURN)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, TURN)

    def _is_first(self) -> bool:
        """Whether nothing of what was said holds: this process has said nothing, and all that have are gone."""
        if self._written:
            return False
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, SERVES)
        except OSError:  # another serves
            return False
        return True

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}

    def _digest(self, served: RepositoryEntry) -> str:
        """What a graph that is loaded answers with; empty where it is not."""
        if served.batcher is None:
            return ""
        models = [f"{each.model.name}={self._model_digest(each.located)}" for each in served.batcher.models]
        keyed = [f"{each.name}={each.digest}" for each in served.batcher.executor.lazy_keys]
        said = "\n".join([graph_digest(served.graph.checked), *sorted(models + keyed)])
        return hashlib.sha256(said.encode()).hexdigest()

    def _model_digest(self, located: ResolvedModel) -> str:
        """The digest of a model's files, or of the module that it is made by: no process imports one again."""
        find = getattr(located.handler, "code_file", None)
        path = None if find is None or located.files else find(located.source.location)
        if path is None:
            return located.digest
        if path not in self._code:
            self._code[path] = digest(path)
        return self._code[path]
