"""Products of each row's two matrices."""

from __future__ import annotations

import numpy as np

from motet.batch import Column, Ragged
from motet.errors import InputError
from motet.ops._arrays import Rows
from motet.ops._pairs import dtype_of
from motet.ops._stacks import matrices


def products(first: Rows, second: Rows) -> Column:
    """Shapes `[rows, n, d]` and `[rows, d, m]` to `[rows, n, m]`."""
    left, right = matrices("matmul", first, second, same_width=False)
    for row, (one, other) in enumerate(zip(left, right, strict=True)):
        if one.shape[1] != other.shape[0]:
            raise InputError(
                f"the matrices of row {row} do not fit: {list(one.shape)} and {list(other.shape)}", where="matmul"
            )
    with np.errstate(all="ignore"):
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return np.asarray(np.matmul(left, right))
        found = [np.matmul(one, other) for one, other in zip(left, right, strict=True)]
    return Ragged.from_rows(found, dtype_of((left, right)), 2)
