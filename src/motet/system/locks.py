"""Files that one process at a time may write."""

from __future__ import annotations

import fcntl
import os


def lock_file(path: str) -> int | None:
    """Open a file, made where there is none, that this process alone may write until it is closed; None where another has it.

    Raises:
        OSError: when it cannot be opened.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:  # who had it has renamed it meanwhile
            pass
        except BlockingIOError:
            os.close(handle)
            return None
        os.close(handle)
