"""What each process of a server shows the others: a file beside its cells, written whole, read while the process lives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Board"]

Shown = Mapping[str, Any]


class Board:
    """Shows something of this process, and knows what the others show. Any thread, one at a time.

    Args:
        folder: what the processes of the server share.
        id: of this process's files; begins with the number of the process.
        suffix: of the files that this is shown in.
    """

    def __init__(self, folder: Path, id: str, suffix: str) -> None:
        self._folder, self._suffix = folder, suffix
        self._path = folder / f"{id}{suffix}"
        self._written = b""

    def show(self, shown: Sequence[Shown]) -> None:
        """Let the other processes see this, in place of what was there."""
        data = msgspec.json.encode(shown)
        if data != self._written:
            temporary = self._path.with_suffix(f"{self._suffix}-writing")
            with contextlib.suppress(FileNotFoundError):  # the folder goes when the server ends
                temporary.write_bytes(data)
                temporary.replace(self._path)
                self._written = data

    def everywhere(self) -> list[dict[str, Any]]:
        """What every process shows that lives, with `process`, the one it is of."""
        found: list[dict[str, Any]] = []
        for path in sorted(self._folder.glob(f"*{self._suffix}")):
            pid = int(path.name.partition("-")[0])
            if not _lives(pid):
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found += [{**each, "process": pid} for each in msgspec.json.decode(path.read_bytes())]
        return found

    def close(self) -> None:
        """Show nothing any more."""
        self._path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
