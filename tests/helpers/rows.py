"""What became of each row."""

from typing import Any

import numpy as np


def play(graph: Any, columns: Any) -> Any:
    """For each row what was answered (a dict by output), or its `Failure`; checks that each is there once, in order."""
    rows = len(next(iter(columns.values())))
    answers, failures = graph(columns, failures="return")
    assert [failure.row for failure in failures] == sorted({failure.row for failure in failures})
    found = {failure.row: failure for failure in failures}
    left = [row for row in range(rows) if row not in found]
    for name, column in answers.items():
        assert len(column) == len(left), f"{name}: {len(column)} answers and {len(found)} failures of {rows} rows"
    for place, row in enumerate(left):
        found[row] = {name: column[place] for name, column in answers.items()}
    return [found[row] for row in range(rows)]


def play_alone(graph: Any, columns: Any) -> Any:
    """The same, each row in a batch of its own."""
    rows = len(next(iter(columns.values())))
    return [play(graph, {name: column[row : row + 1] for name, column in columns.items()})[0] for row in range(rows)]


def same(one: Any, other: Any, *, exact: bool = True) -> None:
    """Assert that two plays ended alike, to the bit where `exact`."""
    assert len(one) == len(other)
    for row, (a, b) in enumerate(zip(one, other, strict=True)):
        assert isinstance(a, dict) == isinstance(b, dict), f"row {row}: {a} and {b}"
        if not isinstance(a, dict):
            assert (a.node, a.model, a.error, a.message) == (b.node, b.model, b.error, b.message)
            continue
        assert a.keys() == b.keys()
        for name in a:
            x, y = np.asarray(a[name]), np.asarray(b[name])
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            if exact or x.dtype.kind not in "f":
                assert x.tobytes() == y.tobytes() if x.dtype != object else (x == y).all(), (
                    f"row {row}, {name}: {x}, {y}"
                )
            else:
                np.testing.assert_allclose(x, y, atol=1e-5)
