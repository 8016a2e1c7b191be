"""Temperatures of members: how much flatter, or sharper, their probabilities are taken before anything is decided by them.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On calibration of modern neural networks, ICML 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from motet.batch import Array, Column
from motet.errors import GraphError, InputError, TypeMismatchError
from motet.graph.fields import of_kind
from motet.graph.forms import NUMBER, Form, by_name
from motet.graph.members import check_member
from motet.graph.node import Member
from motet.types import ColumnType

__all__ = ["TEMPERATURE", "check_tempered", "temperatures_of", "tempered"]

TEMPERATURE: Form = {**by_name({**NUMBER, "exclusiveMinimum": 0})}
"""The form of `temperature` of nodes that decide by what members are sure of."""


def temperatures_of(value: object, members: Sequence[Member], where: str) -> Mapping[str, float]:
    """What was said of temperatures, by member; those of 1 are left out.

    Raises:
        GraphError: when it is no mapping of members to numbers above 0.
    """
    found = {
        check_member(name, members, where): float(of_kind(each, float, f"{where}.{name}"))
        for name, each in of_kind(value, dict, where).items()
    }
    for name, each in found.items():
        if not (each > 0 and isfinite(each)):
            raise GraphError(f"a temperature is above 0; got {each:g}", where=f"{where}.{name}")
    return {name: each for name, each in found.items() if each != 1}


def check_tempered(kind: ColumnType, where: str) -> None:
    """See that a column has a probability for each class.

    Raises:
        TypeMismatchError: when it has not.
    """
    if kind.dtype != "any" and not (kind.dtype.startswith("float") and len(kind.shape) == 1):
        what = f"a temperature is of probabilities, one for each class; these are {kind}"
        raise TypeMismatchError(what, where=f"{where}: temperature")


def tempered(scores: Column, temperature: float, member: Member) -> Array:
    """Probabilities of a member, flatter for a temperature above 1, sharper below.

    Raises:
        InputError: when they are not one for each class.
    """
    if getattr(scores, "ndim", 0) != 2:
        raise InputError(f"a temperature is of probabilities, one for each class; {member.name!r} gives others")
    from motet.ops.scores import temper  # which nodes without temperatures do without

    return temper(scores, temperature=temperature)
