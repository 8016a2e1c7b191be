"""Classes of members: places that stand for classes are brought to one order before answers meet, or members are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from motet.batch import Column, Indices
from motet.errors import GraphError, ModelFailedError
from motet.types import ColumnType

__all__ = ["Aligned", "Places", "Rule", "aligned", "placed"]

Places = Mapping[str, Mapping[str, Indices]]
"""By member and output: for each place of the node's answer the place in what the member gave, -1 where it has none."""

Rule = Literal["same", "union", "own"]
"""Which classes members may have: the `same`, in whatever order; any, of which the answer has the `union`; or their `own`."""


@dataclass(frozen=True)
class Aligned:
    """The outputs of members, their classes in one order.

    Attributes:
        kinds: by member and output the types of the answers once they are placed.
        places: how answers are placed that are not in that order by themselves.
        warnings: where the classes of members are not known.
    """

    kinds: dict[str, dict[str, ColumnType]]
    places: dict[str, dict[str, Indices]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def aligned(found: Mapping[str, Mapping[str, ColumnType]], rule: Rule, where: str) -> Aligned:
    """Bring the classes of members to the order of the first, output by output.

    Args:
        found: by member and output, under the node's names, the types of what it gives.
        rule: which classes members may have.
        where: the node, for messages.

    Raises:
        GraphError: when the classes of members differ that must be the same, or are not known where all are joined.
    """
    made = Aligned({member: dict(outputs) for member, outputs in found.items()})
    for output in next(iter(found.values())):
        known = {member: outputs[output].labels for member, outputs in found.items() if outputs[output].labels}
        if not known:
            continue
        first, *others = known
        wanted = known[first]
        for other in others:
            if set(known[other]) != set(wanted) and rule == "same":
                raise _differ(output, first, wanted, other, known[other], where)
        if rule == "union":
            wanted = tuple(dict.fromkeys(label for labels in known.values() for label in labels))
        elif any(set(labels) != set(wanted) for labels in known.values()):
            wanted = ()
        said = _settle(made, output, known, wanted, rule, where)
        for member in found:
            _place(made, member, output, known.get(member, ()), wanted, said)
    return made


def _settle(
    made: Aligned, output: str, known: Mapping[str, tuple[str, ...]], wanted: tuple[str, ...], rule: Rule, where: str
) -> bool:
    """Whether the answer's classes are known: not where those of a member are not, unless they are only numbers from 0."""
    silent = [member for member in made.kinds if member not in known]
    if not silent:
        return True
    if rule == "union":
        hint = "declare labels: [...] for each model, in the order of its answer"
        raise GraphError(
            f"union needs the classes of every member; those of {silent[0]!r} are not known", where=where, hint=hint
        )
    if wanted == tuple(map(str, range(len(wanted)))):
        return True
    first = next(iter(known))
    made.warnings.append(
        f"{where}: the classes of {', '.join(silent)} are not known; their {output!r} is taken to be in the order of "
        f"{first}: {', '.join(known[first])}. Declare labels: [...] for their models"
    )
    return False


def _place(
    made: Aligned, member: str, output: str, labels: tuple[str, ...], wanted: tuple[str, ...], said: bool
) -> None:
    """Have a member's answer placed, and typed as it then is."""
    kind = made.kinds[member][output]
    if labels and wanted and labels != wanted:
        index = [labels.index(each) if each in labels else -1 for each in wanted]
        made.places.setdefault(member, {})[output] = np.array(index, dtype=np.int64)
        if kind.shape:
            kind = ColumnType(kind.dtype, (*kind.shape[:-1], len(wanted)))
    made.kinds[member][output] = kind.with_labels(wanted if said else ())


def _differ(output: str, one: str, ones: Sequence[str], other: str, others: Sequence[str], where: str) -> GraphError:
    return GraphError(
        f"members answer for different classes: {output!r} of {one!r} is for {_listed(ones)}; of {other!r} for {_listed(others)}",
        where=where,
        hint="say combine: union for a score for each class that any of them knows, or choose an output without places (output: label)",
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")


def placed(column: Column, index: Indices | None) -> Column:
    """A member's answers with their last axis as the node's answer has it; 0 where the member knows a class not.

    Raises:
        ModelFailedError: when there are fewer places than the index asks for.
    """
    if index is None:
        return column
    if not isinstance(column, np.ndarray) or column.ndim < 2 or column.shape[-1] != (index >= 0).sum():
        got = list(column.shape[1:]) if isinstance(column, np.ndarray) else "rows of different shapes"
        raise ModelFailedError(f"the labels name {(index >= 0).sum()} places of the answer; it has {got}")
    if (index >= 0).all():
        return column.take(index, axis=-1)
    whole = np.zeros((*column.shape[:-1], len(index)), dtype=column.dtype)
    whole[..., index >= 0] = column[..., index[index >= 0]]
    return whole
