"""Files that one process at a time may write."""

from __future__ import annotations

import fcntl
import os
import time

from motet.system.patience import check_waited_for

__all__ = ["lock_file", "wait_for_lock"]

_POLL_S = 0.05


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


def wait_for_lock(path: str, most_s: float) -> int | None:
    """As `lock_file`, once nobody else has it; None where another has it still after so many seconds.

    Raises:
        DeadlineError: when nobody waits for it any more.
        OSError: when it cannot be opened.
    """
    end = time.monotonic() + most_s
    while (held := lock_file(path)) is None and time.monotonic() < end:
        check_waited_for()
        time.sleep(_POLL_S)
    return held
