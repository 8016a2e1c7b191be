"""What the processes of a machine have borrowed, in a folder: one file a process, which counts as long as it lives.

A process holds a lock (`fcntl`) on its file from the time it is made. The kernel takes the lock away when the process
ends, however that comes about; the next one to look sees that, and removes the file. So nothing that a dead process had
borrowed is kept from others. All files are read and written under one more lock, which is held for a moment only.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from motet.errors import InputError
from motet.locks import new_lock

__all__ = ["Ledger"]

SUFFIX = ".borrowed"
Page = Mapping[str, Any]


class Ledger:
    """A folder that processes share. Use `Ledger.of(folder)`: there must be one a process and folder.

    Closing a file takes away all locks that a process has on it, so no process opens its own file twice.
    """

    _known: ClassVar[dict[tuple[int, str], Ledger]] = {}
    _guard: ClassVar[threading.Lock] = new_lock()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = new_lock()
        self._turn = os.open(folder / "ledger.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._pages: dict[str, Page] = {}
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
        self._own: int | None = None

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> Ledger:
        """The ledger of a folder, which is made where it does not exist.

        Raises:
            InputError: when its files cannot be made and locked.
        """
        path = Path(folder).absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with cls._guard:
                key = os.getpid(), str(path.resolve())
                if key not in cls._known:
                    cls._known[key] = cls(path)
                found = cls._known[key]
            with found.turn():
                return found
        except OSError as error:
            raise InputError(
                f"{str(path)!r} cannot keep what is borrowed: {error.strerror}",
                where="pool.folder",
                hint="name a folder on a disk of this machine that can be written",
            ) from None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else reads or writes in the meantime; to be held for a moment only."""
        import fcntl

        with self._lock:
            fcntl.lockf(self._turn, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._turn, fcntl.LOCK_UN)

    def others(self) -> list[Page]:
        """What the other processes that live have written; with `turn`."""
        paths = [path for path in self._folder.glob(f"*{SUFFIX}") if path.name != self._name]
        return [page for path in paths for page in _pages(path)]

    def write(self, part: str, page: Page) -> None:
        """Say what a part of this process has borrowed and waits for; with `turn`.

        Args:
            part: whose page it is; an empty page is no page.
            page: what JSON can hold.
        """
        import fcntl

        self._pages.pop(part, None)
        if page:
            self._pages[part] = page
        if self._own is None:
            self._own = os.open(self._folder / self._name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.lockf(self._own, fcntl.LOCK_EX)
        data = json.dumps(list(self._pages.values())).encode()
        os.ftruncate(self._own, 0)
        os.pwrite(self._own, data, 0)

    def own(self, but: str) -> Sequence[Page]:
        """What other parts of this process have written."""
        return [page for part, page in self._pages.items() if part != but]


def _pages(path: Path) -> list[Page]:
    """What the parts of a process have written; nothing, and the file is removed, where it has ended."""
    import fcntl

    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # it lives: what POSIX allows for a lock that is taken
        size = os.fstat(file).st_size
        pages: list[Page] = json.loads(os.pread(file, size, 0) or b"[]")
        return pages
    else:
        path.unlink(missing_ok=True)
        return []
    finally:
        os.close(file)
