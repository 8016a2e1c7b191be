"""Who may ask pods, and what asks them for metrics: a NetworkPolicy, and a PodMonitor of the Prometheus Operator.

https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitor
"""

from __future__ import annotations

from typing import Any

from motet.export.kubernetes.pods import manifest, selector
from motet.export.kubernetes.settings import GRPC_PORT, HTTP_PORT, ExportSettings

__all__ = ["monitor", "server_policy", "step_policy"]


def server_policy(name: str, settings: ExportSettings) -> dict[str, Any]:
    """A graph's server is asked on its two ports, and on no other."""
    ports = [{"port": port, "protocol": "TCP"} for port in (HTTP_PORT, GRPC_PORT)]
    return _policy(name, "server", [{"ports": ports}], settings)


def step_policy(name: str, settings: ExportSettings) -> dict[str, Any]:
    """A workflow's steps ask others, and nobody asks them. Workers of trainings, which ask each other, are no steps here."""
    return _policy(name, "step", [], settings)


def _policy(name: str, component: str, ingress: list[Any], settings: ExportSettings) -> dict[str, Any]:
    pods = {"matchLabels": selector(name, component)}
    spec = {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": ingress}
    return manifest("networking.k8s.io/v1 NetworkPolicy", f"{name}-{component}", component, settings, {"spec": spec})


def monitor(name: str, settings: ExportSettings, *, tls: bool) -> dict[str, Any]:
    """What has Prometheus ask the pods of a graph's server for their metrics."""
    secure = {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}} if tls else {}
    spec = {
        "selector": {"matchLabels": selector(name, "server")},
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics", **secure}],
    }
    return manifest("monitoring.coreos.com/v1 PodMonitor", name, "server", settings, {"spec": spec})
