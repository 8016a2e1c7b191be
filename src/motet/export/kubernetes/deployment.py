"""A graph's server on plain Kubernetes: Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget."""

from __future__ import annotations

from typing import Any

from motet.errors import InputError
from motet.export.kubernetes.pods import labels, manifest, selector
from motet.export.kubernetes.project import Project
from motet.export.kubernetes.server import GraphServer
from motet.export.kubernetes.settings import GRPC_PORT, HTTP_PORT, ExportSettings

__all__ = ["deployment_objects"]

BUSY_PERCENT = 70
_CALM_S = 300


def deployment_objects(
    server: GraphServer, project: Project, settings: ExportSettings, image: str
) -> list[dict[str, Any]]:
    """What is applied, in this order.

    Raises:
        InputError: when no replica is to be there at the least: nothing here would start the first one.
    """
    if settings.min_replicas < 1:
        raise InputError(
            f"replicas {settings.min_replicas}:{settings.max_replicas}: a Deployment is not scaled from zero",
            hint="write 1:N or more, or export for KServe on Knative",
        )
    mapped = server.config_map(project, settings)
    scaled = settings.min_replicas < settings.max_replicas
    found = [] if mapped is None else [mapped]
    found += [_deployment(server, project, settings, image, scaled=scaled), _service(server, settings)]
    if scaled:
        found.append(_autoscaler(server, settings))
    if settings.min_replicas > 1:
        found.append(_budget(server, settings))
    return found


def _deployment(
    server: GraphServer, project: Project, settings: ExportSettings, image: str, *, scaled: bool
) -> dict[str, Any]:
    pod = server.pod(project, settings, image)
    pod["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": _own(server),
        }
    ]
    about = {"labels": labels(server.name, "server"), "annotations": server.annotations()}
    spec = {
        # where it is scaled, the number is the autoscaler's: applying the file again must not change it
        **({} if scaled else {"replicas": settings.min_replicas}),
        "selector": _own(server),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": about, "spec": pod},
    }
    return manifest("apps/v1 Deployment", server.name, "server", settings, {"spec": spec})


def _own(server: GraphServer) -> dict[str, Any]:
    return {"matchLabels": selector(server.name, "server")}


def _service(server: GraphServer, settings: ExportSettings) -> dict[str, Any]:
    http = "https" if server.config.tls else "http"
    ports = [
        {"name": "http", "port": HTTP_PORT, "targetPort": "http", "appProtocol": http},
        {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "grpc"},
    ]
    spec = {"selector": selector(server.name, "server"), "ports": ports}
    return manifest("v1 Service", server.name, "server", settings, {"spec": spec})


def _autoscaler(server: GraphServer, settings: ExportSettings) -> dict[str, Any]:
    busy = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": BUSY_PERCENT}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": server.name},
        "minReplicas": settings.min_replicas,
        "maxReplicas": settings.max_replicas,
        "metrics": [{"type": "Resource", "resource": busy}],
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0},
            "scaleDown": {"stabilizationWindowSeconds": _CALM_S},
        },
    }
    return manifest("autoscaling/v2 HorizontalPodAutoscaler", server.name, "server", settings, {"spec": spec})


def _budget(server: GraphServer, settings: ExportSettings) -> dict[str, Any]:
    spec = {"maxUnavailable": 1, "selector": _own(server)}
    return manifest("policy/v1 PodDisruptionBudget", server.name, "server", settings, {"spec": spec})
