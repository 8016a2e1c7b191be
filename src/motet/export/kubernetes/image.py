"""The container file: how the image is built that servers and steps run in.

Written for Docker's and Podman's builders: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from motet.export.kubernetes.configuration import STATE
from motet.export.kubernetes.locked import INSTALL
from motet.export.kubernetes.pods import CACHE, USER, environment
from motet.export.kubernetes.project import APP, Project
from motet.export.kubernetes.settings import GRPC_PORT, HTTP_PORT

__all__ = ["BASE", "container_file"]

BASE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def container_file(
    project: Project,
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    base: str,
    tls: bool,
    configured: bool,
) -> str:
    """The text of the container file, which is built from its own folder.

    Args:
        project: what is copied.
        command: what a container runs where nothing else is said; empty where there is no server.
        env: variables beside those of every container.
        base: the image that it begins with; empty is Python's, of the version that is here.
        tls: whether that server speaks TLS.
        configured: whether there are files that say how graphs are served.
    """
    lines = [f"FROM {base or BASE}"]
    lines.append(f"COPY {json.dumps(['install', INSTALL])}")
    lines.append(f"RUN pip install --no-cache-dir -r {INSTALL}/requirements.txt")
    lines.append(f"COPY {json.dumps(['app', APP])}")
    lines += [f"COPY {json.dumps(['state', STATE])}"] if configured else []
    lines.append(f"RUN useradd --uid {USER} --no-create-home motet && install -d -o {USER} {CACHE} {STATE}")
    every = environment(project) | dict(env)
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in every.items()]
    lines += [f"WORKDIR {APP}", f"USER {USER}"]
    if command:
        lines.append(f"EXPOSE {HTTP_PORT} {GRPC_PORT}")
        checked = json.dumps(["python", "-c", _health(tls)])
        lines.append(f"HEALTHCHECK --interval=10s --timeout=5s --start-period=300s CMD {checked}")
        lines.append(f"CMD {json.dumps(list(command))}")
    return "\n".join(lines) + "\n"


def _health(tls: bool) -> str:
    """A program that fails where the server does not live; its certificate is for other names than this machine's."""
    live = f"{'https' if tls else 'http'}://127.0.0.1:{HTTP_PORT}/v2/health/live"
    unverified = ", context=ssl._create_unverified_context()" if tls else ""
    return f"import ssl, urllib.request as request; request.urlopen({live!r}, timeout=4{unverified})"
