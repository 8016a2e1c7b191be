"""The page beside the manifests: what there is, and the commands in their order."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from motet.export.kubernetes.project import Project
from motet.export.kubernetes.secrets import env_secret
from motet.export.kubernetes.server import GraphServer
from motet.export.kubernetes.settings import ExportSettings

__all__ = ["readme"]

_WHAT = {
    "image/Containerfile": "the image, built from its own folder",
    "volumes.yaml": "claims of a storage class that several machines may write to",
    "network.yaml": "who may ask which pods",
    "secrets.yaml": "keys and certificates as they are here: never commit it",
    "monitor.yaml": "for the Prometheus Operator",
    "access.yaml": "who the pods of workflows are, and what they may do",
    "kustomization.yaml": "all that is applied together; a base for overlays",
}


def readme(
    files: Sequence[str],
    image: str,
    graphs: Sequence[GraphServer],
    project: Project,
    settings: ExportSettings,
    notes: Iterable[str],
) -> str:
    """The page, as Markdown.

    Args:
        files: what was written, relative to the folder.
        image: its name.
        graphs: what is served.
        project: where files are in the image.
        settings: how it is.
        notes: what is to be known.
    """
    kubectl = f"kubectl -n {settings.namespace}"
    once = [name for name in files if name.startswith("workflow/") and not settings.cron]
    lines = [
        f"# {image.rpartition('/')[2].partition(':')[0]} on Kubernetes", "", "Written by `motet export kubernetes`.", "",
        "| file | |", "|---|---|",
        *(f"| `{name}` | {_WHAT.get(name, _about(name))} |" for name in files), "",
        "```console",
        f"$ docker build -f image/Containerfile -t {image} image/ && docker push {image}",
        *(f"$ {command}" for command in _secrets(kubectl, files, graphs)),
        "$ kubectl apply -k .",
        *(f"$ {kubectl} apply -f monitor.yaml" for name in files if name == "monitor.yaml"),
        *(f"$ {kubectl} create -f {name}" for name in once),
        "```", "",
        "Podman: `podman build --format docker`, since images of OCI have no health check. Pods have probes of their own.", "",
    ]  # fmt: skip
    if graphs:
        asked = "`motet status 8000` (and `load`, `unload`, `scale`)"
        lines += [
            f"In a pod, `{kubectl} exec POD -- ...`, {asked} administers that pod; from outside it takes a key.",
            "",
        ]
    lines += [f"- {each}" for each in (*_written(graphs, project), *notes)]
    return "\n".join(lines).rstrip() + "\n"


def _about(name: str) -> str:
    kind = name.partition("/")[0]
    return {
        "deployment": "a graph on plain Kubernetes: Deployment, Service, autoscaler",
        "kserve": "the same graph for KServe: apply one of the two",
        "workflow": "a workflow for Argo",
    }.get(kind, "")


def _secrets(kubectl: str, files: Sequence[str], graphs: Sequence[GraphServer]) -> Iterator[str]:
    if "secrets.yaml" in files:
        yield f"{kubectl} apply -f secrets.yaml"
    for graph in graphs:
        if graph.variables:
            values = " ".join(f'--from-literal={name}="${name}"' for name in graph.variables)
            yield f"{kubectl} create secret generic {shlex.quote(env_secret(graph.name))} {values}"


def _written(graphs: Sequence[GraphServer], project: Project) -> Iterator[str]:
    for graph in graphs:
        configuration = graph.configuration(project)
        for said, kept in (configuration.written or {}).items() if configuration is not None else ():
            yield f"`{said}` of {Path(graph.path).name} is `{kept}` in a volume of the pod, and goes with the pod"
