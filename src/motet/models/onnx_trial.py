"""A few made-up rows, alone and together: whether rows that share a call change each other's answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np

from motet.batch import Array
from motet.types import ColumnType, Signature

__all__ = ["Finding", "one_by_one", "try_rows"]

Run = Callable[[dict[str, Array]], list[Any]]
_ROWS = 4
_LARGE = 100.0
"""The last row's numbers are this much larger than the others', as those of an outlier are."""
_VARYING = 3
"""How long an axis is made that varies from row to row."""
_MOST_BYTES = 64 << 20
_DIFFERENT = 1e-3
"""Of the largest answer. What adds in another order is off by far less, and a scale taken from an outlier by far more."""


class Finding(Enum):
    """What a trial found."""

    APART = "apart"
    """Rows answer alike alone and together, or no rows could be made up that are answered."""
    TOGETHER = "together"
    """Rows answer otherwise together than alone."""
    ALONE = "alone"
    """Rows are answered alone, and not together."""


def try_rows(run: Run, signature: Signature) -> Finding:
    """Ask for a few made-up rows alone and together.

    Args:
        run: answers columns by name with one array an output.
        signature: what the model takes and gives.
    """
    fixed = signature.fixed_rows
    columns = {name: _column(kind, fixed or _ROWS) for name, kind in signature.inputs.items()}
    if fixed == 1 or any(column is None for column in columns.values()):
        return Finding.APART
    given = {name: column for name, column in columns.items() if column is not None}
    alone = _tried(lambda columns: one_by_one(run, columns, fixed or 1), given)
    if alone is None:
        return Finding.APART
    together = _tried(run, given)
    if together is None:
        return Finding.ALONE
    floats = [pair for pair in zip(alone, together, strict=True) if np.asarray(pair[0]).dtype.kind == "f"]
    pairs = floats or list(
        zip(alone, together, strict=True)
    )  # whole numbers and texts turn over where scores are close
    return Finding.APART if all(_alike(*pair) for pair in pairs) else Finding.TOGETHER


def one_by_one(run: Run, columns: Mapping[str, Array], rows: int) -> list[Any]:
    """The answers of one call a row, each filled up to `rows` rows with copies of it.

    Args:
        run: answers columns by name with one array an output.
        columns: arrays `[rows, ...]` by name.
        rows: how many rows each call has.
    """
    count = len(next(iter(columns.values())))
    calls = (
        {name: np.repeat(column[row : row + 1], rows, axis=0) for name, column in columns.items()}
        for row in range(count)
    )
    answers = [[answer[:1] for answer in run(call)] for call in calls]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _tried(run: Run, columns: dict[str, Array]) -> list[Any] | None:
    try:
        return run(columns)
    except Exception:  # noqa: BLE001 (that it fails is the finding)
        return None


def _alike(alone: Array, together: Array) -> bool:
    if alone.shape != together.shape:
        return False
    if alone.dtype.kind != "f":
        return bool(np.array_equal(alone, together))
    finite = np.abs(alone[np.isfinite(alone)])
    return np.allclose(alone, together, rtol=_DIFFERENT, atol=_DIFFERENT * finite.max(initial=0.0), equal_nan=True)


def _column(kind: ColumnType, rows: int) -> Array | None:
    """Rows of a type; None where none can be made up."""
    shape = (rows, *(axis or _VARYING for axis in kind.shape))
    if kind.dtype in ("any", "bytes") or math.prod(shape) * kind.numpy_dtype.itemsize > _MOST_BYTES:
        return None
    random = np.random.default_rng(0)
    if kind.dtype == "string":
        return random.choice(np.array(["a", "b c", "d"], object), shape)
    if kind.numpy_dtype.kind == "f":
        values = random.normal(size=shape)
        values[-1] *= _LARGE
        return values.astype(kind.numpy_dtype)
    return random.integers(0, 2, shape).astype(kind.numpy_dtype)
