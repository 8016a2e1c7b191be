"""The local cache of remote model files.

    ROOT/models/URI-KEY/            one folder a URI
        lock                        held while an entry is written or removed
        VERSION-KEY/                one entry for each state of the remote file
            manifest.json           URI, version, and of each file its size and SHA-256; its time is the last use
            files/NAME ...          the files, under their own names
        .new-KEY/  .old-KEY/        an entry that is being written, or removed

An entry appears by rename, whole or not at all. It is checked when it is used: sizes always, digests at the first use
in a process. Processes hold a shared lock on the entries they use; the least recently used entries that nobody holds
are removed when the cache is larger than its bound. What a killed process had begun to write or to remove goes when any
entry is written next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from motet.errors import InputError
from motet.models.digest import digest
from motet.system.locks import lock_file
from motet.system.places import cache_folder, changed_at

__all__ = ["EntryManifest", "FileCache", "cache_bound", "cache_root"]

DEFAULT_BYTES = 10 << 30
_held: dict[str, int] = {}


class EntryManifest(msgspec.Struct, frozen=True):
    """What the manifest of an entry says.

    Attributes:
        uri: the remote file.
        version: what the remote said of its state.
        files: relative paths with size in bytes and SHA-256, the model's own file first.
    """

    uri: str
    version: str
    files: list[tuple[str, int, str]]


def cache_root(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the cache: the one given, else `$MOTET_CACHE_DIR/models`, else `~/.cache/motet/models`."""
    if given is not None:
        return Path(given)
    return cache_folder() / "models"


def cache_bound() -> int:
    """How many bytes the cache may hold: `$MOTET_CACHE_BYTES`, by default 10 GiB.

    Raises:
        InputError: when the variable is no whole number above 0.
    """
    text = os.environ.get("MOTET_CACHE_BYTES", str(DEFAULT_BYTES))
    if not text.isdecimal() or int(text) == 0:
        raise InputError(
            f"{text!r} is no number of bytes",
            where="environment variable MOTET_CACHE_BYTES",
            hint="write a whole number above 0",
        )
    return int(text)


class FileCache:
    """The entries under one root folder; used by any number of threads and processes."""

    def __init__(self, root: Path, bound: int) -> None:
        self.root, self.bound = root, bound

    @contextlib.contextmanager
    def locked(self, uri: str) -> Iterator[None]:
        """Be the only one, in all processes, to look for and write entries of this URI."""
        folder = self._folder(uri)
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                fcntl.flock(stack.enter_context(open(folder / "lock", "a")), fcntl.LOCK_EX)
            except OSError:
                if not folder.is_dir():
                    raise
            yield  # without a lock in a cache that nobody can write to, as a part of an image is

    def find(self, uri: str, version: str | None) -> Path | None:
        """The model's file in the cache, checked; None where there is none or it is damaged.

        Args:
            uri: the remote file.
            version: what the remote says of its state; None takes the entry that was used last.
        """
        folder = self._folder(uri)
        entries = self._last_used_first(folder) if version is None else [folder / _key(version)]
        return next((path for entry in entries if (path := self._use(entry)) is not None), None)

    def add(self, uri: str, version: str, write: Callable[[Path], Sequence[str]]) -> Path:
        """Add an entry, replacing one of the same version, and remove what is too much. Call it inside `locked`.

        Args:
            uri: the remote file.
            version: what the remote says of its state.
            write: writes the files into the folder it is given and returns their relative paths, the model's first.

        Returns:
            the model's file.
        """
        folder = self._folder(uri)
        entry, made = folder / _key(version), folder / f".new-{_key(version)}"
        try:
            self._sweep(folder)
            (made / "files").mkdir(parents=True)
            names = write(made / "files")
            files = [(name, (made / "files" / name).stat().st_size, digest(made / "files" / name)) for name in names]
            (made / "manifest.json").write_bytes(msgspec.json.encode(EntryManifest(uri, version, files)))
            self._remove(entry)
            made.rename(entry)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        _hold(entry)
        self.shrink(locked=folder)
        return entry / "files" / names[0]

    def shrink(self, *, locked: Path | None = None) -> None:
        """Remove what killed processes left, and the least recently used entries until the cache is within its bound.

        What another process holds, writes or removes stays.

        Args:
            locked: the folder of a URI whose lock the caller has.
        """
        for folder in {left.parent for left in self.root.glob("*/.*-*")}:
            with self._only_one(folder, locked) as alone:
                if alone:
                    self._sweep(folder)
        entries = self._last_used_first(self.root, "*/[!.]*/manifest.json")
        total = sum(map(_entry_bytes, entries))
        for entry in reversed(entries):
            if total <= self.bound:
                return
            size = _entry_bytes(entry)
            with self._only_one(entry.parent, locked) as alone, _exclusive(entry) as free:
                if alone and free:
                    self._remove(entry)
                    total -= size

    @contextlib.contextmanager
    def _only_one(self, folder: Path, locked: Path | None) -> Iterator[bool]:
        """Whether nobody else writes or removes entries of a URI; where so, nobody can until the block ends."""
        held = None
        with contextlib.suppress(OSError):  # entries of another user
            held = None if folder == locked else lock_file(str(folder / "lock"))
        try:
            yield folder == locked or held is not None
        finally:
            if held is not None:
                os.close(held)

    def _sweep(self, folder: Path) -> None:
        """Remove what killed processes had begun to write or remove of a URI, whose lock is held."""
        for left in folder.glob(".*-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _folder(self, uri: str) -> Path:
        return self.root / _key(uri)

    def _last_used_first(self, folder: Path, pattern: str = "[!.]*/manifest.json") -> list[Path]:
        manifests = sorted(folder.glob(pattern), key=changed_at, reverse=True)
        return [manifest.parent for manifest in manifests]

    def _use(self, entry: Path) -> Path | None:
        found = _read(entry) if _hold(entry) else None
        if found is None or not found.files:
            return None
        if not all(_intact(entry / "files" / name, size, sha256) for name, size, sha256 in found.files):
            return None
        with contextlib.suppress(OSError):  # it is not ours, or on a disk that is only read
            os.utime(entry / "manifest.json")
        return entry / "files" / found.files[0][0]

    def _remove(self, entry: Path) -> None:
        aside = entry.parent / f".old-{entry.name}"
        with contextlib.suppress(OSError):  # there is none, or it stays
            entry.rename(aside)
        _release(entry)
        shutil.rmtree(aside, ignore_errors=True)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(entry: Path) -> EntryManifest | None:
    try:
        return msgspec.json.decode((entry / "manifest.json").read_bytes(), type=EntryManifest)
    except (OSError, msgspec.DecodeError):
        return None


def _intact(path: Path, size: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size and digest(path) == sha256


def _entry_bytes(entry: Path) -> int:
    found = _read(entry)
    return 0 if found is None else sum(size for _, size, _ in found.files)


def _hold(entry: Path) -> bool:
    """Keep a shared lock on the entry's manifest as long as this process lives; False where there is no such entry."""
    if str(entry) not in _held:
        try:
            handle = os.open(entry / "manifest.json", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        fcntl.flock(handle, fcntl.LOCK_SH)
        _held[str(entry)] = handle
    return True


def _release(entry: Path) -> None:
    handle = _held.pop(str(entry), None)
    if handle is not None:
        os.close(handle)


@contextlib.contextmanager
def _exclusive(entry: Path) -> Iterator[bool]:
    """Whether nobody holds the entry; where so, nobody can until the block ends."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(entry / "manifest.json", "rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        yield free
