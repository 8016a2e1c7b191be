"""A model that counts how often it is made, and how many are open."""

import threading
from typing import Any


class Counted:
    """`x * scale`. Everything is counted by class: `made` ever, `open` now."""

    made = open = 0
    lock = threading.Lock()

    def __init__(self, scale: float = 1.0) -> None:
        with self.lock:
            Counted.made += 1
            Counted.open += 1
        self.scale = scale

    def __call__(self, x: Any) -> Any:
        return x * self.scale

    def close(self) -> None:
        with self.lock:
            Counted.open -= 1


class Waiting(Counted):
    """Waits in a call until it may go on."""

    entered, go_on = threading.Event(), threading.Event()

    def __call__(self, x: Any) -> Any:
        self.entered.set()
        assert self.go_on.wait(60)
        return super().__call__(x)


def process_of(x: Any) -> Any:
    """The number of the process that answers, for each row."""
    import os

    import numpy as np

    return np.full(len(x), os.getpid())


class Slow(Counted):
    """Takes a while to be made: threads that come meanwhile find it half made, if they can."""

    def __init__(self) -> None:
        super().__init__()
        for _ in range(2000):
            pass
