"""Rows of like length into calls of little padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Indices

__all__ = ["CALL_TOKENS", "cut_by_length"]

CALL_TOKENS = 4096
"""The most tokens of a call, padding counted, where nothing else is said."""
_WASTE = 0.15
"""The part of a call's real tokens that padding may add."""
_FREE = 32
"""Tokens of padding that cost less than a call of their own."""


def cut_by_length(
    lengths: Sequence[int], most: int = CALL_TOKENS, rows: int | None = None, *, alike: bool = False
) -> list[Indices]:
    """The places of rows for each call, the longest first.

    Args:
        lengths: how many tokens each row has.
        most: tokens of a call, padding counted; a row that is longer is a call of its own.
        rows: the most rows of a call, None for any number.
        alike: whether the rows of a call must have one length, so that there is no padding.
    """
    if not len(lengths):
        return []
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    first, real, longest, calls = 0, 0, 0, []
    for place, row in enumerate(order):
        length, count = int(lengths[row]), place - first
        padded = longest * (count + 1)
        waste = padded - real - length
        allowed = 0 if alike else max(_FREE, _WASTE * (real + length))
        if count and (padded > most or waste > allowed or count == rows):
            calls.append(order[first:place])
            first, real, count = place, 0, 0
        if not count:
            longest = length
        real += length
    calls.append(order[first:])
    return calls
