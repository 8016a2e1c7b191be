"""A model that takes a while to load, and next to nothing for a row."""

import time
from typing import Any

LOAD_S = 0.1


class Heavy:
    """`x + 1`."""

    def __init__(self) -> None:
        time.sleep(LOAD_S)

    def __call__(self, x: Any) -> Any:
        return x + 1
