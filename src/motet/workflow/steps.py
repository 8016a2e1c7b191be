"""The steps of a workflow that is wired, as data: what each takes, and under which conditions it runs."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from motet.errors import CycleError, UnknownNameError
from motet.workflow.deferred import Deferred, nodes_of

if TYPE_CHECKING:
    from motet.workflow.step import Step

__all__ = ["AsReady", "Branch", "PlannedStep", "StepGraph", "find_step", "refuse_cycles"]


@dataclass(frozen=True, slots=True)
class Branch:
    """A condition that a step runs under."""

    condition: Deferred
    wanted: bool


@dataclass(frozen=True, slots=True)
class AsReady:
    """Results that a step takes as they come.

    Attributes:
        items: the promises.
        at_least: how many must be there before the step runs for the first time.
    """

    items: tuple[Deferred, ...]
    at_least: int


@dataclass(eq=False, slots=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        id: its name, unique in the plan.
        step: what it runs.
        arguments: what it is called with, by parameter; with promises in it.
        branches: the conditions it runs under.
        after: steps that must be over before, though it takes nothing of theirs.
        place: its place in the order of calls.
    """

    id: str
    step: Step[Any, Any]
    arguments: dict[str, Any]
    branches: tuple[Branch, ...]
    place: int
    after: list[PlannedStep] = field(default_factory=list)

    def as_ready(self) -> AsReady | None:
        """The results that it takes as they come, where it does."""
        return next((value for value in self.arguments.values() if isinstance(value, AsReady)), None)

    def needs(self) -> list[PlannedStep]:
        """The steps that must be over before it can run at all, each once."""
        taken = (*self.arguments.values(), *(branch.condition for branch in self.branches))
        return list(dict.fromkeys([*(node for value in taken for node in nodes_of(value)), *self.after]))

    def follows(self) -> list[PlannedStep]:
        """The steps whose results it takes as they come."""
        ready = self.as_ready()
        return list(dict.fromkeys(nodes_of(ready.items))) if ready else []


@dataclass(frozen=True, eq=False, repr=False)
class StepGraph:
    """The steps of a workflow, with what it was called with.

    Attributes:
        name: the name of the workflow.
        parameters: what it was called with.
        nodes: its steps, in the order in which they were called.
        output: what the workflow returns, with promises in it.
        file: where the workflow is written.
    """

    name: str
    parameters: Mapping[str, Any]
    nodes: Sequence[PlannedStep]
    output: Any
    file: str

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return f"workflow {self.name}: {len(self.nodes)} step{'' if len(self.nodes) == 1 else 's'}"


def find_step(plan: StepGraph, name: str) -> PlannedStep:
    """A step of a plan by its id. Raises UnknownNameError where there is none."""
    found = {node.id: node for node in plan.nodes}
    if name not in found:
        raise UnknownNameError("step", name, list(found), where=f"workflow {plan.name}")
    return found[name]


def refuse_cycles(nodes: Sequence[PlannedStep], where: str) -> None:
    """Refuse steps that wait for each other, and print the loop.

    Raises:
        CycleError: names the steps of a loop.
    """
    if not any(node.after for node in nodes):
        return  # arguments and conditions were there before the step that takes them
    try:
        graphlib.TopologicalSorter({node: (*node.needs(), *node.follows()) for node in nodes}).prepare()
    except graphlib.CycleError as error:
        loop: list[PlannedStep] = error.args[1][:0:-1]  # each behind one that it needs, the first twice
        first = loop.index(min(loop, key=lambda node: node.place))
        loop = [*loop[first:], *loop[: first + 1]]
        raise CycleError([node.id for node in loop], where=where, noun="steps") from None
