"""A model whose replicas can be told, by their process, to answer wrongly: for tests of replicas under load."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from helpers.until import until


class Steady:
    """Three times x, plus one; the replicas whose processes the file `wrong` lists give too few rows."""

    def __init__(self, wrong: str = "", seconds: float = 0.0) -> None:
        self.wrong, self.seconds = wrong, seconds

    def __call__(self, x: Any) -> Any:
        if self.seconds:
            time.sleep(self.seconds)
        if self.wrong and os.path.exists(self.wrong) and str(os.getpid()) in Path(self.wrong).read_text().split():
            return x[:0]
        return np.asarray(x * 3 + 1, dtype=x.dtype)


class Who:
    """The process that answers."""

    def __call__(self, x: Any) -> Any:
        return np.full(len(x), os.getpid(), dtype=np.int64)


class Noting:
    """Gives x back, and writes down every batch; negative numbers are refused."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def __call__(self, x: Any) -> Any:
        if (x < 0).any():
            raise ValueError("negative")
        with open(self.path, "a") as file:
            file.write(f"{x.tolist()}\n")
        return x


class Newer:
    """Four times x, plus one."""

    def __call__(self, x: Any) -> Any:
        return np.asarray(x * 4 + 1, dtype=x.dtype)


class Dying:
    """Ends its process as soon as it is made."""

    def __init__(self) -> None:
        os._exit(7)

    def __call__(self, x: Any) -> Any:
        return x


class Meeting:
    """Three times x, plus one, once so many processes answer at the same time; negative numbers are refused."""

    def __init__(self, path: Any, guests: Any = 2) -> None:
        self.path, self.guests = Path(path), guests

    def __call__(self, x: Any) -> Any:
        (self.path / str(os.getpid())).touch()
        until(lambda: len(list(self.path.iterdir())) >= self.guests, 30)
        if (x < 0).any():
            raise ValueError("negative")
        return np.asarray(x * 3 + 1, dtype=x.dtype)
