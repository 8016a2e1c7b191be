"""`export_kubernetes`: from graph files and workflows to a folder of manifests and a container file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.errors import InputError
from motet.export.kubernetes.argo import access_objects, workflow_object
from motet.export.kubernetes.deployment import deployment_objects
from motet.export.kubernetes.files import dump, write
from motet.export.kubernetes.image import container_file, ignored_files
from motet.export.kubernetes.kserve import kserve_objects
from motet.export.kubernetes.pods import claim, store_env
from motet.export.kubernetes.project import Project, find_project
from motet.export.kubernetes.server import GraphServer, read_server, store_extras
from motet.export.kubernetes.settings import Settings, dns_name
from motet.export.kubernetes.steps import ExportedWorkflow
from motet.export.kubernetes.workflows import read_workflow

__all__ = ["SERVERS", "Exported", "export_kubernetes"]

SERVERS = {"deployment": deployment_objects, "kserve": kserve_objects}
"""How graphs can be served: the folder of each, and what makes its objects."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: the files, in the order in which they are of use.
        image: the name of the image.
        context: the folder that it is built from.
    """

    files: tuple[Path, ...]
    image: str
    context: Path


def export_kubernetes(
    targets: Sequence[str],
    output: str | Path,
    settings: Settings,
    servers: Sequence[str] = tuple(SERVERS),
    parameters: Sequence[str] = (),
) -> Exported:
    """Write manifests and a container file.

        DIR/Containerfile           the image; built from a folder of the project
        DIR/volumes.yaml            claims, where something is shared or kept
        DIR/deployment/GRAPH.yaml   DIR/kserve/GRAPH.yaml    two ways to serve a graph: apply one of them
        DIR/access.yaml             who the pods of workflows are
        DIR/workflow/WORKFLOW.yaml  an Argo Workflow to submit, or a CronWorkflow to apply

    Args:
        targets: files of graphs, `FILE.py` or `FILE.py:NAME` of workflows, or folders with graphs and a `workflow.py`.
        output: the folder to write; files of the same names in it are replaced.
        settings: how it is to be.
        servers: which ways to serve graphs are written; names of `SERVERS`.
        parameters: of the workflows, as `key=value`.

    Raises:
        InputError: when there is nothing to export, or two objects would have the same name.
        GraphError: when a graph or a workflow is wrong.
        MissingExtraError: when there is a workflow, and Hera is not installed.
    """
    graphs = [read_server(path) for path in _graphs(targets)]
    workflows = [read_workflow(place, parameters) for place in _workflows(targets)]
    if not graphs and not workflows:
        raise InputError(
            f"nothing to export in {', '.join(targets) or 'no target'}", hint="name the file of a graph or a workflow"
        )
    _refuse_twins([(graph.name, graph.path) for graph in graphs])
    _refuse_twins([(workflow.name, workflow.file) for workflow in workflows])
    parts = _Parts(graphs, workflows, settings)
    project = find_project(parts.folders, parts.files, settings.context)
    image = settings.image or f"{dns_name(_title(targets, parts))}:latest"
    written = _Writer(Path(output))
    written.text("Containerfile", parts.container_file(project, image, Path(output)))
    written.text("Containerfile.dockerignore", ignored_files())
    written.objects("volumes.yaml", parts.claims())
    for graph in graphs:
        for kind in servers:
            written.objects(f"{kind}/{graph.name}.yaml", SERVERS[kind](graph, project, settings, image))
    if workflows:
        written.objects("access.yaml", access_objects(workflows, settings))
        for each in workflows:
            written.objects(f"workflow/{each.name}.yaml", [workflow_object(each, project, settings, image)])
    return Exported(tuple(written.files), image, project.root)


@dataclass(frozen=True)
class _Parts:
    """All that is exported together, in one image."""

    graphs: Sequence[GraphServer]
    workflows: Sequence[ExportedWorkflow]
    settings: Settings

    @property
    def folders(self) -> list[Path]:
        return [graph.path.parent for graph in self.graphs] + [each.file.parent for each in self.workflows]

    @property
    def modules(self) -> list[Path]:
        named = [graph.modules for graph in self.graphs] + [each.modules for each in self.workflows]
        return sorted({path for modules in named for path in modules})

    @property
    def files(self) -> list[Path]:
        wheel = [Path(self.settings.package)] if self.settings.package.endswith(".whl") else []
        return [*(path for graph in self.graphs for path in graph.models), *self.modules, *wheel]

    def container_file(self, project: Project, image: str, output: Path) -> str:
        extras = set(self.settings.extras).union(*(graph.extras(self.settings.store) for graph in self.graphs))
        if self.workflows:
            extras |= store_extras(self.settings.store)
        env = store_env(self.settings) if self.workflows or any(graph.uses_store for graph in self.graphs) else {}
        command = self.graphs[0].command(project) if self.graphs else []
        command[2:3] = [project.place(graph.path) for graph in self.graphs]
        imported = sorted({*self.modules, *(each.file for each in self.workflows)})
        text = container_file(project, imported, extras, self.settings.package, command, env)
        context = os.path.relpath(project.root, output)
        return f"# In this folder: docker build -f Containerfile -t {image} {context}\n{text}"

    def claims(self) -> list[dict[str, Any]]:
        found = []
        if self.workflows or any(graph.fetches for graph in self.graphs):
            found.append(claim("motet-cache", self.settings.cache_size, self.settings))
        if not self.settings.store and (self.workflows or any(graph.uses_store for graph in self.graphs)):
            found.append(claim("motet-store", self.settings.store_size, self.settings))
        return found


class _Writer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []

    def text(self, name: str, text: str) -> None:
        write(self.folder / name, text)
        self.files.append(self.folder / name)

    def objects(self, name: str, objects: Sequence[Any]) -> None:
        if objects:
            self.text(name, dump(objects))


def _graphs(targets: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for target in targets:
        if Path(target).is_dir():
            found += [path for path in sorted(Path(target).glob("*.y*ml")) if _is_graph(path)]
        elif not _is_workflow(target):
            found.append(Path(target))
    return found


def _workflows(targets: Iterable[str]) -> list[str]:
    found = []
    for target in targets:
        inside = Path(target) / "workflow.py"
        if inside.is_file():
            found.append(str(inside))
        elif _is_workflow(target):
            found.append(target)
    return found


def _is_workflow(target: str) -> bool:
    return target.endswith(".py") or target.rpartition(":")[0].endswith(".py")


def _is_graph(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return any(line.startswith("motet:") for line in file)


def _refuse_twins(named: Sequence[tuple[str, Path]]) -> None:
    names: dict[str, Path] = {}
    for name, path in named:
        if name in names:
            raise InputError(f"{names[name]} and {path} both are {name} in Kubernetes", hint="rename one of them")
        names[name] = path


def _title(targets: Sequence[str], parts: _Parts) -> str:
    if len(parts.graphs) + len(parts.workflows) == 1:
        return parts.graphs[0].name if parts.graphs else parts.workflows[0].name
    return Path(targets[0].partition(".py:")[0]).resolve().stem
