"""Secrets: files that a server reads, and variables. No image and no ConfigMap has their content.

NAME-tls       tls.crt, tls.key: the certificate, which cert-manager may own
NAME-secrets   keys.jsonl, jwks.json
NAME-env       a value for each `env:NAME` of the graph's file: never written here
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Mapping
from typing import Any

from motet.export.kubernetes.configuration import SECRETS, TLS, Configuration
from motet.export.kubernetes.pods import Mount, manifest, secret_volume
from motet.export.kubernetes.settings import ExportSettings

__all__ = ["env_secret", "secret_mounts", "secret_objects", "secret_variable"]

_FOLDERS = {TLS: "tls", SECRETS: "secrets"}
_TYPES = {TLS: "kubernetes.io/tls", SECRETS: "Opaque"}


def _files(configuration: Configuration) -> Mapping[str, list[tuple[str, Any]]]:
    """Key and source of each file, by the folder that the container has it in."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for each in configuration.secrets:
        folder, key = posixpath.split(each.place)
        found.setdefault(folder, []).append((key, each.source))
    return found


def secret_mounts(name: str, configuration: Configuration) -> list[Mount]:
    """The volumes of a server with these files."""
    return [secret_volume(_FOLDERS[folder], f"{name}-{_FOLDERS[folder]}", folder) for folder in _files(configuration)]


def secret_objects(name: str, configuration: Configuration, settings: ExportSettings) -> list[dict[str, Any]]:
    """The Secrets of those files that are here; others are made where they are, as by cert-manager."""
    found = []
    for folder, files in _files(configuration).items():
        if all(source.is_file() for _, source in files):
            data = {key: base64.b64encode(source.read_bytes()).decode() for key, source in files}
            content = {"type": _TYPES[folder], "data": data}
            found.append(manifest("v1 Secret", f"{name}-{_FOLDERS[folder]}", "server", settings, content))
    return found


def env_secret(name: str) -> str:
    """The Secret that has the values of a server's variables."""
    return f"{name}-env"


def secret_variable(name: str, variable: str) -> dict[str, Any]:
    """A variable of a container, whose value only a Secret has."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": env_secret(name), "key": variable}}}
