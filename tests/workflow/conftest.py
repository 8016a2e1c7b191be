"""What the tests of workflows share: a home of its own for each, and projects made of text."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motet.workflow.memo.cache import Cache
from motet.workflow.play import start


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs and caches of each test are its own."""
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "home"))
    monkeypatch.delenv("MOTET_WORKFLOW_CACHE", raising=False)
    return tmp_path / "home" / "workflow"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time of the cache."""
    now = [2_000_000_000.0]
    monkeypatch.setattr(start, "Cache", lambda root: Cache(root, lambda: now[0]))
    return now


class Project:
    """Modules made of text in a folder, loaded anew when they are written anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def write(self, **modules: str) -> None:
        """Write modules, and forget those that were loaded."""
        for name, text in modules.items():
            path = self.folder.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.forget()

    def load(self, name: str) -> Any:
        """A module, loaded anew if it was written anew."""
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            return importlib.import_module(name)
        finally:
            sys.dont_write_bytecode = before

    def forget(self) -> None:
        """Unload the modules of the folder."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]
        importlib.invalidate_caches()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder of modules that can be imported."""
    made = Project(tmp_path / "project")
    monkeypatch.syspath_prepend(str(made.folder))
    yield made
    made.forget()
