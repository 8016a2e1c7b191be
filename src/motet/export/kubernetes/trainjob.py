"""A distributed step as a TrainJob of Kubeflow: the same command in every worker, under torchrun.

https://www.kubeflow.org/docs/components/trainer/ (v2.2: `runtimePatches` in the place of `podTemplateOverrides`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motet.export.kubernetes.pods import Mount, labels, pod_security
from motet.export.kubernetes.settings import ExportSettings
from motet.workflow.options import StepOptions

__all__ = ["FAILED", "RUNTIME", "SUCCEEDED", "train_job"]

RUNTIME = "torch-distributed"
"""The runtime that comes with Kubeflow Trainer."""
_NODE = "node"
SUCCEEDED = "status.jobsStatus.0.succeeded > 0"
FAILED = "status.jobsStatus.0.failed > 0"


def train_job(
    name: str, made: Mapping[str, Any], mounts: Sequence[Mount], settings: ExportSettings, options: StepOptions
) -> dict[str, Any]:
    """The object.

    Args:
        name: the beginning of its name; Kubernetes adds the rest.
        made: the container of each worker, whose command is one of `motet`.
        mounts: volumes, and where containers have them.
        settings: how it is to be.
        options: of the step: how many workers there are, and after how long it is ended.
    """
    command = made["command"]
    assert command[0] == "motet", "torchrun runs Motet's own command"
    own = labels(name, "training")
    pod = {
        "securityContext": pod_security(),
        "containers": [{"name": _NODE, "volumeMounts": made["volumeMounts"]}],
        "volumes": [volume for volume, _ in mounts],
    }
    patched = [{"name": _NODE, "template": {"spec": {"template": {"metadata": {"labels": own}, "spec": pod}}}}]
    trainer = {
        "image": made["image"],
        "command": ["torchrun"],
        "args": ["-m", "motet.cli", *command[1:]],
        "env": made["env"],
        "numNodes": options.resources.workers,
        "numProcPerNode": 1,
        **({"resourcesPerNode": made["resources"]} if "resources" in made else {}),
    }
    runtime = {"template": {"spec": {"replicatedJobs": patched}}}
    spec = {
        **({} if options.timeout_s is None else {"activeDeadlineSeconds": max(1, round(options.timeout_s))}),
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": RUNTIME},
        "trainer": trainer,
        "runtimePatches": [{"manager": "motet/export", "trainingRuntimeSpec": runtime}],
    }
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"generateName": f"{name}-", "namespace": settings.namespace, "labels": own},
        "spec": spec,
    }
