"""What a route's keys, weights and conditions must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motet.batch import Array
from motet.errors import GraphError
from motet.graph.condition import Condition
from motet.graph.fields import of_kind
from motet.graph.members import check_member
from motet.graph.node import Member
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.graph.experiment import ExperimentMetric

__all__ = [
    "check_experiment", "check_keys", "check_patterns", "check_way", "conditions_of", "key_text", "number_keys", "patterns", "split_of",
]  # fmt: skip


def patterns(name: str) -> list[str]:
    """The keys that an arm takes, by its name."""
    return [part.strip() for part in name.split("|")]


def key_text(key: Any) -> str:
    """A key as a graph file names it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, bytes):
        return key.decode(errors="replace")
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)


def number_keys(keys: Array) -> Array:
    """Keys that are numbers as people write them: 0.1 of float32 is 0.1, and none of the digits behind."""
    if keys.dtype.kind == "f" and keys.dtype.itemsize < 8:
        return np.array([float(str(key)) for key in keys])
    return keys


def check_keys(arms: Sequence[Member], kind: ColumnType, where: str) -> None:
    """See that a column of a type can hold the key of each arm.

    Raises:
        GraphError: when it never holds one, or not as it is written; says how to write it.
    """
    if kind.is_object:
        return
    for key in (key for arm in arms for key in patterns(arm.name) if key != "*"):
        written = _as_written(key, kind)
        if written == key:
            continue
        hint = "write true, false or *" if kind.dtype == "bool" else "write numbers, or *"
        raise GraphError(
            f"the key {key!r} is never one of a column of {kind}",
            where=where,
            hint=f"write {written}" if written else hint,
        )


def _as_written(key: str, kind: ColumnType) -> str:
    """How the key of an arm is written that a column of numbers can hold; empty where it cannot."""
    if kind.dtype == "bool":
        return key.lower() if key.lower() in ("true", "false") else ""
    try:
        found = int(key) if kind.numpy_dtype.kind in "iu" else float(key)
        held = np.array([found], kind.numpy_dtype)
    except (ValueError, OverflowError):
        return ""
    return "" if found != found else key_text(number_keys(held).tolist()[0])


_OPTIONS = {"key": ("missing",), "split": ("by", "salt", "missing", "metric"), "when": ("otherwise",)}
"""What may be said beside each way that a route goes."""


def check_way(ways: Mapping[str, Any], options: Mapping[str, Any], where: str) -> str:
    """By which way a route goes: `key`, `split` or `when`.

    Args:
        ways: what was said of each; nothing of two of them.
        options: what was said beside, None for nothing.
        where: the node, for messages.

    Raises:
        GraphError: when it is not one way, something was said that has no meaning with it, or `by` of a split was not.
    """
    given = [way for way, said in ways.items() if said]
    if len(given) != 1:
        raise GraphError(
            f"a route goes by exactly one of key, split and when; got {' and '.join(given) or 'none of them'}",
            where=where,
            hint="write key: COLUMN, or split: {ARM: WEIGHT} with by: COLUMN, or when: {ARM: CONDITION} with otherwise: ARM",
        )
    (way,) = given
    for option, said in options.items():
        if said is not None and option not in _OPTIONS[way]:
            raise GraphError(f"{option!r} has no meaning in a route by {way}", where=where)
    if way == "split" and options["by"] is None:
        raise GraphError(
            "a split needs the column it goes by", where=where, hint="write by: COLUMN, for example the user"
        )
    return way


def check_patterns(arms: Sequence[Member], where: str) -> None:
    """See that every key has one arm.

    Raises:
        GraphError: when one has two, or is empty.
    """
    seen: dict[str, str] = {}
    for arm in arms:
        for pattern in patterns(arm.name):
            if not pattern:
                raise GraphError(
                    f"the keys {arm.name!r} name an empty one", where=where, hint="use missing: for rows without a key"
                )
            if pattern in seen:
                raise GraphError(
                    f"the key {pattern!r} is taken by both {seen[pattern]!r} and {arm.name!r}", where=where
                )
            seen[pattern] = arm.name


def split_of(value: Mapping[str, Any], arms: Sequence[Member], where: str) -> dict[str, float]:
    """The weights of a split, by arm.

    Raises:
        GraphError: when an arm has none, or they cannot be weights.
    """
    split = {
        check_member(arm, arms, f"{where}.split"): float(of_kind(weight, float, f"{where}.split.{arm}"))
        for arm, weight in value.items()
    }
    if absent := [arm.name for arm in arms if arm.name not in split]:
        raise GraphError(
            f"no weight is given for {', '.join(absent)}",
            where=f"{where}.split",
            hint="write 0 for an arm that takes no rows",
        )
    if not all(np.isfinite(weight) and weight >= 0 for weight in split.values()) or not any(split.values()):
        raise GraphError(f"weights must be at least 0, and one more than 0; got {split}", where=f"{where}.split")
    return split


def check_experiment(metric: ExperimentMetric, arms: Sequence[Member], where: str) -> None:
    """See that an experiment has arms to compare, and its control among them.

    Raises:
        GraphError: when it has not.
    """
    if len(arms) < 2:
        raise GraphError("an experiment compares two arms or more", where=f"{where}.metric", hint="leave metric out")
    if metric.control is not None:
        check_member(metric.control, arms, f"{where}.metric.control")


def conditions_of(
    value: Mapping[str, Any], otherwise: str | None, arms: Sequence[Member], where: str
) -> dict[str, Condition]:
    """The conditions of a route, by arm.

    Raises:
        GraphError: when an arm has none, or one cannot be read.
    """
    if otherwise is None:
        raise GraphError(
            "a route by conditions must say who takes the other rows", where=where, hint="write otherwise: ARM"
        )
    check_member(otherwise, arms, f"{where}.otherwise")
    conditions: dict[str, Condition] = {}
    for arm, text in value.items():
        check_member(arm, arms, f"{where}.when")
        conditions[arm] = (
            text
            if isinstance(text, Condition)
            else Condition.parse(of_kind(text, str, f"{where}.when.{arm}"), f"{where}.when.{arm}")
        )
    if unreached := [arm.name for arm in arms if arm.name not in conditions and arm.name != otherwise]:
        raise GraphError(f"no condition leads to {', '.join(unreached)}", where=f"{where}.when")
    return conditions
