"""Whether a model's answers are those that it gives in f32, within a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.batch import Array

__all__ = ["OF_OTHERS", "OF_PROBABILITIES", "Difference", "difference"]

OF_PROBABILITIES = 0.02
"""How far a probability may be from that of f32."""
OF_OTHERS = 0.01
"""How far any other float may be, as a part of itself, or of what its output's values are mostly like where that is more."""
_SUM = 1e-3


class Difference:
    """How far answers are from those of f32.

    Attributes:
        largest: the largest difference of a float; of others than probabilities as a part (see `OF_OTHERS`).
        why: why they are not those of f32; empty where they are.
    """

    def __init__(self) -> None:
        self.largest, self.why = 0.0, ""

    def add(self, largest: float, why: str) -> None:
        """Of one output more."""
        self.largest, self.why = max(self.largest, largest), self.why or why


def difference(exact: Mapping[str, Any], found: Mapping[str, Any], tolerance: float | None = None) -> Difference:
    """How far answers are from those of f32.

    Floats may be off by the tolerance; which of several is largest must be the same in every row where f32 has the largest
    ahead of the next by more than the tolerance. Other values (labels) must be the same in these rows; where no output is
    several floats a row, in all.

    Args:
        exact: the answers of f32, `[rows, ...]` by output.
        found: those to judge.
        tolerance: how far floats may be off; None is `OF_PROBABILITIES` and `OF_OTHERS`.
    """
    told = Difference()
    columns = {name: (np.asarray(exact[name]), np.asarray(found[name])) for name in exact}
    near = np.ones(len(next(iter(columns.values()))[0]), bool)  # rows where f32 is undecided itself
    decides = False
    for name, (right, given) in columns.items():
        if right.shape != given.shape or right.dtype != given.dtype:
            told.add(np.inf, f"{name} is {given.dtype}{list(given.shape)}, not {right.dtype}{list(right.shape)}")
        elif right.dtype.kind == "f":
            allowed, unit = _allowed(right, tolerance)
            told.add(*_of_floats(name, right, given, allowed, unit))
            if right.ndim == 2 and right.shape[1] > 1:
                undecided = _undecided(right, allowed)
                near, decides = near & undecided, True
                told.add(0.0, _of_decisions(name, right, given, undecided))
    near &= decides
    for name, (right, given) in columns.items():
        if right.dtype.kind != "f" and right.shape == given.shape:
            off = (right != given).reshape(len(right), -1).any(axis=1) & ~near
            told.add(0.0, f"{name} differs in {int(off.sum())} of {len(off)} rows" if off.any() else "")
    return told


def _allowed(right: Array, tolerance: float | None) -> tuple[Array, Array]:
    """How far each value may be off, and what its difference is divided by."""
    if _are_probabilities(right):
        each = np.ones_like(right, np.float64)
        return each * (OF_PROBABILITIES if tolerance is None else tolerance), each
    size = np.abs(right.astype(np.float64))
    finite = size[np.isfinite(size)]
    usual = np.sqrt(np.mean(finite**2)) if finite.size else 1.0
    unit = np.maximum(np.where(np.isfinite(size), size, 0.0), usual or 1.0)
    return unit * (OF_OTHERS if tolerance is None else tolerance), unit


def _are_probabilities(right: Array) -> bool:
    """Whether floats are shares of 1: each row of several adds up to it."""
    if right.ndim != 2 or right.shape[1] < 2 or not np.isfinite(right).all():
        return False
    inside = right.min(initial=0.0) >= 0 and right.max(initial=0.0) <= 1 + _SUM
    return bool(inside and np.allclose(right.sum(axis=1, dtype=np.float64), 1.0, atol=_SUM * 10))


def _of_floats(name: str, right: Array, given: Array, allowed: Array, unit: Array) -> tuple[float, str]:
    finite = np.isfinite(right)
    same = np.where(finite, np.isfinite(given), (right == given) | (np.isnan(right) & np.isnan(given)))
    if not same.all():
        return np.inf, f"{name} is infinite or NaN in other places than in f32"
    if not finite.any():
        return 0.0, ""
    off = np.abs(np.where(finite, given, 0).astype(np.float64) - np.where(finite, right, 0))
    largest = float((off / unit).max())
    rows = int((off > allowed).reshape(len(off), -1).any(axis=1).sum())
    return largest, f"{name} is off by up to {largest:.2g} in {rows} of {len(off)} rows" if rows else ""


def _undecided(right: Array, allowed: Array) -> Array:
    """The rows whose largest value is not ahead of the next by more than it may be off."""
    ordered = np.sort(right.astype(np.float64), axis=1)
    ahead = ordered[:, -1] - ordered[:, -2]
    undecided: Array = ~(ahead > allowed.max(axis=1))
    return undecided


def _of_decisions(name: str, right: Array, given: Array, undecided: Array) -> str:
    other = (right.argmax(axis=1) != given.argmax(axis=1)) & ~undecided
    return f"the largest of {name} is another in {int(other.sum())} of {len(other)} rows" if other.any() else ""
