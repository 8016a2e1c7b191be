"""Runs of one workflow at the same time: whether there may be any, in all processes of this machine."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Literal, get_args

from motet.errors import InputError, OverlapError
from motet.workflow.memo.locks import key_lock
from motet.workflow.record.runs import RunRecord, RunRow, is_alive
from motet.workflow.steps import StepGraph

__all__ = ["Overlap", "read_overlap", "schedule_lock", "turn"]

_logger = logging.getLogger("motet.workflow")
Overlap = Literal["allow", "forbid", "wait"]
"""What becomes of a run while another one of the same workflow and parameters goes."""
_POLL_S = 0.2


def read_overlap(value: str) -> Overlap:
    """What `overlap=` of a run says. Raises InputError for what is none of its values."""
    for known in get_args(Overlap):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise InputError(f"overlap={value!r}", where="run", hint=f"one of {', '.join(get_args(Overlap))}")


@contextmanager
def turn(
    record: RunRecord, home: Path, plan: StepGraph, digest: str, overlap: Overlap, cancel: Event
) -> Iterator[None]:
    """Run when no other run of the same workflow and parameters goes, which includes those that allow others.

    Args:
        record: the runs there were.
        home: their folder.
        plan: the workflow.
        digest: of it, with its parameters; empty where these cannot be compared, so that they count as the same.
        overlap: `allow` runs at once, `forbid` refuses to, `wait` waits.
        cancel: ends the waiting.

    Raises:
        OverlapError: when it is refused.
    """
    if overlap == "allow":
        yield
        return
    key = hashlib.sha256(os.fsencode(f"plan {digest or f'{plan.name} {plan.file}'}")).hexdigest()

    def going() -> list[RunRow]:
        return [each for each in record.running(plan.name, digest) if is_alive(home, each.id)]

    with ExitStack() as stack:
        lock = key_lock(home / "runs.lock", key, lambda: True)
        held, others = stack.enter_context(lock), going()
        if (others or not held) and overlap == "forbid":
            raise OverlapError(_told(others), where=plan.name, hint="wait for it, or allow both (overlap)")
        if others or not held:
            _logger.warning("%s waits, as %s", plan.name, _told(others))
        if not held:
            stack.enter_context(key_lock(home / "runs.lock", key, cancel.is_set))
        while going() and not cancel.wait(_POLL_S):
            pass
        yield


def _told(runs: list[RunRow]) -> str:
    return f"run {runs[0].id} of it goes (process {runs[0].pid})" if runs else "another run of it begins"


@contextmanager
def schedule_lock(home: Path, name: str, stopped: Callable[[], bool], say: Callable[[], None]) -> Iterator[bool]:
    """Be the only process that plays a schedule; others wait, and go on with it when that one ends.

    Args:
        home: the folder of runs.
        name: what is the same for all processes of the schedule.
        stopped: ends the waiting.
        say: is called before it waits.
    """
    key = hashlib.sha256(os.fsencode(f"schedule {name}")).hexdigest()
    with key_lock(home / "runs.lock", key, lambda: True) as held:
        if held:
            yield True
            return
    say()
    with key_lock(home / "runs.lock", key, stopped) as held:
        yield held
