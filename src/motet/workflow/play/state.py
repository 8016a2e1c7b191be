"""What is known of each step of a run."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from motet.errors import StepError, WorkflowError
from motet.workflow.deferred import Deferred
from motet.workflow.memo.artifacts import KeptValue
from motet.workflow.memo.checkout import see
from motet.workflow.steps import AsReady, PlannedStep

__all__ = ["ENDED", "GOOD", "Cancelled", "FinalStepError", "State", "StepState", "StepValue"]

State = Literal["waiting", "running", "done", "hit", "resumed", "left out", "failed", "skipped", "cancelled"]
GOOD = frozenset({"done", "hit", "resumed"})
"""The step has a result."""
ENDED = GOOD | {"left out", "failed", "skipped", "cancelled"}
"""Nothing more will become of the step."""


@dataclass(slots=True)
class StepValue:
    """The result of a step in a run.

    Attributes:
        kept: what is kept of it; None where it cannot be written, so that it is only in memory.
        digest: what stands for it in the keys of other steps.
        leaves: leaves that are loaded, by number.
        alone: gives the value itself where nothing is kept.
    """

    kept: KeptValue | None
    digest: str
    leaves: dict[int, Any] = field(default_factory=dict)
    alone: Callable[[], Any] | None = None

    @classmethod
    def in_memory(cls, alone: Callable[[], Any], paths: Sequence[str]) -> StepValue:
        """A value of which nothing is kept.

        Args:
            alone: gives it.
            paths: the files and folders that it names: they are where they are, and nobody gets them with another content.
        """
        seen = [see(path) for path in paths]

        def checked() -> Any:
            changed = [each.path for each in seen if each.changed]
            if changed:
                raise WorkflowError(
                    f"{changed[0]} has been changed since a step returned it, and what it was is not kept",
                    hint="let each step write a file of its own",
                )
            return alone()

        return cls(None, f"memory {uuid.uuid4().hex}", alone=checked)


class Cancelled(Exception):
    """The run ends before the step is over."""


class FinalStepError(StepError):
    """A step that failed, and would fail in the same way again, so that it is not tried again."""


@dataclass(slots=True, repr=False)
class StepState:
    """A step in a run, as the record has it.

    Attributes:
        id: the step.
        node: what was wired.
        state: where it is; only the runner changes it.
        outcome: how its last result was had: `done`, `hit` or `resumed`.
        why: why it ran, or did not.
        started: when it began, seconds since 1970; 0 where it did not.
        seconds: how long it ran, in all.
        made_s: for a result that was kept: how long its making took.
        attempts: tries.
        runs: how often it ran, with `as_ready`.
        error: what failed.
        key: the key of its result.
        formats: the formats of its result.
        size_bytes: the size of its result.
        changes: what differs from earlier results of the same step.
        items: the results that are there, where it takes them as they come.
    """

    id: str
    node: PlannedStep
    state: State = "waiting"
    outcome: State = "done"
    why: str = ""
    started: float = 0.0
    seconds: float = 0.0
    made_s: float = 0.0
    attempts: int = 0
    runs: int = 0
    error: str = ""
    key: str = ""
    formats: tuple[str, ...] = ()
    size_bytes: int = 0
    changes: tuple[str, ...] = ()
    items: Sequence[Deferred] = ()
    value: StepValue | None = None
    cause: BaseException | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What it is called with, by parameter, with promises in it."""
        given = self.node.arguments.items()
        return {name: list(self.items) if isinstance(value, AsReady) else value for name, value in given}

    def __repr__(self) -> str:
        told = self.error or self.why
        return f"<step {self.id} {self.state} in {self.seconds:.2f} s{': ' if told else ''}{told}>"
