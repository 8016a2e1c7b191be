"""What a step gives while a workflow is wired: a promise, and what can be said of it before it is kept."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from motet.errors import GraphError

if TYPE_CHECKING:
    from motet.workflow.steps import PlannedStep

__all__ = [
    "Choice", "Comparison", "Deferred", "Item", "Result", "copied", "deferreds_in", "hidden_in", "mapped", "nodes_of", "resolved",
]  # fmt: skip

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

    __slots__: tuple[str, ...] = ()

    def __getitem__(self, key: Any) -> Item:
        if not isinstance(key, (str, int)):
            raise GraphError(f"{self!s} can be asked for a part by name or number; got {key!r}")
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
            f"{self!s} is not known while the workflow is wired, so `if`, `and`, `or`, `not` and `in` cannot ask for it",
            hint="write motet.when(condition, lambda: ..., otherwise=lambda: ...), or decide inside a step",
        )

    def __iter__(self) -> Iterator[Any]:
        raise GraphError(
            f"{self!s} is not known while the workflow is wired, so it cannot be gone through or unpacked",
            hint="take parts by number, result[0] and result[1], or go through it inside a step",
        )

    def __len__(self) -> int:
        raise GraphError(f"the length of {self!s} is not known while the workflow is wired", hint="ask inside a step")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"{self!s} is not known while the workflow is wired, so its {name!r} cannot be had; "
            f"take result[{name!r}] where it is a dict, or ask inside a step"
        )

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> NoReturn:
        raise GraphError(
            f"{self!s} is not known while the workflow is wired, so it cannot be put into a text",
            hint="make the text inside a step",
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise GraphError(
            f"{self!s} is inside of a value in which it is not found",
            hint="steps take promises in lists, tuples and dicts",
        )

    def _unknown(self, *_: Any) -> NoReturn:
        raise GraphError(
            f"{self!s} is not known while the workflow is wired, so nothing can be computed from it",
            hint="compute inside a step",
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _unknown
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _unknown
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __neg__ = __pos__ = __abs__ = __invert__ = _unknown
    __int__ = __float__ = __index__ = __call__ = __round__ = _unknown


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Result(Deferred):
    """What a step gives."""

    node: PlannedStep

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
        return f"[{self.key!r}] of {self.source!s}"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Comparison(Deferred):
    """A condition."""

    sign: str
    source: Deferred
    other: Any

    def __str__(self) -> str:
        return f"{self.source!s} {self.sign} {self.other!r}"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Choice(Deferred):
    """One of two values."""

    condition: Deferred
    then: Any
    otherwise: Any

    def __str__(self) -> str:
        return f"a choice by {self.condition!s}"


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


def nodes_of(value: Any) -> Iterator[PlannedStep]:
    """The steps that must be over before a value is known."""
    for each in deferreds_in(value):
        if isinstance(each, Result):
            yield each.node
        else:
            for name in each.__slots__:
                yield from nodes_of(getattr(each, name))


def hidden_in(value: Any) -> Any:
    """What holds a promise where none is looked for: in a set, as a name of a dict, in a data class; None where nothing does."""
    if isinstance(value, (list, tuple)):
        return next((found for each in value if (found := hidden_in(each)) is not None), None)
    if isinstance(value, dict):
        if any(isinstance(name, Deferred) for name in value):
            return value
        return next((found for each in value.values() if (found := hidden_in(each)) is not None), None)
    if isinstance(value, (set, frozenset)):
        inside: Any = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, (type, Deferred)):
        inside = [getattr(value, each.name, None) for each in dataclasses.fields(value)]
    else:
        return None
    return value if next(deferreds_in(list(inside)), None) is not None else None


def copied(value: Any) -> Any:
    """A value whose lists, tuples and dicts with promises in them are its own: what is put into them later is not seen."""
    if next(deferreds_in(value), None) is None:
        return value
    kinds = () if hasattr(value, "_fields") else (dict, list, tuple)
    return mapped(next((kind(value) for kind in kinds if isinstance(value, kind)), value), copied)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A list, tuple or dict with what a function makes of each thing in it; other values, and classes of one's own, stay.

    Named tuples are made by `_make`, which asks no constructor of theirs.
    """
    if type(value) is dict:
        return {name: change(each) for name, each in value.items()}
    if type(value) is list:
        return [change(each) for each in value]
    if isinstance(value, tuple) and (type(value) is tuple or hasattr(value, "_fields")):
        return getattr(type(value), "_make", tuple)(map(change, value))
    return value


def resolved(value: Any, take: Callable[[Any], Any]) -> Any:
    """A value with every promise kept. Raises whatever comparing, or `take`, raises.

    Args:
        value: the value.
        take: gives a value that is no choice, condition, list, tuple or dict: a result, a part of one, or what is known already.
    """
    if isinstance(value, Choice):
        return resolved(value.then if resolved(value.condition, take) else value.otherwise, take)
    if isinstance(value, Comparison):
        return OPERATORS[value.sign](resolved(value.source, take), resolved(value.other, take))
    if type(value) in (list, dict) or isinstance(value, tuple):
        return mapped(value, lambda each: resolved(each, take))
    return take(value)
