"""Workflows: functions as steps, wired by calling them, run once, and not again while nothing has changed.

    import motet as mt

    @mt.step(cache=True)
    def train(kind, rows): ...

    @mt.workflow
    def fashion():
        rows = ingest()
        return select([train(kind, rows) for kind in ("linear", "mlp", "cnn")])

    fashion().run()

step.py        `step`, and what it may ask for (options.py, policies.py, files.py)
definition.py  `workflow`: from calls (wiring.py) to a plan (plan.py) of steps (steps.py)
choices.py     `when`, `as_ready`                        deferred.py  promises
code/          what a function stands on                 project.py   which modules are the project's
memo/          results that are kept
play/          running plans                             record/      what runs leave behind
comparison.py  two runs side by side                     page/        what a run looks like
triggers.py    when to run again                         load.py      workflows in files

Each stands on those below it: `inside workflow` in pyproject.toml has the floors.

Importing this imports no framework. The module can be called, so that `motet.workflow` is the decorator and the package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, overload

from motet.workflow.choices import as_ready, when
from motet.workflow.deferred import Deferred
from motet.workflow.definition import Workflow, workflow
from motet.workflow.files import File
from motet.workflow.plan import Plan
from motet.workflow.policies import when_changed, while_at_least
from motet.workflow.step import Step, StepContext, current_step, step

if TYPE_CHECKING:
    from motet.workflow.comparison import compare, metrics

__all__ = [
    "Deferred",
    "File",
    "Plan",
    "Step",
    "StepContext",
    "Workflow",
    "as_ready",
    "compare",
    "current_step",
    "metrics",
    "step",
    "when",
    "when_changed",
    "while_at_least",
    "workflow",
]


def __getattr__(name: str) -> Any:
    if name in ("compare", "metrics"):  # which need the record of runs
        from motet.workflow import comparison

        return getattr(comparison, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


P = ParamSpec("P")


class WorkflowModule(ModuleType):
    """This module, which is the decorator too: `mt.workflow`."""

    if TYPE_CHECKING:
        compare = staticmethod(compare)
        metrics = staticmethod(metrics)

    @overload
    def __call__(self, function: Callable[P, Any], /, *, name: str = "") -> Workflow[P]: ...

    @overload
    def __call__(self, *, name: str = "") -> Callable[[Callable[P, Any]], Workflow[P]]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return workflow(*args, **kwargs)


sys.modules[__name__].__class__ = WorkflowModule
