"""What is known of processes from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["how_ended", "is_stopped", "torchrun_rank"]


def how_ended(code: int) -> str:
    """What a return code means: `ended with exit code 3`, `was killed by SIGKILL`."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name if -code in set(signal.Signals) else f'signal {-code}'}"


def torchrun_rank() -> int:
    """The number of this process among those that torchrun has started; 0 elsewhere."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process; where the system does not say, it is not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False
