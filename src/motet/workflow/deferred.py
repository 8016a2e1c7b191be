"""What a step gives while a workflow is wired: a promise, and what can be said of it before it is kept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from motet.errors import GraphError

if TYPE_CHECKING:
    from motet.workflow.plan import Node

__all__ = ["Choice", "Comparison", "Deferred", "Item", "Result", "copied", "deferreds_in", "nodes_of"]

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Deferred:
    """The result of a step that has not run yet.

    It can be handed to other steps, alone or in lists, tuples and dicts; `result["key"]` is a part of it, and
    `result["accuracy"] >= 0.9` is a condition for `when`. Anything else is for a step to do.
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> Item:
        if not isinstance(key, (str, int)):
            raise GraphError(f"{self} can be asked for a part by name or number; got {key!r}")
        return Item(self, key)

    def __lt__(self, other: Any) -> Comparison:
        return Comparison("<", self, other)

    def __le__(self, other: Any) -> Comparison:
        return Comparison("<=", self, other)

    def __gt__(self, other: Any) -> Comparison:
        return Comparison(">", self, other)

    def __ge__(self, other: Any) -> Comparison:
        return Comparison(">=", self, other)

    def __eq__(self, other: object) -> Any:
        return Comparison("==", self, other)

    def __ne__(self, other: object) -> Any:
        return Comparison("!=", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        raise GraphError(
            f"{self} is not known while the workflow is wired, so `if`, `and`, `or`, `not` and `in` cannot ask for it",
            hint="write motet.when(condition, lambda: ..., otherwise=lambda: ...), or decide inside a step",
        )

    def __iter__(self) -> Iterator[Any]:
        raise GraphError(
            f"{self} is not known while the workflow is wired, so it cannot be gone through or unpacked",
            hint="take parts by number, result[0] and result[1], or go through it inside a step",
        )

    def __len__(self) -> int:
        raise GraphError(f"the length of {self} is not known while the workflow is wired", hint="ask inside a step")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"{self} is not known while the workflow is wired, so its {name!r} cannot be had; "
            f"take result[{name!r}] where it is a dict, or ask inside a step"
        )

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Result(Deferred):
    """What a step gives."""

    node: Node

    def after(self, *others: Deferred) -> Result:
        """Let the step run only when others are done, though it takes nothing of theirs. Returns itself."""
        for other in others:
            if not isinstance(other, Deferred):
                raise GraphError(f"after() takes results of steps; got {other!r}", where=self.node.id)
            self.node.after.extend(nodes_of(other))
        return self

    def __str__(self) -> str:
        return f"the result of step {self.node.id}"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Item(Deferred):
    """A part of a result."""

    source: Deferred
    key: str | int

    def __str__(self) -> str:
        return f"[{self.key!r}] of {self.source}"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Comparison(Deferred):
    """A condition."""

    sign: str
    source: Deferred
    other: Any

    def __str__(self) -> str:
        return f"{self.source} {self.sign} {self.other!r}"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Choice(Deferred):
    """One of two values."""

    condition: Deferred
    then: Any
    otherwise: Any

    def __str__(self) -> str:
        return f"a choice by {self.condition}"


def deferreds_in(value: Any) -> Iterator[Deferred]:
    """The promises in a value: itself, or inside lists, tuples and dicts."""
    if isinstance(value, Deferred):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from deferreds_in(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from deferreds_in(each)


def nodes_of(value: Any) -> Iterator[Node]:
    """The steps that must be over before a value is known."""
    for each in deferreds_in(value):
        if isinstance(each, Result):
            yield each.node
        elif isinstance(each, Item):
            yield from nodes_of(each.source)
        elif isinstance(each, Comparison):
            yield from nodes_of(each.source)
            yield from nodes_of(each.other)
        elif isinstance(each, Choice):
            yield from nodes_of(each.condition)
            yield from nodes_of(each.then)
            yield from nodes_of(each.otherwise)


def copied(value: Any) -> Any:
    """A value whose lists, tuples and dicts with promises in them are its own: what is put into them later is not seen."""
    if isinstance(value, (list, tuple, dict)):
        if next(deferreds_in(value), None) is None:
            return value
        if isinstance(value, dict):
            return {name: copied(each) for name, each in value.items()}
        items = [copied(each) for each in value]
        return items if isinstance(value, list) else type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
