"""From seconds to what is printed: medians, ranges and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Spread", "ratio", "shown", "spread", "table"]


@dataclass(frozen=True)
class Spread:
    """The middle and the ends of some numbers."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """The median, the least and the most of at least one number."""
    return Spread(median(values), min(values), max(values))


def ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Spread | None:
    """How many times as fast we are: their seconds over ours, round by round.

    Args:
        ours: our seconds by round, None where a round failed.
        theirs: theirs, likewise.

    Returns:
        The spread of the rounds' ratios, None where no round has both.
    """
    found = [b / a for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    return spread(found) if found else None


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells side by side, the first to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    return "\n".join(
        "  ".join(
            _cell(cell, width, place) for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(cell: str, width: int, place: int) -> str:
    return cell.rjust(width) if place else cell.ljust(width)


def shown(found: Spread | None, form: str) -> str:
    """`median (least to most)`, or a dash."""
    if found is None:
        return "-"
    return f"{found.median:{form}} ({found.least:{form}} to {found.most:{form}})"
