"""A distributed step as a TrainJob of Kubeflow: the same command in every worker, under torchrun.

https://www.kubeflow.org/docs/components/trainer/ (v2.2: `runtimePatches` in the place of `podTemplateOverrides`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motet.export.kubernetes.needs import Needs
from motet.export.kubernetes.pods import Mount, labels, pod_security
from motet.export.kubernetes.settings import ExportSettings

__all__ = ["FAILED", "RUNTIME", "SUCCEEDED", "train_job"]

RUNTIME = "torch-distributed"
"""The runtime that comes with Kubeflow Trainer."""
_NODE = "node"
SUCCEEDED = "status.jobsStatus.0.succeeded > 0"
FAILED = "status.jobsStatus.0.failed > 0"


def train_job(
    name: str,
    command: Sequence[str],
    image: str,
    env: Mapping[str, str],
    mounts: Sequence[Mount],
    settings: ExportSettings,
    *,
    workers: int,
    needs: Needs,
    timeout_s: float | None,
) -> dict[str, Any]:
    """The object.

    Args:
        name: the beginning of its name; Kubernetes adds the rest.
        command: of `motet`; each worker runs it.
        image: the image.
        env: variables.
        mounts: volumes, and where containers have them.
        settings: how it is to be.
        workers: pods, each with one worker.
        needs: what each of them needs.
        timeout_s: seconds after which it is ended; None for none.
    """
    assert command[0] == "motet", "torchrun runs Motet's own command"
    resources = needs.resources()
    own = labels(name, "training")
    pod = {
        "securityContext": pod_security(),
        "containers": [{"name": _NODE, "volumeMounts": [mount for _, mount in mounts]}],
        "volumes": [volume for volume, _ in mounts],
    }
    patched = [{"name": _NODE, "template": {"spec": {"template": {"metadata": {"labels": own}, "spec": pod}}}}]
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"generateName": f"{name}-", "namespace": settings.namespace, "labels": own},
        "spec": {
            **({} if timeout_s is None else {"activeDeadlineSeconds": max(1, round(timeout_s))}),
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": RUNTIME,
            },
            "trainer": {
                "image": image,
                "command": ["torchrun"],
                "args": ["-m", "motet.cli", *command[1:]],
                "env": [{"name": key, "value": value} for key, value in env.items()],
                "numNodes": workers,
                "numProcPerNode": 1,
                **({"resourcesPerNode": resources} if resources else {}),
            },
            "runtimePatches": [
                {
                    "manager": "motet/export",
                    "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": patched}}},
                }
            ],
        },
    }
