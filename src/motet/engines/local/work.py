"""Where a run keeps what is finished until its output is there: a folder on a disk, or in a store.

It stands beside the output, so that a run goes on from it wherever it is started again: as `OUTPUT.unfinished`, and in an
output that is a folder as `_unfinished`. All names in it begin with `_`, which readers of folders leave out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from motet.errors import RunError
from motet.io.places import Place, file_system
from motet.io.remote import asking, check_bucket
from motet.io.target import writing
from motet.io.uploads import abort_uploads, remove_files
from motet.system.locks import lock_file
from motet.system.whole_files import beside

__all__ = ["UNFINISHED", "DiskFolder", "StoreFolder", "WorkFolder", "work_folder"]

UNFINISHED = "_unfinished"
"""The folder of an output that is a folder."""
_PARTS = "_parts"
"""Files of the output that are not where they belong yet."""
_LOCK = "_lock"


class WorkFolder:
    """Files by name, each whole or not there. One run at a time may hold it.

    This one keeps nothing, for what cannot be gone on with; others are on a disk, or in a store.
    """

    where: str = ""
    """The folder, for messages."""
    compression: str | None = None
    """How Arrow's files in it are compressed."""
    device: int | None = None
    """The file system of this machine that it is on, once it is held; None for one elsewhere."""

    def lock(self) -> None:
        """Hold it, and make it where it is not there. What is half written goes.

        Raises:
            RunError: when another run holds it.
        """

    def check(self, *, now: bool = False) -> None:
        """See that it is still held, as far as is known; or look.

        Raises:
            RunError: when it is not.
        """

    def names(self) -> list[str]:
        """The files in it, in order."""
        return []

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A context with an Arrow file to write; the file is there when the context is left."""
        yield pa.MockOutputStream()

    def reading(self, name: str) -> Any:
        """An Arrow file to read.

        Raises:
            OSError: when there is none.
        """
        raise FileNotFoundError(name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, in this order."""

    def release(self, *, empty: bool) -> None:
        """Let another run have it; where there is nothing to go on with it goes."""

    def part(self, name: str) -> str:
        """The path, in the output's file system, of a file that will be moved into the output."""
        raise FileNotFoundError(name)


class DiskFolder(WorkFolder):
    """A folder on this machine, held by a lock of the system, which nobody can take away and which ends with the process.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.where = path, str(path)
        self._made: list[Path] = []
        self._held: int | None = None

    def lock(self) -> None:
        """See `WorkFolder`."""
        with writing(self.where):
            self._made = [each for each in (self._path, self._path.parent) if not each.exists()]
            self._held = self._locked()
            self.device = self._path.stat().st_dev
        if self._path not in self._made:
            shutil.rmtree(self._path / _PARTS, ignore_errors=True)

    def _locked(self) -> int:
        while True:
            self._path.mkdir(parents=True, exist_ok=True)
            try:
                held = lock_file(str(self._path / _LOCK))
            except FileNotFoundError:  # who had it has removed the folder
                continue
            if held is None:
                raise RunError(
                    "another run is writing this output", where=self.where, hint="wait for it, or write elsewhere"
                )
            return held

    def names(self) -> list[str]:
        """See `WorkFolder`."""
        return sorted(name for name in os.listdir(self._path) if name not in (_LOCK, _PARTS))

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """See `WorkFolder`; by rename."""
        with writing(self.where), beside(self._path / name) as part:
            with pa.OSFile(os.fsencode(part), "wb") as file:
                yield file
            with open(part, "rb+") as written:
                os.fsync(written.fileno())

    def reading(self, name: str) -> Any:
        """See `WorkFolder`."""
        return pa.OSFile(os.fsencode(self._path / name))

    def remove(self, names: Iterable[str]) -> None:
        """See `WorkFolder`."""
        for name in names:
            (self._path / name).unlink(missing_ok=True)

    def release(self, *, empty: bool) -> None:
        """See `WorkFolder`."""
        if empty:
            shutil.rmtree(self._path, ignore_errors=True)
            for made in self._made[1:]:
                if made.is_dir() and not any(made.iterdir()):
                    made.rmdir()
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def part(self, name: str) -> str:
        """See `WorkFolder`."""
        path = os.path.join(self.where, _PARTS, name)
        with writing(self.where):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        return path


class StoreFolder(WorkFolder):
    """A folder in a store.

    Args:
        url: the folder.
        output: the output.
    """

    compression = "lz4"

    def __init__(self, url: str, output: str) -> None:
        from motet.engines.local.lease import OutputLease  # few outputs are in a store

        self.where = url
        self._fs, self._path = file_system(url)
        self._output = output
        self._lease = OutputLease(self._fs, f"{self._path}/{_LOCK}", output)
        self._is_empty = True

    def lock(self) -> None:
        """See `WorkFolder`; by a lease. Uploads of a run that died are given up."""
        check_bucket(self._output, self._fs, self._path)
        if self._lease.take():
            with asking(self._output, self._fs):
                abort_uploads(self._fs, file_system(self._output.rstrip("/"))[1])
                abort_uploads(self._fs, self._path)
                self._remove(name for name in self._all() if name.startswith(f"{_PARTS}/"))
            self._is_empty = False

    def check(self, *, now: bool = False) -> None:
        """See `WorkFolder`."""
        if now:
            self._lease.verify()
        self._lease.check()

    def names(self) -> list[str]:
        """See `WorkFolder`."""
        with asking(self._output, self._fs):
            found = [name for name in self._all() if "/" not in name and name != _LOCK]
        self._is_empty = self._is_empty and not found
        return found

    def _all(self) -> list[str]:
        self._fs.invalidate_cache()
        return sorted(path[len(self._path) + 1 :] for path in self._fs.find(self._path))

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """See `WorkFolder`; by one request."""
        buffer = pa.BufferOutputStream()
        yield buffer
        self._is_empty = False
        with asking(self._output, self._fs):
            self._fs.pipe_file(f"{self._path}/{name}", buffer.getvalue().to_pybytes())

    def reading(self, name: str) -> Any:
        """See `WorkFolder`."""
        with asking(self._output, self._fs):
            return pa.BufferReader(self._fs.cat_file(f"{self._path}/{name}"))

    def remove(self, names: Iterable[str]) -> None:
        """See `WorkFolder`."""
        with asking(self._output, self._fs):
            self._remove(names)

    def _remove(self, names: Iterable[str]) -> None:
        remove_files(self._fs, [f"{self._path}/{name}" for name in names])

    def release(self, *, empty: bool) -> None:
        """See `WorkFolder`."""
        if empty and not self._is_empty:
            with asking(self._output, self._fs):
                self._remove(name for name in self._all() if name != _LOCK)
        self._lease.release()

    def part(self, name: str) -> str:
        """See `WorkFolder`."""
        self._is_empty = False
        return f"{self._path}/{_PARTS}/{name}"


def work_folder(output: Place, *, is_folder: bool) -> WorkFolder:
    """Where a run keeps what is finished until its output is there; the same for all spellings of the output."""
    plain = output.key[1] if output.is_local else output.text.rstrip("/")
    path = f"{plain}/{UNFINISHED}" if is_folder else f"{plain}.unfinished"
    return DiskFolder(Path(path)) if output.is_local else StoreFolder(path, output.text)
