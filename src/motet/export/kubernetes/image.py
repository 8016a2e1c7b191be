"""The container file: how the image is built that servers and steps run in.

Written for Docker's and Podman's builders: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from motet.export.kubernetes.pods import CACHE, USER, environment
from motet.export.kubernetes.project import APP, Project, motet_requirement, packages_of
from motet.export.kubernetes.settings import GRPC_PORT, HTTP_PORT

__all__ = ["container_file", "ignored_files"]

_LIVE = f"http://127.0.0.1:{HTTP_PORT}/v2/health/live"
_HEALTH = f"import urllib.request as request; request.urlopen({_LIVE!r}, timeout=4)"


def container_file(
    project: Project,
    modules: Iterable[Path],
    extras: Iterable[str],
    package: str,
    command: Sequence[str],
    env: Mapping[str, str],
) -> str:
    """The text of the container file.

    Args:
        project: what is copied.
        modules: the project's modules that are imported.
        extras: those of Motet that are needed.
        package: how pip gets Motet: empty for this version, a requirement, or a wheel in the project's folder.
        command: what a container runs where nothing else is said; empty where there is no server.
        env: variables beside those of every container.
    """
    wheel = package if package.endswith(".whl") else ""
    lines = [f"FROM python:{sys.version_info.major}.{sys.version_info.minor}-slim"]
    lines.append(f"RUN useradd --uid {USER} --no-create-home motet && install -d -o {USER} {CACHE}")
    if wheel:
        lines.append(f"COPY {json.dumps([_relative(project, wheel), '/wheels/'])}")
        package = f"/wheels/{Path(wheel).name}"
    needed = [motet_requirement(package, set(extras)), *packages_of(project, extras, modules)]
    lines.append("RUN pip install --no-cache-dir \\\n    " + " \\\n    ".join(shlex.quote(each) for each in needed))
    lines += [f"COPY {json.dumps([path, APP if path == '.' else f'{APP}/{path}'])}" for path in project.paths]
    every = environment(project) | dict(env)
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in every.items()]
    lines += [f"WORKDIR {APP}", f"USER {USER}"]
    if command:
        lines.append(f"EXPOSE {HTTP_PORT} {GRPC_PORT}")
        checked = json.dumps(["python", "-c", _HEALTH])
        lines.append(f"HEALTHCHECK --interval=10s --timeout=5s --start-period=300s CMD {checked}")
        lines.append(f"CMD {json.dumps(list(command))}")
    return "\n".join(lines) + "\n"


def ignored_files() -> str:
    """What builders leave out of the image, in a file beside the container file."""
    left_out = (".git", ".venv", "venv", "**/__pycache__", "**/*.pyc", "**/.hypothesis", "**/.*_cache", "node_modules")
    return "".join(f"{each}\n" for each in left_out)


def _relative(project: Project, wheel: str) -> str:
    return project.place(wheel).removeprefix(f"{APP}/")
