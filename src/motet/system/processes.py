"""What is known of processes from outside."""

from __future__ import annotations

import signal
from pathlib import Path

__all__ = ["how_ended", "is_stopped"]


def how_ended(code: int) -> str:
    """What a return code means: `ended with exit code 3`, `was killed by SIGKILL`."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name if -code in set(signal.Signals) else f'signal {-code}'}"


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process; where the system does not say, it is not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False
