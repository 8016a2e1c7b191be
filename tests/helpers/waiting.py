"""Models that wait, as for an address; for each other, where `together` is a barrier."""

import threading
from typing import Any

together: threading.Barrier | None = None


def first(x: Any) -> Any:
    _wait()
    return x


def second(x: Any) -> Any:
    _wait()
    return x + 2


def _wait() -> None:
    if together is None:
        threading.Event().wait(0.02)
    else:
        together.wait()
