"""What all pods have in common: who runs in them, where they may write, what they are told, when they are well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motet.export.kubernetes.configuration import STATE
from motet.export.kubernetes.project import APP, Project
from motet.export.kubernetes.settings import ExportSettings

__all__ = [
    "CACHE", "STORE", "USER", "cache_volume", "container", "environment", "labels", "manifest", "metadata", "pod_security",
    "secret_volume", "selector", "state_volume", "store_env", "store_volume",
]  # fmt: skip

USER = 10001
CACHE = "/var/lib/motet/cache"
STORE = "/var/lib/motet/store"

Mount = tuple[dict[str, Any], dict[str, Any]]
"""A volume of a pod, and where its container has it."""


def environment(project: Project) -> dict[str, str]:
    """The variables of every container, which the image has too."""
    found = {"PYTHONUNBUFFERED": "1", "HOME": "/tmp", "MOTET_CACHE_DIR": CACHE}
    if project.python_path:
        places = [APP if path == "." else f"{APP}/{path}" for path in project.python_path]
        found["PYTHONPATH"] = ":".join(places)
    return found


def store_env(settings: ExportSettings) -> dict[str, str]:
    """Where the store is."""
    return {"MOTET_STORE": settings.store or STORE}


def labels(name: str, component: str) -> dict[str, str]:
    """The labels that Kubernetes recommends.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
    """
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "motet",
    }


def selector(name: str, component: str) -> dict[str, str]:
    """The labels by which pods are found."""
    found = labels(name, component)
    return {key: found[key] for key in ("app.kubernetes.io/name", "app.kubernetes.io/component")}


def metadata(name: str, component: str, settings: ExportSettings, **more: Any) -> dict[str, Any]:
    """The metadata of an object."""
    return {"name": name, "namespace": settings.namespace, "labels": labels(name, component), **more}


def manifest(
    kind: str, name: str, component: str, settings: ExportSettings, content: Mapping[str, Any]
) -> dict[str, Any]:
    """An object.

    Args:
        kind: with the version of its API, such as `apps/v1 Deployment`.
        name: what it is called.
        component: what it is a part of, such as `server`.
        settings: how it is to be.
        content: all but its kind and metadata.
    """
    version, _, plain = kind.partition(" ")
    return {"apiVersion": version, "kind": plain, "metadata": metadata(name, component, settings), **content}


def container(
    name: str,
    image: str,
    command: Sequence[str],
    env: Mapping[str, str],
    mounts: Sequence[Mount],
    resources: Mapping[str, Any],
) -> dict[str, Any]:
    """A container that may do nothing but compute, and write where it must."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Always" if _moves(image) else "IfNotPresent",
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in env.items()],
        **({"resources": dict(resources)} if resources else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [mount for _, mount in mounts],
    }


def _moves(image: str) -> bool:
    """Whether a name may stand for another image tomorrow."""
    name = image.rpartition("/")[2]
    return "@" not in name and (":" not in name or name.endswith(":latest"))


def pod_security() -> dict[str, Any]:
    """Nobody is root, and volumes belong to the one user there is."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def scratch_volume() -> Mount:
    """What a container may write and forget."""
    return {"name": "tmp", "emptyDir": {}}, {"name": "tmp", "mountPath": "/tmp"}


def cache_volume(kept: bool, settings: ExportSettings) -> Mount:
    """Where fetched models and kept results are: a claim that all share, or the pod's own for what is not worth it."""
    source: dict[str, Any] = (
        {"persistentVolumeClaim": {"claimName": "motet-cache"}}
        if kept
        else {"emptyDir": {"sizeLimit": settings.cache_size}}
    )
    return {"name": "cache", **source}, {"name": "cache", "mountPath": CACHE}


def state_volume(settings: ExportSettings) -> Mount:
    """What a server writes itself: logs, files of sinks and their spool. It goes with the pod."""
    source = {"emptyDir": {"sizeLimit": settings.state_size}}
    return {"name": "state", **source}, {"name": "state", "mountPath": STATE}


def secret_volume(name: str, secret: str, place: str) -> Mount:
    """A Secret as a folder, which the one user there is may read; new content comes without a new pod."""
    source = {"secretName": secret, "defaultMode": 0o440}
    return {"name": name, "secret": source}, {"name": name, "mountPath": place, "readOnly": True}


def store_volume(*, read_only: bool) -> Mount:
    """The store, where it is a volume."""
    claim = {"claimName": "motet-store", **({"readOnly": True} if read_only else {})}
    mount = {"name": "store", "mountPath": STORE, **({"readOnly": True} if read_only else {})}
    return {"name": "store", "persistentVolumeClaim": claim}, mount


def claim(name: str, size: str, settings: ExportSettings) -> dict[str, Any]:
    """A claim for a volume that pods on several machines share."""
    spec = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": size}},
        **({"storageClassName": settings.storage_class} if settings.storage_class else {}),
    }
    return manifest("v1 PersistentVolumeClaim", name, "volume", settings, {"spec": spec})
