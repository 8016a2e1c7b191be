"""The small files that the processes of a server share, where they cannot be read or written for a while."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.until import until_async
from motet.serving.process.repository_sync import RepositorySync
from motet.serving.process.same_files import SameFiles
from motet.serving.repository.changes import RepositoryChanges


def test_what_others_load_is_followed_again_once_it_can_be_read(tmp_path, caplog):
    loaded: list[str] = []

    async def load(name, tell):
        loaded.append(name)

    async def followed():
        mine, other = RepositorySync(RepositoryChanges(tmp_path), _repository(load)), RepositoryChanges(tmp_path)
        place = tmp_path / "loaded.json"
        place.mkdir()
        mine.start()
        await until_async(lambda: "is not followed now" in caplog.text)
        place.rmdir()
        other.switched("graph", True)
        await until_async(lambda: loaded)
        mine.close()

    asyncio.run(followed())
    assert (loaded, caplog.text.count("is not followed now")) == (["graph"], 1)


def _repository(load) -> Any:
    return SimpleNamespace(load=load)


def test_a_graph_is_served_though_the_others_cannot_be_told(tmp_path, caplog):
    entry = SimpleNamespace(name="graph", kind="graph", reason="", batcher=None)
    repository: Any = SimpleNamespace(things=[entry], changed=[], stopping=False)
    folder = tmp_path / "told"
    folder.mkdir()
    asyncio.run(SameFiles(folder, repository).agree())
    (note,) = repository.changed
    repository.things = [SimpleNamespace(**{**vars(entry), "name": "other"})]
    folder.rename(tmp_path / "elsewhere")
    folder.touch()
    note()
    assert "are not told what was loaded" in caplog.text


def test_a_process_that_cannot_compare_its_files_keeps_no_other_from_it(tmp_path, monkeypatch):
    def unreadable(_digests, _entry):
        raise PermissionError(13, "Permission denied", "model.py")

    monkeypatch.setattr(SameFiles, "_digest", unreadable)
    entry = SimpleNamespace(name="graph", kind="graph", reason="", batcher=None)
    repository: Any = SimpleNamespace(things=[entry], changed=[], stopping=False)
    with pytest.raises(PermissionError):
        asyncio.run(SameFiles(tmp_path, repository).agree())
    locks = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    subprocess.run([sys.executable, "-c", locks, tmp_path / "digests.lock"], check=True, timeout=60)
