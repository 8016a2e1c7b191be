"""Models that write down that they were loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


class Times:
    """Multiplies by a number. Where a log is given each loading is a line of it, the number; `pid_file` has its process's."""

    def __init__(self, by: float = 2.0, log: str = "", pid_file: str = "") -> None:
        self._by = by
        if pid_file:
            Path(pid_file).write_text(str(os.getpid()))
        if log:
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{by:g}\n")

    def __call__(self, x: Any) -> Any:
        return np.asarray(x) * self._by


class Broken:
    """Answers nothing."""

    def __call__(self, x: Any) -> Any:
        raise RuntimeError("the second model is broken")
