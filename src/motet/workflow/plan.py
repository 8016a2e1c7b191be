"""A workflow that is wired, as data: its steps, what each takes, under which conditions; and how it is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from motet.errors import CycleError
from motet.workflow.deferred import Deferred, nodes_of
from motet.workflow.options import read_duration_s
from motet.workflow.step import Step

if TYPE_CHECKING:
    from motet.workflow.play.budget import Budget
    from motet.workflow.play.run import Run

__all__ = ["AsReady", "Branch", "Node", "Plan", "refuse_cycles"]


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


@dataclass(frozen=True, eq=False, repr=False)
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
        resume_within: str | float | None = None,
        overlap: Literal["allow", "forbid", "wait"] = "allow",
        again: Sequence[str] = (),
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
                if that was killed; False begins anew. Steps that are finished are not run again; which run it is, and of
                which age its results are, is logged.
            resume_within: how long ago that run may have been stopped, as `"2h"` or seconds; by default 15
                minutes, and without a bound for one by its id.
            overlap: what becomes of it while another run of the same workflow and parameters goes on this machine: it runs
                all the same, is refused, or waits.
            again: steps, by their ids, that run whatever is kept of them; their new results are kept instead.
            fail_fast: whether the first failure ends the run; else all steps run that do not need the failed one.
            check: whether a failed run raises; else look at `Run.state`.
            threads: how many steps run at the same time in this process; by default a thread a core, at least 4.
            cancel: ends the run when set.
            progress: is told each change of a step's state, with a `StepState`, in the thread that runs the step and before
                the run ends; what it raises is logged.
            capture: whether what steps print goes to their logs.
            budget: lends resources to steps that ask for them; by default those of this machine.

        Raises:
            OverlapError: when another run goes, and `overlap` forbids that.
            StepError: when a step failed. The step's own error is its cause.
            WorkflowError: when the run could not go on.
        """
        from motet.workflow.play.overlap import read_overlap
        from motet.workflow.play.start import Settings, run_plan

        settings = Settings(
            cache=cache,
            asynchronous=asynchronous,
            resume=resume,
            resume_within_s=None if resume_within is None else read_duration_s(resume_within, "run, resume_within"),
            overlap=read_overlap(overlap),
            again=frozenset(again),
            fail_fast=fail_fast,
            check=check,
            threads=threads,
            cancel=cancel or Event(),
            progress=progress,
            capture=capture,
            budget=budget,
        )
        return run_plan(self, settings)

    def __repr__(self) -> str:
        return f"<{self}>"

    def _repr_html_(self) -> str:
        """The steps and what they wait for, drawn, which a notebook shows."""
        from motet.workflow.page import framed, plan_page

        return framed(plan_page(self))

    def __str__(self) -> str:
        return f"workflow {self.name}: {len(self.nodes)} step{'' if len(self.nodes) == 1 else 's'}"


def refuse_cycles(nodes: Sequence[Node], where: str) -> None:
    """Refuse steps that wait for each other, and print the loop.

    Raises:
        CycleError: names the steps of a loop.
    """
    if not any(node.after for node in nodes):
        return  # arguments and conditions were there before the step that takes them
    needs = {id(node): {id(each): each for each in (*node.needs(), *node.follows())} for node in nodes}
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
