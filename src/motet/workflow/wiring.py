"""`workflow`: a function that wires steps; what it gives when called is a plan, which can be run."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from motet.errors import CycleError, GraphError
from motet.workflow.deferred import Choice, Deferred, Result, deferreds_in, nodes_of
from motet.workflow.step import Step, place_of

if TYPE_CHECKING:
    from motet.workflow.play.budget import Budget
    from motet.workflow.play.run import Run

__all__ = ["AsReady", "Branch", "Node", "Plan", "Wiring", "Workflow", "as_ready", "building", "when", "workflow"]

P = ParamSpec("P")
MOST_STEPS = 1_000_000


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
class Node:
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
    after: list[Node] = field(default_factory=list)

    def as_ready(self) -> AsReady | None:
        """The results that it takes as they come, where it does."""
        return next((value for value in self.arguments.values() if isinstance(value, AsReady)), None)

    def needs(self) -> list[Node]:
        """The steps that must be over before it can run at all, each once."""
        found: dict[int, Node] = {}
        for value in self.arguments.values():
            for node in nodes_of(value):
                found[id(node)] = node
        for branch in self.branches:
            for node in nodes_of(branch.condition):
                found[id(node)] = node
        for node in self.after:
            found[id(node)] = node
        return list(found.values())

    def follows(self) -> list[Node]:
        """The steps whose results it takes as they come."""
        ready = self.as_ready()
        return list({id(node): node for item in ready.items for node in nodes_of(item)}.values()) if ready else []


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
        name = self._prefix + step.name
        number = self._counts[name] = self._counts.get(name, 0) + 1
        node = Node(name if number == 1 else f"{name}-{number}", step, arguments, self.branches, place=len(self.nodes))
        if len(self.nodes) >= MOST_STEPS:
            raise GraphError(f"more than {MOST_STEPS:,} steps", where=self.name)
        for other in (*node.needs(), *node.follows()):
            self.check(other, node.id)
        self.nodes.append(node)
        self._known.add(id(node))
        return Result(node)

    def check(self, node: Node, where: str) -> None:
        """Refuse a step of another workflow."""
        if id(node) not in self._known:
            raise GraphError(
                f"takes the result of step {node.id}, which belongs to another workflow, or to an earlier wiring",
                where=where,
                hint="call the step inside this workflow",
            )

    def _bind(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        signature = step.signature
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise GraphError(
                f"step {step.name} cannot be called so: {error}",
                where=place_of(step.function),
                hint=f"it takes {signature}",
            ) from None
        bound.apply_defaults()
        arguments = {name: _copied(value) for name, value in bound.arguments.items()}
        inside = [name for name, value in arguments.items() if not isinstance(value, AsReady) and _hides_ready(value)]
        many = [name for name, value in arguments.items() if isinstance(value, AsReady)]
        if inside or len(many) > 1:
            raise GraphError(
                "as_ready(...) is an argument of its own, and only one of them",
                where=f"step {step.name}, {', '.join(inside or many)}",
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


@dataclass(frozen=True, eq=False)
class Plan:
    """A workflow that is wired, with its parameters: pure data. Made by calling a workflow.

    Attributes:
        name: the name of the workflow.
        parameters: what it was called with.
        nodes: its steps, in the order in which they were called.
        output: what the workflow returns, with promises in it.
        file: where the workflow is written.
    """

    name: str
    parameters: Mapping[str, Any]
    nodes: Sequence[Node]
    output: Any
    file: str

    def run(
        self,
        *,
        cache: str | os.PathLike[str] | None = None,
        asynchronous: bool = True,
        resume: str | bool = True,
        fail_fast: bool = False,
        check: bool = True,
        threads: int | None = None,
        cancel: Event | None = None,
        progress: Callable[[Any], None] | None = None,
        capture: bool = False,
        budget: Budget | None = None,
    ) -> Run:
        """Run it on this machine.

        Args:
            cache: the folder in which results are kept; by default `workflow` in `$MOTET_CACHE_DIR`, else in
                `~/.cache/motet`. It may be on a file system that several machines share.
            asynchronous: whether steps that take `as_ready(...)` run again as each result comes; else once, at the end.
            resume: a run to go on with, by its id; True goes on with the last run of the same workflow and parameters
                if that was killed; False begins anew. Steps that are finished are not run again.
            fail_fast: whether the first failure ends the run; else all steps run that do not need the failed one.
            check: whether a failed run raises; else look at `Run.state`.
            threads: how many steps run at the same time in this process; by default a thread a core, at least 4.
            cancel: ends the run when set.
            progress: is told each change of a step's state, with a `StepState`.
            capture: whether what steps print goes to their logs.
            budget: lends resources to steps that ask for them; by default those of this machine.

        Raises:
            StepError: when a step failed. The step's own error is its cause.
            WorkflowError: when the run could not go on.
        """
        from motet.workflow.play.start import Settings, run_plan

        settings = Settings(
            cache, asynchronous, resume, fail_fast, check, threads, cancel or Event(), progress, capture, budget
        )
        return run_plan(self, settings)

    def __str__(self) -> str:
        return f"workflow {self.name}: {len(self.nodes)} step{'' if len(self.nodes) == 1 else 's'}"


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

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Wire the steps: a `Plan`, or, inside of another workflow, what the function returns.

        Raises:
            GraphError: when a parameter is missing or unknown, or the steps cannot be wired.
        """
        arguments = self._bind(args, kwargs)
        outer = building()
        if outer is not None:
            with outer.inside(self):
                return self.function(*arguments.args, **arguments.kwargs)
        wiring = Wiring(self.name)
        token = _building.set(wiring)
        try:
            with wiring.inside(self):
                output = self.function(*arguments.args, **arguments.kwargs)
        finally:
            _building.reset(token)
        output = _copied(output)
        for node in nodes_of(output):
            wiring.check(node, f"what {self.name} returns")
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
            values.append(_copied(branch() if is_step else branch))
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


def refuse_cycles(nodes: Sequence[Node], where: str) -> None:
    """Refuse steps that wait for each other, and print the loop.

    Raises:
        CycleError: names the steps of a loop.
    """
    needs = {id(node): {id(each): each for each in (*node.needs(), *node.follows())} for node in nodes}
    if all(each.place < node.place for node in nodes for each in needs[id(node)].values()):
        return
    over: set[int] = set()
    for start in nodes:
        way: list[Node] = [start]
        left = [iter(needs[id(start)].values())]
        on_way = {id(start)}
        while left:
            step = next(left[-1], None)
            if step is None:
                left.pop()
                last = way.pop()
                on_way.discard(id(last))
                over.add(id(last))
            elif id(step) in on_way:
                loop = [each.id for each in way[[id(each) for each in way].index(id(step)) :]]
                raise CycleError([*loop, loop[0]], where=where, noun="steps")
            elif id(step) not in over:
                way.append(step)
                on_way.add(id(step))
                left.append(iter(needs[id(step)].values()))


def _copied(value: Any) -> Any:
    """A value whose lists, tuples and dicts with promises in them are its own: what is put into them later is not seen."""
    if isinstance(value, (list, tuple, dict)):
        if next(deferreds_in(value), None) is None:
            return value
        if isinstance(value, dict):
            return {name: _copied(each) for name, each in value.items()}
        items = [_copied(each) for each in value]
        return items if isinstance(value, list) else type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def _hides_ready(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(each, AsReady) or _hides_ready(each) for each in value)
    return isinstance(value, dict) and any(isinstance(each, AsReady) or _hides_ready(each) for each in value.values())
