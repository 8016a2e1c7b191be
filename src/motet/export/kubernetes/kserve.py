"""A graph's server as a KServe InferenceService: a custom predictor that speaks the Open Inference Protocol.

https://kserve.github.io/website/docs/concepts/resources
"""

from __future__ import annotations

from typing import Any

from motet.export.kubernetes.deployment import BUSY_PERCENT
from motet.export.kubernetes.pods import metadata
from motet.export.kubernetes.project import Project
from motet.export.kubernetes.server import GraphServer
from motet.export.kubernetes.settings import HTTP_PORT, ExportSettings

__all__ = ["kserve_objects"]

CONTAINER = "kserve-container"
"""The name that KServe looks for."""


def kserve_objects(server: GraphServer, project: Project, settings: ExportSettings, image: str) -> list[dict[str, Any]]:
    """What is applied, in this order.

    With at least one replica it is a plain deployment that the cluster's autoscaler scales by processor time; from zero
    replicas it is one of Knative, scaled by requests.
    """
    mapped = server.config_map(project, settings)
    return ([] if mapped is None else [mapped]) + [_service(server, project, settings, image)]


def _service(server: GraphServer, project: Project, settings: ExportSettings, image: str) -> dict[str, Any]:
    pod = server.pod(project, settings, image, name=CONTAINER, grpc=False)
    served = pod["containers"][0]
    served["env"].append({"name": "PROTOCOL", "value": "v2"})
    knative = settings.min_replicas == 0
    if knative:
        _fit_knative(pod)
    mode = "Serverless" if knative else "RawDeployment"  # old names, which old and new versions know
    scaling = (
        {"scaleMetric": "concurrency", "scaleTarget": 32}
        if knative
        else {"scaleMetric": "cpu", "scaleTarget": BUSY_PERCENT}
    )
    annotations = {"serving.kserve.io/deploymentMode": mode, **server.annotations()}
    if not knative:
        annotations["serving.kserve.io/autoscalerClass"] = "hpa"
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(server.name, "server", settings, annotations=annotations),
        "spec": {
            "predictor": {
                "minReplicas": settings.min_replicas,
                "maxReplicas": settings.max_replicas,
                **scaling,
                **pod,
            }
        },
    }


def _fit_knative(pod: dict[str, Any]) -> None:
    """Take out what Knative does itself, and name the port as it wants it.

    https://github.com/knative/specs/blob/main/specs/serving/runtime-contract.md
    """
    served = pod["containers"][0]
    served["ports"] = [{**served["ports"][0], "name": "http1"}]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        served[name]["httpGet"]["port"] = HTTP_PORT
    served.pop("lifecycle")
    pod.pop("terminationGracePeriodSeconds")
    for volume in pod["volumes"]:
        if "secret" in volume:
            volume["secret"]["defaultMode"] = 0o444  # without fsGroup they belong to root
    security = pod.pop("securityContext")
    served["securityContext"] |= {name: security[name] for name in ("runAsNonRoot", "runAsUser", "seccompProfile")}
