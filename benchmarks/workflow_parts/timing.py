"""What the tools' modules share: this file imports nothing of any tool."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

REPEATS = 7


def ms_a_step(
    run: Callable[[], int], steps: int, repeats: int = REPEATS, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Milliseconds a step of the median run; each must give the right answer."""
    found = []
    for _ in range(repeats):
        began = clock()
        answer = run()
        found.append((clock() - began) * 1000 / steps)
        assert answer == steps, answer
    return median(found)


def report(**figures: float | None) -> None:
    print(json.dumps(figures))


def arguments() -> tuple[str, int]:
    return sys.argv[1], int(sys.argv[2])
