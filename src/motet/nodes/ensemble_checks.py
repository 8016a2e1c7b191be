"""What an ensemble's weights, combiner, quorum and times must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from motet.errors import GraphError, UnknownNameError
from motet.graph.fields import Fields, of_kind, show
from motet.graph.forms import NUMBER, least
from motet.graph.function import Function
from motet.graph.node import Member
from motet.nodes.combine import COMBINERS

__all__ = [
    "AS_AVAILABLE", "LONGEST_MS", "WEIGHT", "check_available", "checked_require", "checked_within_ms", "combiner_named",
    "read_as_available", "weights_of",
]  # fmt: skip

AS_AVAILABLE = "as available"
LONGEST_MS = 3_600_000.0
"""The longest time that members may be given."""
WEIGHT = least(NUMBER, 0)


def read_as_available(fields: Fields) -> bool:
    """Whether `members: as available` is said."""
    said = fields.get("members")
    if said not in (None, AS_AVAILABLE):
        raise GraphError(f"members can only be {AS_AVAILABLE!r}; got {said!r}", where=fields.place("members"))
    return said is not None


def check_available(as_available: bool, combine: str | Function, where: str) -> None:
    """See that the answer looks the same for any number of members, where they come as they are available."""
    if as_available and combine in ("stack", "union"):
        raise GraphError(
            f"the answer of {combine} has a place for what every member says; it would change when a member is published",
            where=where,
            hint="use a combiner whose answer looks the same for any number of members, for example weighted_average",
        )


def combiner_named(name: str, where: str) -> str:
    """A combiner's name, which must be known."""
    if name not in COMBINERS:
        raise UnknownNameError(
            "combiner",
            name,
            list(COMBINERS),
            where=where,
            hint="or write the import path of a function",
            synonyms={"mean": "average", "avg": "average", "vote": "majority_vote", "mode": "majority_vote"},
        )
    return name


def weights_of(value: object, members: Sequence[Member], combine: str | Function, where: str) -> tuple[float, ...]:
    """How much each member counts.

    Raises:
        GraphError: when they cannot be weights, or have no meaning for the combiner.
    """
    if value is None:
        return (1.0,) * len(members)
    names = [member.name for member in members]
    if isinstance(value, Mapping):
        for name in value:
            if name not in names:
                raise UnknownNameError("member", str(name), names, where=where)
        value = [value.get(name, 1.0) for name in names]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(members):
        raise GraphError(
            f"expected one weight for each of the {len(members)} members ({', '.join(names)}); got {show(value)}",
            where=where,
        )
    weights = tuple(float(of_kind(each, float, f"{where}[{place}]")) for place, each in enumerate(value))
    if not all(np.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise GraphError(f"weights must be at least 0, and one more than 0; got {list(weights)}", where=where)
    if combine not in ("weighted_average", "majority_vote", "union") and set(weights) - {0.0, 1.0}:
        raise GraphError(
            f"{combine} does not weigh its members; got {list(weights)}",
            where=where,
            hint="with it a weight is 1, or 0 for a member that does not count",
        )
    return weights


def checked_require(value: int | None, weights: Sequence[float], where: str) -> int | None:
    """How many members must have answered, of those that count."""
    counting = sum(1 for weight in weights if weight > 0)
    if value is not None and not 1 <= value <= counting:
        raise GraphError(
            f"require must be from 1 to {counting}, the number of members that count; got {value}", where=where
        )
    return value


def checked_within_ms(value: object, where: str) -> float | None:
    """How long members are waited for, in milliseconds."""
    if value is None:
        return None
    if not 0 < of_kind(value, float, where) <= LONGEST_MS:
        raise GraphError(
            f"within_ms must be more than 0 and at most {LONGEST_MS:g} milliseconds; got {show(value)}", where=where
        )
    return float(of_kind(value, float, where))
