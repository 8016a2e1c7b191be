"""What a workflow says of results that are not there yet: which steps run only under a condition, which run as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from motet.errors import GraphError
from motet.workflow.deferred import Choice, Deferred, copied
from motet.workflow.steps import AsReady
from motet.workflow.wiring import building

__all__ = ["as_ready", "when"]


def when(condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any] | Any = None) -> Any:
    """Decide while the workflow runs: steps called in `then` run only where the condition turns out true.

        best = motet.when(score(new) > score(old), lambda: publish(new), otherwise=lambda: old)

    Args:
        condition: the result of a step, or a comparison of one; what Python takes for true is true.
        then: a function without parameters that calls steps; a value is taken as it is.
        otherwise: the same for where the condition is false.

    Returns:
        What the function that is chosen returns, as a promise. Steps in the other one are left out, and so are steps that take
        their results other than through this promise.
    """
    wiring = building()
    if not isinstance(condition, Deferred):
        chosen = then if condition else otherwise
        return chosen() if callable(chosen) else chosen
    if wiring is None:
        raise GraphError("when(...) of a step's result stands inside a workflow", where="when")
    values = []
    for branch, wanted in ((then, True), (otherwise, False)):
        with wiring.under(condition, wanted):
            is_step = not isinstance(branch, Deferred) and callable(branch)
            values.append(copied(branch() if is_step else branch))
    return Choice(condition, *values)


def as_ready(results: Sequence[Any], *, at_least: int = 1) -> Any:
    """Let a step take results as they come: it runs again with each new one, instead of once with all.

        serving = publish(motet.as_ready([train(kind) for kind in kinds]))

    The step is given a list of the results that are there, in the order of the list. It does not run twice at the same
    time: what comes while it runs is taken together by its next run. Steps that take its result wait for the last run,
    unless they take it by `as_ready` themselves. A result whose step failed is left out. In a run with
    `asynchronous=False` the step runs once, at the end.

    Args:
        results: promises; an argument of its own of one step.
        at_least: how many must be there before the step runs for the first time.
    """
    items = list(results)
    wrong = [each for each in items if not isinstance(each, Deferred)]
    if building() is None:
        return items
    if wrong or not items or not 1 <= at_least <= len(items):
        raise GraphError(
            f"as_ready takes the results of one step or more, and at_least from 1 to their number; got "
            f"{wrong[0] if wrong else len(items)!r}, at_least={at_least!r}",
            where="as_ready",
        )
    return AsReady(tuple(items), at_least)
