"""What nodes of several members share: what each takes, which outputs count, and that they agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from motet.batch import Column, Indices, take_columns
from motet.errors import GraphError, ModelFailedError, MotetError, TypeMismatchError, UnknownNameError
from motet.graph.fields import Fields
from motet.graph.forms import one_of
from motet.graph.node import Answer, Fault, Inputs, Member, Node, Scope
from motet.nodes.classes import Aligned, Places, aligned, placed
from motet.types import ColumnType

__all__ = [
    "STRING",
    "UNION",
    "MembersNode",
    "agreed",
    "all_reasons",
    "checked_combine",
    "counted",
    "member_outputs",
    "needed",
    "not_answered",
    "picks",
    "read_combine",
    "taken",
]

STRING = ColumnType("string")
UNION = one_of(["union"])
"""The form of `combine` of nodes through one of several members."""


@dataclass(frozen=True)
class MembersNode(Node):
    """A node of several members.

    Attributes:
        players: the members.
    """

    players: tuple[Member, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in order."""
        return self.players

    def bound(self, bind: Callable[[Member, Inputs], Inputs]) -> Self:
        """The node, its members' columns by name where they go by name."""
        taken = [bind(member, member.inputs or self.inputs) for member in self.players]
        pairs = zip(self.players, taken, strict=True)
        players = tuple(m if now is (m.inputs or self.inputs) else replace(m, inputs=now) for m, now in pairs)
        return self if players == self.players else replace(self, players=players)

    def needs(self, outputs: Mapping[str, Sequence[str]], gives: Container[str]) -> Mapping[str, Collection[str]]:
        """Those that somebody needs, or that the node itself looks at."""
        return needed(self, outputs, gives)


def picks(member: Member, outputs: Sequence[str], output: str | None, where: str) -> dict[str, str]:
    """Which of a member's outputs count and what the node calls them: node's name to member's name.

    Args:
        member: the member; its own `output` says which of several counts.
        outputs: what the member gives.
        output: the node's `output`: the one output that counts, under this name.
        where: the node, for messages.
    """
    if member.output is not None:
        if member.output not in outputs:
            raise UnknownNameError(f"output of member {member.name!r}", member.output, outputs, where=where)
        return {output or member.output: member.output}
    if output is None:
        return {name: name for name in outputs}
    if output in outputs:
        return {output: output}
    if len(outputs) == 1:
        return {output: outputs[0]}
    raise UnknownNameError(
        f"output of member {member.name!r}",
        output,
        outputs,
        where=where,
        hint="say which one counts: {uses: NAME, output: OUTPUT}",
    )


def needed(node: Node, outputs: Mapping[str, Sequence[str]], gives: Container[str]) -> dict[str, set[str]]:
    """The outputs of a node's models that must be computed, for `Node.needs`: the same of all members, and one at least.

    Args:
        node: the node; of its `output` see `picks`, and at its column `of` it looks itself.
        outputs: what each model gives.
        gives: the columns of the node that somebody needs, by full name.
    """
    output, more = getattr(node, "output", None), getattr(node, "of", None)
    chosen = [
        (member, picks(member, outputs[member.uses], output, node.where))
        for member in node.members
        if member.uses in outputs
    ]
    found: dict[str, set[str]] = {member.uses: set() for member, _ in chosen}
    for name in dict.fromkeys(name for _, picked in chosen for name in picked):
        own = (f"{node.name}.{member.name}.{name}" for member in node.members)
        if name == more or f"{node.name}.{name}" in gives or any(column in gives for column in own):
            for member, picked in chosen:
                found[member.uses] |= {picked[name]} if name in picked else set()
    for member, picked in chosen:
        found[member.uses] = found[member.uses] or {next(iter(picked.values()))}
    return found


def taken(
    member: Member, inputs: Inputs, columns: Mapping[str, Column], chosen: Indices, rows: int
) -> Sequence[Column] | dict[str, Column]:
    """What a member is given, by position or by name.

    Args:
        member: the member; its own `inputs` go before the node's.
        inputs: of the node.
        columns: those of the node's rows, by reference.
        chosen: the places of the member's rows, each once.
        rows: how many rows the node has; a member that has all of them is given the columns as they are.
    """
    given = (member.inputs or inputs).pick(columns)
    return given if len(chosen) == rows else take_columns(given, chosen)


def counted(
    member: Member, answer: Answer, output: str | None, where: str, places: Places | None = None
) -> dict[str, Column]:
    """A member's outputs that count, under the node's names (see `picks`), placed as the node's answer is."""
    chosen = picks(member, list(answer.columns), output, where)
    found = {name: answer.columns[inner] for name, inner in chosen.items()}
    index = places.get(member.name) if places else None
    return {name: placed(column, index.get(name)) for name, column in found.items()} if index else found


def not_answered(member: Member, error: MotetError, rows: int) -> Answer:
    """The answer of a member that raised, as one that cannot be reached does: a fault for each row, and no columns.

    Raises:
        ModelFailedError: when a run has not looked yet whether it answers rows of elsewhere.
    """
    if isinstance(error, ModelFailedError) and not error.looked:
        error.spared = True
        raise error
    return Answer({}, tuple(Fault.of(row, error, member.uses) for row in range(rows)), np.arange(0))


def all_reasons(faults: Sequence[tuple[Member, Fault]]) -> Fault:
    """Why a row is not answered that every member failed on: the last fault, which names them all where there are several."""
    _, last = faults[-1]
    if len(faults) == 1:
        return last
    said = "; ".join(f"{member.name}: {fault.error}: {fault.message}" for member, fault in faults)
    return replace(last, message=f"{len(faults)} members failed: {said}")


def member_outputs(
    members: Sequence[Member],
    inputs: Inputs,
    output: str | None,
    types: Mapping[str, ColumnType],
    scope: Scope,
    where: str,
) -> dict[str, dict[str, ColumnType]]:
    """For each member, the types of the outputs that count, under the node's names."""
    found: dict[str, dict[str, ColumnType]] = {}
    for member in members:
        outputs = scope.call(member.uses, member.inputs or inputs, types, f"{where}, member {member.name!r}")
        chosen = picks(member, list(outputs), output, where)
        found[member.name] = {name: outputs[inner] for name, inner in chosen.items()}
    _same_names(found, where)
    return found


def _same_names(found: Mapping[str, Mapping[str, ColumnType]], where: str) -> None:
    (first, expected), *others = found.items()
    for name, outputs in others:
        if set(outputs) != set(expected):
            raise GraphError(
                f"members give different outputs: {first!r} gives {', '.join(expected)}; {name!r} gives {', '.join(outputs)}",
                where=where,
                hint="name the one that counts with output: NAME, "
                "and for a member that calls it otherwise {uses: MEMBER, output: ITS_NAME}",
            )


def read_combine(fields: Fields) -> str | None:
    """`combine` of nodes through one of several members: `union` for members whose classes differ, None where it is not said."""
    return checked_combine(fields.get("combine"), fields.place("combine"))


def checked_combine(value: str | None, where: str) -> str | None:
    """What is said of members whose classes differ, which can only be `union`."""
    if value not in (None, *UNION["enum"]):
        raise GraphError(f"one member answers a row, so the only combine is 'union'; got {value!r}", where=where)
    return value


def agreed(
    found: Mapping[str, Mapping[str, ColumnType]], combine: str | None, where: str
) -> tuple[dict[str, ColumnType], Aligned]:
    """The types that all members give, and how their classes are aligned.

    Args:
        found: by member and output the types of what it gives.
        combine: `union` for an answer with all classes; None for members that have the same.
        where: the node, for messages.
    """
    classes = aligned(found, "union" if combine else "same", where)
    return _joint(classes.kinds, where), classes


def _joint(found: Mapping[str, Mapping[str, ColumnType]], where: str) -> dict[str, ColumnType]:
    """The types that all members give; an axis on which they differ only by `?` is `?`."""
    (first, expected), *others = found.items()
    merged = dict(expected)
    for name, outputs in others:
        for output, kind in outputs.items():
            merged[output] = _join(merged[output], kind, f"output {output!r} of {first!r} and {name!r}", where)
    return merged


def _join(one: ColumnType, other: ColumnType, what: str, where: str) -> ColumnType:
    if one == other:
        return one
    if "any" in (one.dtype, other.dtype):
        return ColumnType("any")
    fits = one.dtype == other.dtype and len(one.shape) == len(other.shape)
    if not fits or any(a != b and None not in (a, b) for a, b in zip(one.shape, other.shape, strict=True)):
        raise TypeMismatchError(
            f"{what} do not fit: {one} and {other}",
            where=where,
            hint="cast or reshape one of them with the model's after:, or, for classes that differ, say combine: union",
        )
    shape = tuple(a if a == b else None for a, b in zip(one.shape, other.shape, strict=True))
    return ColumnType(one.dtype, shape, one.labels)
