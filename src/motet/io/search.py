"""Looking for files: what a folder or a pattern holds, on this machine and on object stores, by one rule.

A folder is searched through all folders in it. Of those, and of what a pattern matches, names that begin with `_` or `.`
are hidden (what a pattern spells out is not), and so is the work folder of a run. Links are followed; a folder is gone into
once, and a file is found once, under the name that is no link where it has one.
"""

from __future__ import annotations

import fnmatch
import heapq
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from motet.errors import InputError
from motet.io.places import Place
from motet.io.remote import ask

__all__ = ["FolderEntry", "Searched", "is_pattern", "search", "split_pattern"]

_MAGIC = re.compile(r"[*?[]")
_HTTP_MAGIC = re.compile(r"\*")


class FolderEntry(NamedTuple):
    """What a folder holds under a name.

    Attributes:
        path: its path.
        is_folder: whether it is a folder, or a link to one.
        is_link: whether it is a link.
        is_regular: whether it is no pipe, socket or device.
        info: what fsspec says of it.
    """

    path: str
    is_folder: bool = False
    is_link: bool = False
    is_regular: bool = True
    info: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass
class Searched:
    """What was found: files by path, those that are hidden, and how many names led to a file that was found already.

    Attributes:
        files: sorted by path.
        hidden: sorted by path.
        again: links to files and folders that were found under another name.
        folders: folders that a pattern fits, beside files.
    """

    files: list[FolderEntry] = field(default_factory=list)
    hidden: list[FolderEntry] = field(default_factory=list)
    again: int = 0
    folders: int = 0


def is_pattern(place: Place) -> bool:
    """Whether a place is a pattern: `*`, `?` or `[` in its path; in a web address only `*`, and not in its query.

    What is there under that very name, on this machine, is none.
    """
    if place.fs is None and os.path.lexists(place.path):
        return False
    if place.key[0] == "http":
        return _HTTP_MAGIC.search(place.path.partition("?")[0]) is not None
    return _MAGIC.search(place.path) is not None


def search(place: Place) -> Searched:
    """Find the files of a folder, or of a pattern.

    Raises:
        InputError: when a folder cannot be read.
    """
    root, parts = split_pattern(place.path) if is_pattern(place) else (place.path, [])
    if place.fs is None and not os.path.isdir(root or "."):
        return Searched()
    tree: _Tree = _Here() if place.fs is None else _Elsewhere(place, root)
    if not parts:
        return _searched(tree, [*_below(tree, root)])
    matched = list(_matched(tree, root, parts, hidden=False))
    files = [each for each in matched if not each[0].is_folder]
    folders = [each for each in matched if each[0].is_folder]
    if any(not hidden for _, hidden in files):
        found = _searched(tree, files)
        found.folders = 0 if "**" in parts else sum(not hidden for _, hidden in folders)
        return found
    return _searched(tree, [*files, *(each for folder, above in folders for each in _below(tree, folder.path, above))])


def split_pattern(path: str) -> tuple[str, list[str]]:
    """The folder that a pattern begins in, and its parts from there."""
    parts = path.split("/")
    first = next(place for place, part in enumerate(parts) if _MAGIC.search(part))
    root = "/".join(parts[:first]) or ("/" if first else "")
    return root, [part for part in parts[first:] if part]


def _searched(tree: _Tree, found: list[tuple[FolderEntry, bool]]) -> Searched:
    """Each file once: the visible before the hidden, the one that is no link before links."""
    result = Searched()
    keys: set[str] = set()
    ranked = sorted(found, key=lambda each: (each[1], tree.is_linked(each[0]), each[0].path))
    for entry, hidden in ranked:
        key = tree.key(entry)
        if key not in keys:
            keys.add(key)
            (result.hidden if hidden else result.files).append(entry)
        elif not hidden:
            result.again += 1
    result.files.sort(key=lambda each: each.path)
    result.hidden.sort(key=lambda each: each.path)
    result.again += tree.passed
    return result


def _matched(tree: _Tree, folder: str, parts: list[str], *, hidden: bool) -> Iterator[tuple[FolderEntry, bool]]:
    """What fits a pattern below a folder, and whether it is hidden; as in a shell, only `.` fits a name that begins so."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        for inner, above in _folders(tree, folder, hidden):
            if not _has_dot(inner[len(folder) :]):
                yield from _matched(tree, inner, rest or ["*"], hidden=above)
        return
    for entry in tree.entries(folder, hidden=hidden):
        if not _fits(entry.name, part) or (entry.name.startswith(".") and not part.startswith(".")):
            continue
        inside = hidden or (_is_hidden(entry.name) and _MAGIC.match(part) is not None)
        if not rest:
            yield entry, inside
        elif entry.is_folder:
            yield from _matched(tree, entry.path, rest, hidden=inside)


def _has_dot(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _fits(name: str, part: str) -> bool:
    return fnmatch.fnmatchcase(name, part) if _MAGIC.search(part) else name == part


def _below(tree: _Tree, root: str, hidden: bool = False) -> Iterator[tuple[FolderEntry, bool]]:
    """All files below a folder, and whether they are hidden."""
    for folder, above in _folders(tree, root, hidden):
        for entry in tree.entries(folder, hidden=above):
            if not entry.is_folder:
                yield entry, above or _is_hidden(entry.name)


def _folders(tree: _Tree, root: str, hidden: bool) -> Iterator[tuple[str, bool]]:
    """A folder and all in it, each once: the visible before the hidden, and those that no link leads to before others."""
    waiting = [(hidden, 0, root)]
    seen: set[object] = set()
    while waiting:
        above, links, folder = heapq.heappop(waiting)
        place = tree.identity(folder)
        if place in seen:
            tree.passed += links > 0
            continue
        seen.add(place)
        yield folder, above
        for entry in tree.entries(folder, hidden=above):
            if entry.is_folder:
                heapq.heappush(waiting, (above or _is_hidden(entry.name), links + entry.is_link, entry.path))


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", ".")) or name.endswith(".unfinished")


class _Tree(ABC):
    """Folders, of which no links are known."""

    def __init__(self) -> None:
        self.passed = 0
        """Links to folders that were not gone into, since the folder had been found."""

    @abstractmethod
    def entries(self, folder: str, *, hidden: bool = False) -> list[FolderEntry]:
        """What a folder holds; one that is hidden need not be readable."""

    def identity(self, folder: str) -> object:
        """The same for all names of a folder."""
        return folder.rstrip("/")

    def key(self, entry: FolderEntry) -> str:
        """The same for all links to a file."""
        return entry.path

    def is_linked(self, entry: FolderEntry) -> bool:
        """Whether a link leads to it, or to its folder."""
        return False


class _Here(_Tree):
    """Folders of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self._real: dict[str, tuple[str, bool]] = {}
        self._entries: dict[str, list[FolderEntry]] = {}

    def entries(self, folder: str, *, hidden: bool = False) -> list[FolderEntry]:
        """See `_Tree`; it is looked into once."""
        if folder not in self._entries:
            self._entries[folder] = self._looked(folder, hidden)
        return self._entries[folder]

    def _looked(self, folder: str, hidden: bool) -> list[FolderEntry]:
        try:
            with os.scandir(folder or ".") as found:
                return [_entry(os.path.join(folder, each.name), each) for each in found]
        except OSError as error:  # a folder that cannot be read is not the same as an empty one
            if hidden:
                return []
            raise InputError(f"the folder {folder or '.'!r} cannot be read: {error.strerror}") from error

    def identity(self, folder: str) -> object:
        """See `_Tree`."""
        found = os.stat(folder or ".")
        return found.st_dev, found.st_ino

    def key(self, entry: FolderEntry) -> str:
        """See `_Tree`."""
        if entry.is_link:
            return os.path.realpath(entry.path)
        return f"{self._folder(entry)[0]}/{entry.name}"

    def is_linked(self, entry: FolderEntry) -> bool:
        """See `_Tree`."""
        return entry.is_link or self._folder(entry)[1]

    def _folder(self, entry: FolderEntry) -> tuple[str, bool]:
        """The real path of a file's folder, and whether it is another."""
        folder = entry.path.rpartition("/")[0]
        if folder not in self._real:
            named = folder or ("/" if entry.path.startswith("/") else ".")
            real = os.path.realpath(named)
            self._real[folder] = real, real != os.path.abspath(named)
        return self._real[folder]


def _entry(path: str, found: os.DirEntry[str]) -> FolderEntry:
    is_link = found.is_symlink()
    try:
        if found.is_dir():
            return FolderEntry(path, is_folder=True, is_link=is_link)
        is_regular = found.is_file() or not found.stat()
    except OSError:  # a link to nothing, or to itself: whoever reads it says so
        is_regular = True
    return FolderEntry(path, is_link=is_link, is_regular=is_regular)


class _Elsewhere(_Tree):
    """Folders of an fsspec file system, of which one listing tells all."""

    def __init__(self, place: Place, root: str) -> None:
        super().__init__()
        self._folders: dict[str, dict[str, FolderEntry]] = {}
        root = root.rstrip("/")
        for path, info in ask(str(place), place.fs, "find", root, detail=True).items():
            if info.get("type") != "directory" and not path.endswith("/"):
                self._add(path, info, root)

    def _add(self, path: str, info: Mapping[str, Any], root: str) -> None:
        entry = FolderEntry(path, info=info)
        while True:
            folder = entry.path.rpartition("/")[0]
            held = self._folders.setdefault(folder, {})
            known = entry.name in held
            held.setdefault(entry.name, entry)
            if known or folder == root or not folder:
                return
            entry = FolderEntry(folder, is_folder=True)

    def entries(self, folder: str, *, hidden: bool = False) -> list[FolderEntry]:
        """See `_Tree`."""
        return list(self._folders.get(folder.rstrip("/"), {}).values())
