"""Finding how many rows a call should have before the first one that counts, by calls whose answers are thrown away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Array
from motet.runtime.isolate import is_of_rows, out_of_memory
from motet.runtime.sizes import START, BatchSize, CallTime

__all__ = ["Trials", "try_sizes"]

BYTES = 64 << 20
"""What a call that is tried is given at most."""
DIFFERENT = 1024
"""Rows that calls are made of; in larger ones they come again."""


@dataclass
class Trials:
    """What may be tried before rows are answered, by all models of a host.

    Attributes:
        seconds: what is left for models that have answered little.
    """

    seconds: float = 0.5


def try_sizes(size: BatchSize, call: Callable[[dict[str, Array], int], Any], columns: Mapping[str, Array]) -> bool:
    """Find how many rows the calls of a model should have.

    A call that raises is made again of fewer different rows, since one may be at fault, and in the end of one.

    Args:
        size: is told what calls took.
        call: calls the model with columns of so many rows.
        columns: rows of the kind that it will be given, at least one.

    Returns:
        Whether it was found; not where even that one row fails.
    """
    rows = len(next(iter(columns.values())))
    row_bytes = sum(column.nbytes for column in columns.values()) // rows
    size.at_most(max(START, BYTES // max(1, row_bytes)))
    different = min(rows, DIFFERENT)

    def timed(rows: int) -> float:
        chosen = np.arange(rows) % different
        part = {name: column[chosen] for name, column in columns.items()}
        begun = CallTime()
        call(part, rows)
        return begun.seconds()

    while True:
        try:
            size.find(timed)
            return True
        except BaseException as error:  # (models may raise anything)
            if not is_of_rows(error):
                raise
            if out_of_memory(error) and size.rows > 1:
                size.too_big(size.rows)
            elif different > 1:
                different = max(1, different // 8)
            else:
                return False
