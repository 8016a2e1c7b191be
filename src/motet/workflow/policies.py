"""When a kept result is taken again: by content, by age, by a statistic of the data, by its own metric."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from motet.errors import InputError

__all__ = ["CachePolicy", "Rule", "WhenChanged", "WhileAtLeast", "read_policy", "when_changed", "while_at_least"]


@dataclass(frozen=True, eq=False)
class WhenChanged:
    """A rule: a result holds until a statistic of the data has changed by more than a tolerance.

    Attributes:
        function: the statistic.
        by: the tolerance, as a part of the value at the time when the result was made.
    """

    function: Callable[..., float]
    by: float

    def data(self) -> tuple[str, ...]:
        """The arguments of a step that count by the statistic instead of by content."""
        return tuple(inspect.signature(self.function).parameters)

    def holds(self, then: float, now: float) -> bool:
        """Whether the result is still good."""
        return abs(now - then) <= self.by * abs(then)


@dataclass(frozen=True, eq=False)
class WhileAtLeast:
    """A rule: a result holds while its own metric is good enough.

    Attributes:
        function: the metric: takes the result, and arguments of the step by their names.
        bound: the least value that is good enough.
    """

    function: Callable[..., float]
    bound: float

    def data(self) -> tuple[str, ...]:
        """The arguments of a step that count by the metric instead of by content: those that it takes."""
        return tuple(inspect.signature(self.function).parameters)[1:]

    def holds(self, now: float) -> bool:
        """Whether the result is still good."""
        return now >= self.bound


Rule = WhenChanged | WhileAtLeast


@dataclass(frozen=True)
class CachePolicy:
    """When a result is kept and taken again.

    Attributes:
        rules: all must hold; without any, results are found by content alone.
        max_age_s: seconds that a result holds; None is for ever.
    """

    rules: tuple[Rule, ...] = ()
    max_age_s: float | None = None

    def data(self) -> frozenset[str]:
        """The arguments that count by rules instead of by content."""
        return frozenset(name for rule in self.rules for name in rule.data())

    @property
    def by_result(self) -> bool:
        """Whether a rule looks at the result alone: then no input that comes from a step counts by content."""
        return any(
            isinstance(rule, WhileAtLeast) and len(inspect.signature(rule.function).parameters) == 1
            for rule in self.rules
        )

    def check(self, signature: inspect.Signature, where: str) -> None:
        """See that rules name arguments that the step has."""
        for rule in self.rules:
            unknown = [name for name in rule.data() if name not in signature.parameters]
            if unknown:
                raise InputError(
                    f"{getattr(rule.function, '__name__', rule.function)} asks for {', '.join(unknown)}, which the step does not take; "
                    f"it takes {', '.join(signature.parameters) or 'nothing'}",
                    where=where,
                    hint="name its parameters like those of the step whose values it is to be given",
                )


def when_changed(statistic: Callable[..., float], *, by: float = 0.0) -> WhenChanged:
    """Keep a result until a statistic of the data has changed by more than a tolerance.

        @motet.step(cache=motet.when_changed(count_rows, by=0.10))
        def train(rows, epochs): ...

        def count_rows(rows): return len(rows)

    Args:
        statistic: a function that gives a number; its parameters are named like those of the step that it looks at.
            These count by the statistic; the step's other arguments, and its code, count by content.
        by: the tolerance, as a part of the value then: 0.10 is a tenth more or less.
    """
    if not callable(statistic) or by < 0:
        raise InputError(f"when_changed({statistic!r}, by={by!r})", hint="give a function and a tolerance of 0 or more")
    return WhenChanged(statistic, by)


def while_at_least(metric: Callable[..., float], bound: float) -> WhileAtLeast:
    """Keep a result while its own metric is good enough.

        @motet.step(cache=motet.while_at_least(accuracy, 0.92))
        def train(kind, rows): ...

        def accuracy(model, rows): ...

    Args:
        metric: a function of the result that gives a number; further parameters are named like those of the step, and
            given today's values. These count by the metric, the step's other arguments and its code by content. A
            metric of the result alone lets all inputs that come from steps and files change.
        bound: the least value that is good enough.
    """
    if not callable(metric) or not inspect.signature(metric).parameters:
        raise InputError(f"while_at_least({metric!r}, {bound!r})", hint="give a function that takes the result")
    return WhileAtLeast(metric, bound)


def read_policy(cache: bool | Rule | Sequence[Rule], max_age_s: float | None) -> CachePolicy | None:
    """What `cache=` and `max_age=` of a step say."""
    if cache is False:
        if max_age_s is not None:
            raise InputError("max_age without cache keeps nothing", where="step", hint="add cache=True")
        return None
    rules: Sequence[Any] = () if cache is True else [cache] if isinstance(cache, Rule) else cache
    if not isinstance(rules, (list, tuple)) or not all(isinstance(rule, Rule) for rule in rules):
        raise InputError(
            f"cache={cache!r}", where="step", hint="True, False, motet.when_changed(...), motet.while_at_least(...)"
        )
    return CachePolicy(tuple(rules), max_age_s)
