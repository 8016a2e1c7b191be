"""Inputs and members of nodes: as graph files say them, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motet.errors import GraphError, UnknownNameError
from motet.graph.fields import Fields, check_name, show
from motet.graph.forms import TEXT, by_name, either, list_of, named, record
from motet.graph.node import Inputs, Member

__all__ = [
    "BY_POSITION", "INPUTS", "MEMBERS", "check_member", "check_members", "read_inputs", "read_members", "write_inputs", "write_members",
]  # fmt: skip

_COLUMN = named(
    "column",
    {**TEXT, "minLength": 1, "description": "A column: the name of an input, of a node, or `node.output`."},
)
BY_POSITION = {**list_of(_COLUMN), "description": "The columns that it takes, in order."}
INPUTS = named(
    "inputs",
    either(
        list_of(_COLUMN), by_name(_COLUMN), description="The columns that it takes, in order, or by the names inside."
    ),
)
_MEMBER_KEYS = record({"uses": TEXT, "inputs": INPUTS, "output": TEXT}, ["uses"])
_MEMBER = named("member", either({**TEXT, "description": "The name of a model or graph."}, _MEMBER_KEYS))
MEMBERS = named(
    "members",
    either(
        {**list_of(_MEMBER), "minItems": 1},
        {**by_name(_MEMBER), "minProperties": 1},
        description="Models and graphs: a list of their names, or a mapping of members' names to `NAME` or `{uses: NAME, ...}`.",
    ),
)


def read_inputs(value: object, where: str) -> Inputs:
    """Inputs as a graph file says them: a list by position, or a mapping by name."""
    if isinstance(value, Mapping):
        columns = {str(name): _reference(column, f"{where}.{name}") for name, column in value.items()}
        return Inputs(tuple(columns.values()), tuple(columns))
    if isinstance(value, str):
        raise GraphError(f"expected a list of columns; got {value!r}", where=where, hint=f"write [{value}]")
    if not isinstance(value, Sequence):
        raise GraphError(f"expected a list of columns, or a mapping by name; got {show(value)}", where=where)
    return Inputs(tuple(_reference(column, f"{where}[{position}]") for position, column in enumerate(value)))


def _reference(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise GraphError(f"expected the name of a column; got {show(value)}", where=where)
    return value


def write_inputs(inputs: Inputs) -> Any:
    """The inverse of `read_inputs`."""
    return dict(zip(inputs.names, inputs.columns, strict=True)) if inputs.names else list(inputs.columns)


def read_members(value: object, where: str, *, names: bool = True) -> tuple[Member, ...]:
    """Members as a graph file says them: a list of names, or a mapping of names to `NAME` or `{uses: NAME, ...}`.

    Args:
        value: what was found.
        where: its place, for messages.
        names: whether members' names are used in column names, so that they must be plain.
    """
    if isinstance(value, Mapping):
        pairs = [(str(name), each, f"{where}.{name}") for name, each in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        pairs = [(_member_name(each), each, f"{where}[{position}]") for position, each in enumerate(value)]
    else:
        raise GraphError(f"expected a list or a mapping of models and graphs; got {show(value)}", where=where)
    if not pairs:
        raise GraphError("there are no members", where=where, hint="name at least one model or graph")
    return check_members(tuple(_read_member(name, each, place) for name, each, place in pairs), where, plain=names)


def check_members(members: tuple[Member, ...], where: str, *, plain: bool = True) -> tuple[Member, ...]:
    """Members, each of which must have a name of its own, which can be a part of a column's name where it must be plain."""
    seen: set[str] = set()
    for member in members:
        if plain:
            check_name(member.name, "a member", where)
        if member.name in seen:
            raise GraphError(
                f"two members are named {member.name!r}",
                where=where,
                hint="write a mapping with a name for each: {a: NAME, b: NAME}",
            )
        seen.add(member.name)
    return members


def _member_name(value: object) -> str:
    return str(value.get("uses", "")) if isinstance(value, Mapping) else str(value)


def _read_member(name: str, value: object, where: str) -> Member:
    if isinstance(value, str):
        return Member(name, value)
    fields = Fields(value, where, _MEMBER_KEYS)
    inputs = read_inputs(fields.raw("inputs"), fields.place("inputs")) if "inputs" in fields else None
    return Member(name, fields.get("uses"), inputs, fields.get("output"))


def write_members(members: Sequence[Member]) -> Any:
    """The inverse of `read_members`."""
    if all(member == Member(member.name, member.name) for member in members):
        return [member.uses for member in members]
    return {member.name: _write_member(member) for member in members}


def _write_member(member: Member) -> Any:
    if member.inputs is None and member.output is None:
        return member.uses
    written: dict[str, Any] = {"uses": member.uses}
    if member.inputs is not None:
        written["inputs"] = write_inputs(member.inputs)
    if member.output is not None:
        written["output"] = member.output
    return written


def check_member(name: object, members: Sequence[Member], where: str) -> str:
    """`name`, which must be one of the members."""
    names = [member.name for member in members]
    if name not in names:
        raise UnknownNameError("member", str(name), names, where=where)
    return str(name)
