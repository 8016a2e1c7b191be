"""Patterns and folders over made-up trees find what Python's `glob` and `os.walk` find, less what is hidden, each file once."""

from __future__ import annotations

import glob
import os
import random
from pathlib import Path

import duckdb
import fsspec
import pytest

from motet.errors import InputError
from motet.io.files import look_for

TREES = 40
NAMES = ("a", "b", "year=1", "_t", ".h", "x y", "[1]", "c.csv")
FILES = ("p.csv", "q.csv", "_r.csv", ".s.csv", "z.txt", "p*.csv")
PATTERNS = (
    "in/**/*.csv", "in/*/*.csv", "in/*", "in/**", "in/a/**/p.csv", "in/*/b/*", "in/**/b/*.csv", "in/?/**/*.csv", "in/[ab]/*.csv",
    "in/**/a/**/*.csv", "in/year=*/*", "in/**/c.csv/*.csv",
)  # fmt: skip


def plant(root: Path, seed: int, *, links: bool) -> None:
    """A tree of folders, files, and links to both: sideways, to what is hidden, to nothing, and in a circle."""
    chance = random.Random(seed)
    folders = [root]
    root.mkdir()
    for _ in range(chance.randint(2, 7)):
        folder = chance.choice(folders) / chance.choice(NAMES)
        if not folder.exists():
            folder.mkdir()
            folders.append(folder)
    for _ in range(chance.randint(3, 14)):
        path = chance.choice(folders) / chance.choice(FILES)
        path.write_text(f"x\n{chance.random()}\n")
    if links:
        targets = [path for folder in folders for path in folder.iterdir() if path.is_file()]
        targets += chance.sample(folders, 1)  # with more in circles `glob` would not end
        for number, target in enumerate(chance.sample(targets, min(3, len(targets)))):
            link = chance.choice(folders) / f"{chance.choice(('l.csv', '_l', 'year='))}{number}"
            link.symlink_to(os.path.relpath(target, link.parent))


def visible(path: str) -> bool:
    return not any(part.startswith(("_", ".")) for part in path.split("/")[1:])


def found(what: str) -> list[str]:
    try:
        return [file.path for file in look_for(what).files]
    except InputError:
        return []


@pytest.mark.parametrize("seed", range(TREES))
def test_patterns_find_what_glob_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    plant(Path("in"), seed, links=seed % 2 == 1)
    for pattern in PATTERNS:
        matched = [path for path in glob.glob(pattern, recursive=True) if visible(path)]
        wanted = {os.path.realpath(path) for path in matched if os.path.isfile(path)}
        if not wanted:  # folders alone are read
            wanted = {os.path.realpath(path) for each in matched for path in below(each)}
        paths = found(pattern)
        assert sorted(map(os.path.realpath, paths)) == sorted(wanted), pattern
        assert paths == sorted(paths)


def below(root: str) -> list[str]:
    """All visible files below a folder; Python's `glob` follows links, and gives up on circles."""
    inner = glob.glob(f"{glob.escape(root)}/**", recursive=True)
    return [path for path in inner if os.path.isfile(path) and visible(path)]


@pytest.mark.parametrize("seed", range(TREES))
def test_a_folder_holds_what_a_walk_through_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.chdir(tmp_path)
    plant(Path("in"), seed, links=seed % 2 == 1)
    for folder in ("in", "./in", f"{tmp_path}/in", "in/"):
        assert sorted(map(os.path.realpath, found(folder))) == sorted({os.path.realpath(path) for path in below("in")})


@pytest.mark.parametrize("seed", range(0, TREES, 2))
def test_other_file_systems_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    plant(Path("in"), seed, links=False)
    files = fsspec.filesystem("memory")
    files.store.clear()
    for path in Path("in").rglob("*"):
        if path.is_file():
            files.pipe_file(f"/{path}", path.read_bytes())
    for pattern in ("in", *PATTERNS):
        assert [path.lstrip("/") for path in found(f"memory://{pattern}")] == found(pattern), pattern
    files.store.clear()


@pytest.mark.parametrize("seed", range(0, TREES, 4))
def test_duckdb_finds_the_same_where_nothing_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.chdir(tmp_path)
    plant(Path("in"), seed, links=False)
    for pattern in ("in/**/*.csv", "in/*/*.csv", "in/[ab]/*.csv", "in/year=*/*.csv"):
        wanted = [path for (path,) in duckdb.execute("select file from glob(?)", [pattern]).fetchall() if visible(path)]
        if wanted:
            assert sorted(found(pattern)) == sorted(wanted), pattern
