"""Going on with a run that was stopped: which one, how long ago that was, and what is said of it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from motet.errors import InputError, WorkflowError
from motet.workflow.play.durations import told_s
from motet.workflow.play.journal import Noted
from motet.workflow.record.runs import RunRecord, RunRow, is_alive

__all__ = ["RESUME_WITHIN_S", "earlier_run", "say_resumed"]

_logger = logging.getLogger("motet.workflow")
RESUME_WITHIN_S = 900.0
"""A run that was killed longer ago is not gone on with unless it is named: what it has read may have changed."""
_SLACK_S = 60.0


def earlier_run(
    record: RunRecord, home: Path, workflow: str, plan: str, resume: str | bool, within_s: float | None
) -> RunRow | None:
    """The run to go on with.

    Args:
        record: the runs there were.
        home: their folder.
        workflow: the name of the workflow.
        plan: its digest, with its parameters; empty where nothing can be found by it.
        resume: a run by its id, True for the last one if it was killed, False for none.
        within_s: seconds since it was stopped, at most; None is no bound for a run by its id, else a quarter of an hour.

    Raises:
        InputError: when the run that is named is of another workflow.
        WorkflowError: when the run that is named was over longer ago.
    """
    now = time.time()
    if isinstance(resume, str):
        found = record.run(resume)
        if found.workflow != workflow:
            raise InputError(f"run {found.id} is of workflow {found.workflow}", where=workflow, hint="name another run")
        if within_s is not None and not _is_within(found, now, within_s):
            raise WorkflowError(
                f"run {found.id} {_ended(found)} {_age(found, now)}, and may be gone on with for {told_s(within_s)}",
                where=workflow,
                hint="begin anew, or name a longer time (resume_within)",
            )
        return found
    last = record.last_of(plan) if resume and plan else None
    if last is None or last.state != "running" or is_alive(home, last.id):
        return None
    if _is_within(last, now, RESUME_WITHIN_S if within_s is None else within_s):
        return last
    _logger.warning(
        "run %s was killed %s, and is not gone on with: this one begins anew; --resume %s goes on with it",
        *(last.id, _age(last, now), last.id),
    )
    return None


def say_resumed(run: RunRow, results: list[Noted]) -> None:
    """Say which run is gone on with, and how old what is taken of it may be."""
    now = time.time()
    oldest = max((now - each.created for each in results), default=0.0)
    count = f"{len(results)} result{'s' if results[1:] else ''}"
    told = f" and left {count} of steps without cache, the oldest {told_s(oldest)} old" if results else ""
    _logger.warning(
        "goes on with run %s, which %s %s%s; --fresh (resume=False) begins anew",
        *(run.id, _ended(run), _age(run, now), told),
    )


def _ended(run: RunRow) -> str:
    return {"done": "ended", "failed": "failed"}.get(run.state, "was stopped")


def _is_within(run: RunRow, now: float, within_s: float) -> bool:
    return -_SLACK_S < now - _stopped(run) < within_s


def _stopped(run: RunRow) -> float:
    """When a run was last known to run, in seconds since 1970."""
    return run.started + run.seconds


def _age(run: RunRow, now: float) -> str:
    age_s = now - _stopped(run)
    return f"{told_s(max(age_s, 0.0))} ago" if age_s > -_SLACK_S else f"{told_s(-age_s)} after now by this clock"
