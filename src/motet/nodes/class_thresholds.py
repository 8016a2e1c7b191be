"""Thresholds of a cascade for single classes: how sure a member must be where it says that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from motet.batch import Array
from motet.errors import GraphError, TypeMismatchError, UnknownNameError
from motet.graph.fields import of_kind
from motet.graph.forms import NUMBER, Form, by_name
from motet.types import ColumnType

__all__ = ["BY_CLASS", "ByClass", "check_classes", "class_thresholds_of", "thresholds"]

ByClass = Mapping[str, Mapping[str, float]]
"""By member and class how sure it must be."""
BY_CLASS: Form = {
    **by_name(by_name({**NUMBER, "minimum": 0, "maximum": 1})),
    "description": "By member, for single classes, how sure it must be where it says that one.",
}
"""The form of `by_class`."""


def class_thresholds_of(value: object, members: Sequence[str], where: str) -> ByClass:
    """What was said of single classes, by member.

    Args:
        value: a mapping of members to mappings of classes to numbers.
        members: those that must be sure: all but the last.
        where: the place, for messages.

    Raises:
        GraphError: when it is none, or a number is not from 0 to 1.
    """
    found: dict[str, dict[str, float]] = {}
    for member, classes in of_kind(value, dict, where).items():
        if member not in members:
            hint = "the last member answers in any case"
            raise UnknownNameError("member to be confident", str(member), members, where=where, hint=hint)
        place = f"{where}.{member}"
        said = {
            str(name): float(of_kind(each, float, f"{place}.{name}"))
            for name, each in of_kind(classes, dict, place).items()
        }
        for name, each in said.items():
            if not 0 <= each <= 1:
                raise GraphError(f"a confidence is from 0 to 1; got {each:g}", where=f"{place}.{name}")
        found |= {member: said} if said else {}
    return found


def check_classes(by_class: ByClass, kind: ColumnType, where: str) -> None:
    """See that scores have these classes.

    Raises:
        TypeMismatchError: when they are not one for each class.
        UnknownNameError: when there is no such class.
    """
    if kind.dtype == "any":
        return
    if len(kind.shape) != 1:
        raise TypeMismatchError(
            f"thresholds of classes are of a score for each; these are {kind}", where=f"{where}: by_class"
        )
    known = kind.labels or (None if kind.shape[0] is None else tuple(map(str, range(kind.shape[0]))))
    for name in (name for classes in by_class.values() for name in classes):
        if known is not None and name not in known:
            raise UnknownNameError("class", name, known, where=f"{where}: by_class")


def thresholds(scores: Array, classes: Mapping[str, float], default: float, labels: Sequence[str]) -> Array:
    """How sure a member must be of each row, in the precision of its scores.

    Args:
        scores: `[rows, classes]`.
        classes: by class, its name or its place, how sure it must be where it says that one.
        default: of all others.
        labels: the names of the classes; empty where they have none.

    Raises:
        UnknownNameError: when there is no such class, which was not known before.
    """
    names = list(labels) or list(map(str, range(scores.shape[1])))
    for name in classes:
        if name not in names:
            raise UnknownNameError("class", name, names, where="by_class")
    held = scores.dtype if scores.dtype.kind == "f" else np.float64
    table = np.array([classes.get(name, default) for name in names], dtype=held)
    return np.asarray(table[scores.argmax(axis=1)])
