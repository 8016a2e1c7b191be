"""A workflow's steps as containers: their command, what they need, and under which key their results are found again.

    motet workflow step FILE.py:NAME STEP --run-id RUN --inputs "a=ID b=ID" --output FILE

runs one step. What it gives goes into the volume that all steps share, and its ID goes to the output file, and from
there, by Argo, to the steps that take it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from motet.errors import GraphError, InputError
from motet.export.kubernetes.needs import Needs
from motet.export.kubernetes.pods import CACHE, environment
from motet.export.kubernetes.project import Project, modules_imported
from motet.export.kubernetes.settings import dns_name
from motet.workflow.code.follow import follow
from motet.workflow.deferred import Choice, Comparison, Deferred, Item, Result
from motet.workflow.find import find_workflow, wired
from motet.workflow.plan import Plan
from motet.workflow.run_step import ID_DIGITS
from motet.workflow.steps import AsReady, PlannedStep

__all__ = ["MOST_STEPS", "RESULT", "ExportedWorkflow", "Task", "read_workflow"]

MOST_STEPS = 1000
"""An object of Kubernetes may have about 1.5 MB, and Argo writes every step's state into the same one."""
RESULT = "/tmp/result"
_LONGEST_KEY = 253
_RUN = "{{workflow.uid}}"
_WRITTEN = re.compile(r"(?:^|_)(store|output|out|target|dir|folder|checkpoints?|cache)(?:_|$)", re.I)
_RELATIVE = re.compile(r"(?!/|[a-z0-9+]+://).")


@dataclass(frozen=True)
class Task:
    """One step of a plan.

    Attributes:
        name: what it is called in Argo.
        node: what was wired.
        needs: the tasks that must be over before.
    """

    name: str
    node: PlannedStep
    needs: tuple[Task, ...]

    @property
    def distributed(self) -> bool:
        """Whether it is trained by several workers, so that it is a TrainJob."""
        return self.node.step.options.resources.workers > 1

    @property
    def inputs(self) -> str:
        """Which results it takes, as Argo fills it in; those of TrainJobs are found by the run."""
        given = [each for each in self.needs if not each.distributed]
        return " ".join(f"{each.node.id}={{{{tasks.{each.name}.outputs.parameters.result}}}}" for each in given)

    @property
    def memo_key(self) -> str:
        """What Argo finds its result by, as Argo fills it in; empty where only the step itself can tell.

        Its function and plain arguments count by content, and so do results of other steps. A step that reads a file,
        has a rule, or takes the result of a TrainJob has no key: it looks into its own cache when it runs.
        """
        policy = self.node.step.policy
        if policy is None or policy.rules or self.distributed or any(each.distributed for each in self.needs):
            return ""
        digest = _digest(self.node)
        if digest is None:
            return ""
        results = [f"{{{{tasks.{each.name}.outputs.parameters.result}}}}" for each in self.needs]
        key = "-".join([dns_name(self.node.step.name), digest, *results])
        longest = len(dns_name(self.node.step.name)) + len(digest) + 2 + len(results) * (ID_DIGITS + 1)
        return key if longest <= _LONGEST_KEY else ""

    @property
    def resources(self) -> Needs:
        """What one of its workers needs."""
        asked = self.node.step.options.resources
        return Needs(asked.cpu, asked.memory_bytes, math.ceil(asked.accelerator))


@dataclass(frozen=True)
class ExportedWorkflow:
    """A workflow that is to be exported.

    Attributes:
        file: where it is written.
        attribute: what it is called there.
        plan: its steps, wired with its parameters.
        given: parameters that were set, as they were written.
        modules: files of the project that it imports.
    """

    file: Path
    attribute: str
    plan: Plan
    given: tuple[str, ...] = ()
    modules: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What its objects are called."""
        return dns_name(self.plan.name)

    def tasks(self) -> list[Task]:
        """Its steps, in an order in which each one is behind those that it needs.

        Raises:
            InputError: when there are more than an object of Kubernetes can hold.
        """
        if len(self.plan.nodes) > MOST_STEPS:
            raise InputError(
                f"workflow {self.plan.name} has {len(self.plan.nodes):,} steps; Argo is given at most {MOST_STEPS:,}",
                hint="let a step do more at once, or run it on one machine with motet workflow run",
            )
        if not self.plan.nodes:
            raise GraphError(f"workflow {self.plan.name} has no steps", where=str(self.file))
        made: dict[int, Task] = {}
        names: set[str] = set()
        waiting = list(self.plan.nodes)
        while waiting:
            for node in list(waiting):
                needed = list({id(each): each for each in (*node.needs(), *node.follows())}.values())
                if all(id(each) in made for each in needed):
                    name = _unique(_task_name(node.id), names)
                    made[id(node)] = Task(name, node, tuple(made[id(each)] for each in needed))
                    waiting.remove(node)
        return list(made.values())

    def written_in_image(self) -> dict[str, str]:
        """Parameters of the workflow and of its steps that look like relative paths to write to: nothing is, below /app."""
        given = [*(_with_defaults(node) for node in self.plan.nodes), self.plan.parameters]
        found = {
            name: str(value) for each in given for name, value in each.items() if isinstance(value, (str, PurePath))
        }
        return {name: value for name, value in found.items() if _WRITTEN.search(name) and _RELATIVE.match(value)}

    def command(self, project: Project, step: str, inputs: str) -> list[str]:
        """The command line of a step, with what Argo fills in."""
        place = f"{project.place(self.file)}:{self.attribute}"
        sets = [part for each in self.given for part in ("--set", each)]
        run = ["--run-id", _RUN, "--inputs", inputs, "--output", RESULT]
        return ["motet", "workflow", "step", place, step, *run, *sets]

    def environment(self, project: Project, store: Mapping[str, str]) -> dict[str, str]:
        """The variables of a step: what steps share is in the volume, all else is the pod's own."""
        shared = {"MOTET_CACHE_DIR": "/tmp/motet", "MOTET_WORKFLOW_CACHE": f"{CACHE}/workflow"}
        return environment(project) | shared | dict(store)


def read_workflow(place: str, given: Sequence[str]) -> ExportedWorkflow:
    """Load a workflow and wire it.

    Args:
        place: `FILE.py` or `FILE.py:NAME`.
        given: its parameters, `key=value`.

    Raises:
        GraphError: when there is no such workflow, or it cannot be wired.
        InputError: when a parameter is wrong.
    """
    workflow, path, name = find_workflow(place)
    return ExportedWorkflow(
        path.resolve(), name, wired(workflow, given), tuple(given), tuple(sorted(modules_imported(path)))
    )


def _with_defaults(node: PlannedStep) -> dict[str, Any]:
    """The arguments of a step, also those that nobody gave."""
    known = inspect.signature(node.step.function).parameters
    return {name: each.default for name, each in known.items()} | node.arguments


def _digest(node: PlannedStep) -> str | None:
    """A digest of a step's function and of its arguments, where results of steps are left out; None where a file counts."""
    told = _told(node.arguments)
    if told is None:
        return None
    whole = (
        f"{follow(node.step.function).digest}\0{told}\0{[(str(each.condition), each.wanted) for each in node.branches]}"
    )
    return hashlib.sha256(whole.encode()).hexdigest()[:ID_DIGITS]


def _told(value: Any) -> str | None:
    """A value as a text that is the same for equal values; None where it reads a file, or its text does not say it."""
    if isinstance(value, (Deferred, AsReady)):
        return _promised(value)
    if value is None or type(value) in (str, int, float, bool, bytes):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return _joined(type(value).__name__, value)
    if isinstance(value, dict):
        return _joined("dict", [part for item in value.items() for part in item])
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "__fspath__"):
        fields = [getattr(value, each.name) for each in dataclasses.fields(value)]
        return _joined(f"{type(value).__module__}.{type(value).__qualname__}", fields)
    return None


def _promised(value: Any) -> str | None:
    """A promise by the step and the part of its result; conditions count by what they compare."""
    if isinstance(value, Result):
        return f"step {value.node.id}"
    if isinstance(value, Item):
        return _joined(f"item {value.key!r}", [value.source])
    if isinstance(value, Comparison):
        return _joined(f"compare {value.sign}", [value.source, value.other])
    if isinstance(value, Choice):
        return _joined("choice", [value.condition, value.then, value.otherwise])
    return _joined("ready", value.items) if isinstance(value, AsReady) else None


def _joined(kind: str, values: Sequence[Any]) -> str | None:
    parts = [_told(each) for each in values]
    return None if any(part is None for part in parts) else f"{kind}({', '.join(map(str, parts))})"


def _task_name(text: str) -> str:
    found = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:100].strip("-")
    return found if found[:1].isalpha() else f"step-{found}".strip("-")


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(found)
    return found
