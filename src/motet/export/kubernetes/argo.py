"""A workflow as an Argo Workflow, put together with Hera: a task for each step, memoized where its key is known before.

Steps that run alike share a template. A distributed step is a TrainJob that Argo creates and waits for.
https://argo-workflows.readthedocs.io/en/latest/fields/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from motet.errors import MissingExtraError
from motet.export.kubernetes.files import dump
from motet.export.kubernetes.pods import (
    Mount,
    cache_volume,
    container,
    labels,
    metadata,
    pod_security,
    scratch_volume,
    store_env,
    store_volume,
)
from motet.export.kubernetes.project import Project
from motet.export.kubernetes.settings import ExportSettings, dns_name
from motet.export.kubernetes.steps import RESULT, ExportedWorkflow, Task
from motet.export.kubernetes.trainjob import FAILED, SUCCEEDED, train_job

__all__ = ["access_objects", "workflow_object"]

_KEPT_S = 7 * 86_400
"""How long finished runs are shown, and the longest time that Argo takes a result again without asking the step."""
_LONGEST_PAUSE_S = 600
_STEP, _INPUTS, _KEY = "{{inputs.parameters.step}}", "{{inputs.parameters.inputs}}", "{{inputs.parameters.key}}"


def workflow_object(
    exported: ExportedWorkflow, project: Project, settings: ExportSettings, image: str
) -> dict[str, Any]:
    """The Workflow, or the CronWorkflow where a time is set.

    Raises:
        MissingExtraError: when Hera is not installed.
        GraphError: when there are no steps, or more than Argo can hold.
    """
    hera = _hera()
    tasks = exported.tasks()
    templates = _Templates(hera, exported, project, settings, image)
    about: dict[str, Any] = {
        "namespace": settings.namespace,
        "labels": labels(exported.name, "workflow"),
        "entrypoint": "steps",
        "service_account_name": settings.service_account,
        "security_context": hera.models.PodSecurityContext.model_validate(pod_security()),
        "volumes": [hera.models.Volume.model_validate(volume) for volume, _ in templates.mounts],
        "ttl_strategy": hera.models.TTLStrategy(seconds_after_completion=_KEPT_S),
        "pod_gc": hera.models.PodGC(strategy="OnPodSuccess"),
    }
    if settings.cron:
        about |= {"schedules": [settings.cron], "concurrency_policy": "Forbid", "timezone": settings.timezone or None}
        flow = hera.CronWorkflow(name=exported.name, **about)
    else:
        flow = hera.Workflow(generate_name=f"{exported.name}-", **about)
    with flow:
        with hera.DAG(name="steps", fail_fast=False):  # what does not need a failed step runs, as it does elsewhere
            for task in tasks:
                hera.Task(
                    name=task.name,
                    template=templates.name(task),
                    arguments=_arguments(task),
                    depends=" && ".join(each.name for each in task.needs) or None,
                )
        flow.templates.extend(templates.made.values())
    found: dict[str, Any] = flow.to_dict()
    return found


def access_objects(workflows: Sequence[ExportedWorkflow], settings: ExportSettings) -> list[dict[str, Any]]:
    """Who the steps' pods are, and what they may do: report to Argo, and start trainings where there are any."""
    name = settings.service_account
    rules = [_rule("argoproj.io", ["workflowtaskresults"], ["create", "patch"])]
    if any(task.distributed for each in workflows for task in each.tasks()):
        rules.append(
            _rule("trainer.kubeflow.org", ["trainjobs"], ["create", "get", "list", "watch", "patch", "delete"])
        )
    about = metadata(name, "workflow", settings)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": about, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": settings.namespace}],
        },
    ]


def step_mounts(settings: ExportSettings) -> list[Mount]:
    """The volumes of a step: its own, the one that steps share, and the store where it is one."""
    store = [] if settings.store else [store_volume(read_only=False)]
    return [scratch_volume(), cache_volume(True, settings), *store]


@dataclass
class _Templates:
    """The templates of a workflow; steps that differ in nothing but their names share one."""

    hera: Any
    exported: ExportedWorkflow
    project: Project
    settings: ExportSettings
    image: str
    made: dict[Any, Any] = field(default_factory=dict)

    @property
    def mounts(self) -> list[Mount]:
        return step_mounts(self.settings)

    def name(self, task: Task) -> str:
        """The name of the template that runs a step."""
        policy = task.node.step.policy
        age_s = policy.max_age_s if policy is not None and task.memo_key else None
        kind = (task.node.step.function, task.node.step.options, bool(task.memo_key), age_s)
        if kind not in self.made:
            name = dns_name(getattr(task.node.step.function, "__name__", task.node.step.name))
            number = sum(each.name == name or each.name.startswith(f"{name}-t") for each in self.made.values())
            self.made[kind] = self._make(task, f"{name}-t{number + 1}" if number or name == "steps" else name, age_s)
        found: str = self.made[kind].name
        return found

    def _make(self, task: Task, name: str, age_s: float | None) -> Any:
        models, options = self.hera.models, task.node.step.options
        names = ["step", "inputs", *(["key"] if task.memo_key else [])]
        about: dict[str, Any] = {
            "name": name,
            "inputs": models.Inputs(parameters=[models.Parameter(name=each) for each in names]),
            "metadata": models.Metadata(labels=labels(self.exported.name, "step")),
        }
        if options.retries:
            about["retry_strategy"] = models.RetryStrategy.model_validate(_retries(options.retries, options.backoff_s))
        command = self.exported.command(self.project, _STEP, _INPUTS)
        env = self.exported.environment(self.project, store_env(self.settings))
        made = container("main", self.image, command, env, self.mounts, task.resources.resources())
        if task.distributed:
            return models.Template(**about, resource=self._train_job(task, name, made))
        if options.timeout_s is not None:
            about["active_deadline_seconds"] = max(1, math.ceil(options.timeout_s))
        if task.memo_key:
            about["memoize"] = models.Memoize(
                key=_KEY,
                max_age=f"{math.ceil(min(age_s or _KEPT_S, _KEPT_S))}s",
                cache=models.Cache(config_map=models.LocalObjectReference(name=f"{self.exported.name}-memo")),
            )
        result = models.Parameter(name="result", value_from=models.ValueFrom(path=RESULT))
        return models.Template(
            **about, container=models.Container.model_validate(made), outputs=models.Outputs(parameters=[result])
        )

    def _train_job(self, task: Task, name: str, made: Mapping[str, Any]) -> Any:
        whole = f"{self.exported.name}-{name}"[:52].strip("-")
        job = train_job(whole, made, self.mounts, self.settings, task.node.step.options)
        return self.hera.models.ResourceTemplate(
            action="create",
            manifest=dump([job]),
            set_owner_reference=True,
            success_condition=SUCCEEDED,
            failure_condition=FAILED,
        )


def _arguments(task: Task) -> dict[str, str]:
    found = {"step": task.node.id, "inputs": task.inputs}
    return {**found, "key": task.memo_key} if task.memo_key else found


def _retries(retries: int, backoff_s: float) -> dict[str, Any]:
    pause = {"duration": str(max(1, math.ceil(backoff_s))), "factor": 2, "cap": f"{_LONGEST_PAUSE_S}s"}
    return {"limit": retries, "retryPolicy": "Always", "backoff": pause}


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _hera() -> Any:
    try:
        import hera.workflows
    except ImportError:
        raise MissingExtraError("hera", "kubernetes", "the export of workflows") from None
    return hera.workflows
