"""Functions that end a process in the middle of a run, once."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np

import motet as mt


@mt.returns("int64")
def kill_once(n: np.ndarray, pid_file: str) -> np.ndarray:
    """The numbers; who comes to 50 first ends the process that the file names, or itself where it names none."""
    if (n == 50).any():
        taken = f"{pid_file}-taken"
        with suppress(FileNotFoundError):
            os.rename(pid_file, taken)
            os.kill(int(Path(taken).read_text() or os.getpid()), signal.SIGKILL)
    return n


@mt.returns("int64")
def end(n: np.ndarray) -> np.ndarray:
    """The numbers; who comes to 50 ends its process as if all were done."""
    if (n == 50).any():
        os._exit(0)
    return n
