"""What is being wired: the steps that are called while the function of a workflow runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from motet.errors import CycleError, GraphError
from motet.workflow.deferred import Deferred, Result, copied, hidden_in
from motet.workflow.functions import FunctionWrapper, place_of
from motet.workflow.steps import AsReady, Branch, PlannedStep

if TYPE_CHECKING:
    from motet.workflow.step import Step

__all__ = ["Wiring", "building", "hides_ready", "wired"]

MOST_STEPS = 1_000_000


class Wiring:
    """A workflow that is being wired. It belongs to the thread that wires it."""

    def __init__(self, name: str) -> None:
        self.nodes: list[PlannedStep] = []
        self.branches: tuple[Branch, ...] = ()
        self.workflows: list[FunctionWrapper] = []
        self._prefix = ""
        self._counts: dict[str, int] = {}
        self._known: set[int] = set()
        self.name = name

    def add(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Result:
        """Add a step.

        Raises:
            GraphError: when an input is missing or unknown, or comes from another workflow.
        """
        arguments = self._bind(step, args, kwargs)
        node = PlannedStep(self._id(self._prefix + step.name), step, arguments, self.branches, place=len(self.nodes))
        if len(self.nodes) >= MOST_STEPS:
            raise GraphError(f"more than {MOST_STEPS:,} steps", where=self.name)
        for other in (*node.needs(), *node.follows()):
            self.check(other, node.id)
        self.nodes.append(node)
        self._known.add(id(node))
        return Result(node)

    def _id(self, name: str) -> str:
        """A name that no other step has: with a number, where the name itself is taken."""
        number = self._counts.get(name, 0) + 1
        found = name if number == 1 else f"{name}-{number}"
        while found != name and found in self._counts:
            number += 1
            found = f"{name}-{number}"
        self._counts[name] = number
        self._counts.setdefault(found, 1)
        return found

    def check(self, node: PlannedStep, where: str) -> None:
        """Refuse a step of another workflow."""
        if id(node) not in self._known:
            raise GraphError(
                f"takes the result of step {node.id}, which belongs to another workflow, or to an earlier wiring",
                where=where,
                hint="call the step inside this workflow",
            )

    def _bind(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = step.bind(args, kwargs)
        except TypeError as error:
            raise GraphError(
                f"step {step.name} cannot be called so: {error}",
                where=step.place,
                hint=f"it takes {step.signature}",
            ) from None
        arguments = {name: copied(value) for name, value in bound.items()}
        inside = [name for name, value in arguments.items() if not isinstance(value, AsReady) and hides_ready(value)]
        many = [name for name, value in arguments.items() if isinstance(value, AsReady)]
        if inside or len(many) > 1:
            raise GraphError(
                "as_ready(...) is an argument of its own, and only one of them",
                where=f"step {step.name}, {', '.join(inside or many)}",
            )
        for name, value in arguments.items():
            holder = None if isinstance(value, AsReady) else hidden_in(value)
            if holder is not None:
                raise GraphError(
                    f"the result of a step is inside of a {type(holder).__name__}, where it is not found",
                    where=f"step {step.name}, {name}",
                    hint="steps take promises in lists, tuples and the values of dicts",
                )
        return arguments

    @contextmanager
    def under(self, condition: Deferred, wanted: bool) -> Iterator[None]:
        """What is wired meanwhile runs only under a condition."""
        before = self.branches
        self.branches = (*before, Branch(condition, wanted))
        try:
            yield
        finally:
            self.branches = before

    @contextmanager
    def inside(self, workflow: FunctionWrapper) -> Iterator[None]:
        """What is wired meanwhile belongs to a workflow; one that calls itself is refused."""
        names = [each.name for each in self.workflows]
        if workflow in self.workflows:
            loop = [*names[self.workflows.index(workflow) :], workflow.name]
            raise CycleError(loop, where=place_of(workflow.function), noun="workflows")
        prefix = self._prefix
        self.workflows.append(workflow)
        if len(self.workflows) > 1:
            number = self._counts[prefix + workflow.name] = self._counts.get(prefix + workflow.name, 0) + 1
            self._prefix = f"{prefix}{workflow.name}{'' if number == 1 else f'-{number}'}/"
        try:
            yield
        finally:
            self.workflows.pop()
            self._prefix = prefix


_building: ContextVar[Wiring | None] = ContextVar("motet_wiring", default=None)


@contextmanager
def wired(name: str) -> Iterator[Wiring]:
    """Meanwhile, steps that are called in this thread are steps of a new workflow."""
    token = _building.set(wiring := Wiring(name))
    try:
        yield wiring
    finally:
        _building.reset(token)


def building() -> Wiring | None:
    """What is being wired in this thread; None where nothing is."""
    return _building.get()


def hides_ready(value: Any) -> bool:
    """Whether results that are taken as they come are inside of a value."""
    if isinstance(value, (list, tuple)):
        return any(isinstance(each, AsReady) or hides_ready(each) for each in value)
    return isinstance(value, dict) and any(isinstance(each, AsReady) or hides_ready(each) for each in value.values())
