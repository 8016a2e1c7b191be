"""What `motet check` says of routes whose models are played together, or why they are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from motet.nodes.route import Route
from motet.runtime.residency.lazy_models import lazy_names
from motet.runtime.stacks import StackPlan, stack_plan

if TYPE_CHECKING:
    from motet.graph.check import CheckedGraph
    from motet.runtime.resolve import ModelResolver

__all__ = ["stack_notes"]

MANY = 4
"""Of a route of fewer models of which none are played together nothing is said."""
SHOWN = 3


def stack_notes(checked: CheckedGraph, resolver: ModelResolver) -> Iterator[str]:
    """A line for each group of models that are played together, and for each reason why others are not.

    Args:
        checked: the graph.
        resolver: finds its models.
    """
    graph = checked.graph
    lazy = lazy_names(checked)
    for node in graph.nodes.values():
        models = {member.uses for member in node.members}
        if not isinstance(node, Route) or len(models) < 2:
            continue
        if not node.stack:
            yield f"node {node.name!r}: each model is called by itself, as stack: false says"
            continue
        plan, _ = stack_plan(
            node, checked, lambda uses: None if uses in lazy else resolver.locate(graph.models[uses], graph.folder)
        )
        if plan.groups or len(models) >= MANY:
            yield from _said(node.name, plan)
    for inner in checked.graphs.values():
        yield from stack_notes(inner, resolver)


def _said(name: str, plan: StackPlan) -> Iterator[str]:
    for group in plan.groups:
        yield f"node {name!r}: {len(group)} models of one structure are played as one call: {_some(group)}"
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for model, reason in plan.reasons.items():
        by_reason[reason].append(model)
    for reason, models in by_reason.items():
        each = "is called by itself, since it" if len(models) == 1 else "are called by themselves, since each"
        yield f"node {name!r}: {_some(models)} {each} {reason}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
