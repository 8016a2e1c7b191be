"""`Plan`: a workflow that is wired, which can be run and drawn."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from motet.workflow.options import read_duration_s
from motet.workflow.steps import StepGraph

if TYPE_CHECKING:
    from motet.workflow.play.budget import Budget
    from motet.workflow.play.run import Run
    from motet.workflow.play.step_process import StepPlace

__all__ = ["Plan"]


class Plan(StepGraph):
    """A workflow that is wired, with its parameters: pure data. Made by calling a workflow.

    Attributes:
        name: the name of the workflow.
        parameters: what it was called with.
        nodes: its steps, in the order in which they were called.
        output: what the workflow returns, with promises in it.
        file: where the workflow is written.
    """

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
        place: StepPlace | None = None,
    ) -> Run:
        """Run it, from this machine.

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
            budget: lends resources to steps that ask for them; by default those of `place`.
            place: where steps with processes of their own run: by default this machine, or `motet.ray.Steps()`, a cluster.

        Raises:
            OverlapError: when another run goes, and `overlap` forbids that.
            StepError: when a step failed. The step's own error is its cause.
            WorkflowError: when the run could not go on.
        """
        from motet.workflow.play.overlap import read_overlap
        from motet.workflow.play.start import RunSettings, run_plan

        settings = RunSettings(
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
            **({} if place is None else {"place": place}),
        )
        return run_plan(self, settings)

    def _repr_html_(self) -> str:
        """The steps and what they wait for, drawn, which a notebook shows."""
        from motet.workflow.page import framed, plan_page

        return framed(plan_page(self))
