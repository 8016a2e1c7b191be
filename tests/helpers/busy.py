"""Code that cannot bear that two threads call it at once, and says so; it counts how many did."""

import threading
from typing import Any


class Busy:
    """Doubles what it gets, while no other thread is in it."""

    def __init__(self) -> None:
        self.inside, self.most, self.lock = 0, 0, threading.Lock()

    def __call__(self, x: Any) -> Any:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            busy = self.inside > 1
        try:
            threading.Event().wait(0.001)
            if busy or self.inside > 1:
                raise RuntimeError("already borrowed")
            if (x == 500).any():
                raise LookupError("500")
            return x * 2
        finally:
            with self.lock:
                self.inside -= 1


shared = Busy()
limited = Busy()


def double(x: Any) -> Any:
    return shared(x)
