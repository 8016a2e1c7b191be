"""Workflows: functions as steps, wired by calling them, run once, and not again while nothing has changed.

    import motet as mt

    @mt.step(cache=True)
    def train(kind, rows): ...

    @mt.workflow
    def fashion():
        rows = ingest()
        return select([train(kind, rows) for kind in ("linear", "mlp", "cnn")])

    fashion().run()

step.py       `step`, and what it may ask for (options.py, policies.py, files.py)
wiring.py     `workflow`, `when`, `as_ready`: from calls to a plan      deferred.py  promises
code/         what a function stands on
memo/         results that are kept
play/         running plans
page/         what a run looks like                                     triggers.py  when to run again
load.py       workflows in files

Importing this imports no framework. The module can be called, so that `motet.workflow` is the decorator and the package.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from motet.workflow.deferred import Deferred
from motet.workflow.files import File
from motet.workflow.policies import when_changed, while_at_least
from motet.workflow.step import Step, StepContext, current_step, step
from motet.workflow.wiring import Plan, Workflow, as_ready, when, workflow

__all__ = [
    "Deferred",
    "File",
    "Plan",
    "Step",
    "StepContext",
    "Workflow",
    "as_ready",
    "current_step",
    "step",
    "when",
    "when_changed",
    "while_at_least",
    "workflow",
]


class _Callable(ModuleType):
    """This module, which is the decorator too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return workflow(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
