"""What a teacher says of every class, for a student to learn from.

G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network, 2015.
"""

from __future__ import annotations

from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.planning.parts import column_named, output_named, score_columns

__all__ = ["SOFT", "soft_labels", "teacher_outputs"]

SOFT = "soft"
"""What soft labels are called."""


def soft_labels(checked: CheckedGraph, of: str | None = None) -> str:
    """The column of scores that an answer comes from, by its full name.

    Args:
        checked: the graph.
        of: an output or a column: scores themselves, or what is made of them; None for the only output.

    Raises:
        InputError: when no scores stand before it, or several do.
        UnknownNameError: when there is no such output or column.
    """
    column = column_named(checked, output_named(checked, of), "of")
    kind = checked.columns[column]
    if kind.dtype.startswith("float") and len(kind.shape) == 1:
        return column
    found = list(score_columns(checked, column))
    nodes = [each.split(".")[0] for each in found]
    last = [name for name in checked.order if name in nodes][-1:]
    nearest = [each for each, node in zip(found, nodes, strict=True) if node in last]
    if len(nearest) == 1:
        return nearest[0]
    what = f"several columns of scores stand before {column!r}: {', '.join(nearest)}" if nearest else ""
    hint = "name the column of scores: --of NODE.OUTPUT"
    raise InputError(what or f"no column of scores stands before {column!r} ({kind})", where="teach", hint=hint)


def teacher_outputs(checked: CheckedGraph, of: str | None = None) -> dict[str, str]:
    """The outputs of a graph, and its soft labels.

    Raises:
        InputError: when an output is called so already; and as for `soft_labels`.
    """
    if SOFT in checked.graph.outputs:
        raise InputError(f"the graph has an output {SOFT!r} already", where="teach", hint="rename it, or run the graph")
    return {**checked.graph.outputs, SOFT: soft_labels(checked, of)}
