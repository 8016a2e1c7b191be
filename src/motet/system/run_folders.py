"""Folders among temporary files, each of one program while it runs: a killed one's goes when the next of its kind is made."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from motet.system.locks import lock_file
from motet.system.places import changed_at, temporary_folder

__all__ = ["RunFolder"]

_LOCK = "lock"
_GRACE_S = 3600.0
"""What a program has started may use its folder for a while after it was killed."""


class RunFolder:
    """A folder that nobody else has, until it is closed.

    Args:
        prefix: what its name begins with, as that of others of its kind.

    Raises:
        RunError: when there is no folder for temporary files.
    """

    def __init__(self, prefix: str) -> None:
        among = temporary_folder()
        _sweep(among, prefix)
        self.path = tempfile.mkdtemp(prefix=prefix, dir=among)
        self._lock = lock_file(os.path.join(self.path, _LOCK))

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _sweep(among: str, prefix: str) -> None:
    """Remove folders whose program has ended, however it did, and a while ago."""
    for folder in Path(among).glob(f"{prefix}*"):
        if time.time() - changed_at(folder) < _GRACE_S:
            continue
        with contextlib.suppress(OSError):  # another user's
            if (held := lock_file(str(folder / _LOCK))) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)
