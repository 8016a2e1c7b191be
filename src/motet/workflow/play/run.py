"""`Run`: what a run gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from motet.errors import UnknownNameError, WorkflowError
from motet.workflow.play.session import Session
from motet.workflow.play.state import GOOD, StepState
from motet.workflow.record.metrics import RunMetrics, seen_run
from motet.workflow.steps import StepGraph

__all__ = ["Run"]


@dataclass(frozen=True, repr=False)
class Run:
    """A run that is over.

    Attributes:
        id: its id; the record keeps it under that.
        workflow: the name of the workflow.
        state: `done`, `failed` or `cancelled`.
        steps: the steps, in the order in which they were called.
        seconds: how long it took.
        resumes: the run was killed before, and went on.
    """

    id: str
    workflow: str
    state: str
    steps: Sequence[StepState]
    seconds: float
    resumes: bool
    _plan: StepGraph
    _session: Session

    @property
    def output(self) -> Any:
        """What the workflow returns, with every promise kept; loaded when it is asked for.

        Raises:
            WorkflowError: when a step that it needs has no result.
        """
        if not self._session.known(self._plan.output):
            raise WorkflowError("what the workflow returns is not known: a step has no result", where=self.id)
        return self._session.resolve(self._plan.output)

    @property
    def metrics(self) -> RunMetrics:
        """What `mt.log` has kept, by step and by name: `run.metrics["train"]["loss"].values`.

        Of a step whose result was kept, what the run that made it has.
        """
        return seen_run(self._session.record.home, self.id)[2]

    def step(self, name: str) -> StepState:
        """A step by its id. Raises UnknownNameError where there is none."""
        found = {each.id: each for each in self.steps}
        if name not in found:
            raise UnknownNameError("step", name, list(found), where=f"run {self.id}")
        return found[name]

    def __repr__(self) -> str:
        return f"<{self}>"

    def _repr_html_(self) -> str:
        """The page of the run, which a notebook shows."""
        from motet.workflow.page import framed, run_page

        return framed(run_page(*seen_run(self._session.record.home, self.id)))

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} {state}" for state, count in Counter(each.state for each in self.steps).items())
        return f"{self.workflow} {self.state} in {self.seconds:.2f} s: {told or 'no steps'} (run {self.id})"

    @property
    def ok(self) -> bool:
        """Whether every step has a result, or was left out by a condition."""
        return all(each.state in GOOD or each.state == "left out" for each in self.steps)
