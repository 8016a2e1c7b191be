"""Whether two candidates gave the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

__all__ = ["difference"]

DIFFERENT = 1e-4
"""The part of rows that may differ: those whose scores are a rounding error from a decision."""
SCORE_TOLERANCE = 1e-4


def difference(reference: Path, other: Path) -> str:
    """What is wrong with answers, empty where they are those of the reference; order does not count.

    Args:
        reference: a Parquet file with `id` and `label` and `score`, or `id` and `answer`.
        other: such a file, or a folder of such files.
    """
    wanted, got = _columns(reference), _columns(other)
    if set(wanted) != set(got):
        return f"gave the columns {', '.join(got)}, not {', '.join(wanted)}"
    if not np.array_equal(wanted["id"], got["id"]):
        return f"answered {len(got['id']):,} rows, not the {len(wanted['id']):,} of the input"
    wrong = np.zeros(len(wanted["id"]), dtype=bool)
    for name in wanted:
        wrong |= ~np.isclose(wanted[name], got[name], rtol=0, atol=SCORE_TOLERANCE if name == "score" else 0)
    return f"{wrong.mean():.3%} of the rows have another answer" if wrong.mean() > DIFFERENT else ""


def _columns(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All columns, in the order of the ids."""
    found = pq.read_table(path)
    order = np.argsort(found["id"].to_numpy(), kind="stable")
    return {name: found[name].to_numpy()[order] for name in found.column_names}
