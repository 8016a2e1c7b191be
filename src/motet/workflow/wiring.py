"""`workflow`: a function that wires steps; what it gives when called is a plan (plan.py), which can be run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, overload

from motet.errors import CycleError, GraphError
from motet.workflow.deferred import Deferred, Result, copied, hidden_in, nodes_of
from motet.workflow.plan import AsReady, Branch, Node, Plan, refuse_cycles
from motet.workflow.step import Step, place_of

__all__ = ["Wiring", "Workflow", "building", "workflow"]

P = ParamSpec("P")
MOST_STEPS = 1_000_000


class Wiring:
    """A workflow that is being wired. It belongs to the thread that wires it."""

    def __init__(self, name: str) -> None:
        self.nodes: list[Node] = []
        self.branches: tuple[Branch, ...] = ()
        self.workflows: list[Workflow[Any]] = []
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
        node = Node(self._id(self._prefix + step.name), step, arguments, self.branches, place=len(self.nodes))
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

    def check(self, node: Node, where: str) -> None:
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
        inside = [name for name, value in arguments.items() if not isinstance(value, AsReady) and _hides_ready(value)]
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
    def inside(self, workflow: Workflow[Any]) -> Iterator[None]:
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


def building() -> Wiring | None:
    """What is being wired in this thread; None where nothing is."""
    return _building.get()


class Workflow(Generic[P]):
    """A function that wires steps. Made by `workflow`.

    Attributes:
        function: the function itself.
        name: the name of the workflow.
    """

    def __init__(self, function: Callable[P, Any], name: str = "") -> None:
        if not callable(function):
            raise GraphError(f"a workflow is a function; got {function!r}", where="@workflow")
        self.function = function
        self.name = name or function.__name__
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Plan:
        """Wire the steps: a `Plan`, or, inside of another workflow, what the function returns (which its type does not say).

        Raises:
            GraphError: when a parameter is missing or unknown, or the steps cannot be wired.
        """
        arguments = self._bind(args, kwargs)
        outer = building()
        if outer is not None:
            with outer.inside(self):
                inside: Any = self.function(*arguments.args, **arguments.kwargs)
                return inside  # type: ignore[no-any-return]
        wiring = Wiring(self.name)
        token = _building.set(wiring)
        try:
            with wiring.inside(self):
                output = self.function(*arguments.args, **arguments.kwargs)
        finally:
            _building.reset(token)
        output = copied(output)
        if isinstance(output, AsReady) or _hides_ready(output) or hidden_in(output) is not None:
            raise GraphError(
                "the workflow returns as_ready(...), or promises in something else than lists, tuples and dicts",
                where=place_of(self.function),
                hint="return promises, alone or in lists, tuples and dicts",
            )
        for node in nodes_of(output):
            wiring.check(node, f"what {self.name} returns")
        for node in wiring.nodes:
            for other in node.after:
                wiring.check(other, node.id)
        refuse_cycles(wiring.nodes, place_of(self.function))
        file = getattr(inspect.unwrap(self.function), "__code__", None)
        return Plan(self.name, dict(arguments.arguments), wiring.nodes, output, file.co_filename if file else "")

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise GraphError(
                f"workflow {self.name} cannot be called so: {error}",
                where=place_of(self.function),
                hint=f"it takes {self.signature}",
            ) from None
        bound.apply_defaults()
        return bound

    def __repr__(self) -> str:
        return f"<workflow {self.name} ({place_of(self.function)})>"


@overload
def workflow(function: Callable[P, Any], /, *, name: str = "") -> Workflow[P]: ...


@overload
def workflow(*, name: str = "") -> Callable[[Callable[P, Any]], Workflow[P]]: ...


def workflow(function: Callable[P, Any] | None = None, /, *, name: str = "") -> Any:
    """Make a function a workflow: called, it wires the steps that it calls, and gives a `Plan`; `plan.run()` runs them.

        @motet.workflow
        def fashion(epochs: int = 3):
            rows = ingest()
            models = [train(kind, rows, epochs) for kind in ("linear", "mlp", "cnn")]
            return select(models)

        fashion(epochs=5).run()

    The function runs when the workflow is wired, so it sees promises where steps give results: see `when` for
    conditions. A workflow that is called by another one becomes a part of it.

    Args:
        function: a plain function that calls steps.
        name: what it is called; the function's name by default.
    """
    return Workflow(function, name) if function is not None else lambda function: Workflow(function, name)


def _hides_ready(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(each, AsReady) or _hides_ready(each) for each in value)
    return isinstance(value, dict) and any(isinstance(each, AsReady) or _hides_ready(each) for each in value.values())
