"""`export_kubernetes`: from graph files and workflows to a folder of manifests and a container file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.errors import InputError
from motet.export.kubernetes.deployment import deployment_objects
from motet.export.kubernetes.files import dump, write
from motet.export.kubernetes.image import container_file, ignored_files
from motet.export.kubernetes.kserve import kserve_objects
from motet.export.kubernetes.pods import claim, store_env
from motet.export.kubernetes.project import Project, find_project
from motet.export.kubernetes.server import GraphServer, read_server
from motet.export.kubernetes.settings import Settings, dns_name

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
    targets: Sequence[str], output: str | Path, settings: Settings, servers: Sequence[str] = tuple(SERVERS)
) -> Exported:
    """Write manifests and a container file.

        DIR/Containerfile           the image; built from a folder of the project
        DIR/volumes.yaml            claims, where something is shared or kept
        DIR/deployment/GRAPH.yaml   DIR/kserve/GRAPH.yaml    two ways to serve a graph: apply one of them

    Args:
        targets: files of graphs, or folders with some.
        output: the folder to write; files of the same names in it are replaced.
        settings: how it is to be.
        servers: which ways to serve graphs are written; names of `SERVERS`.

    Raises:
        InputError: when there is nothing to export, or two graphs have the same name.
        GraphError: when a graph is wrong.
    """
    found = _graphs(targets)
    if not found:
        raise InputError(f"nothing to export in {', '.join(targets) or 'no target'}", hint="name the file of a graph")
    graphs = [read_server(path) for path in found]
    _refuse_twins(graphs)
    wheel = [settings.package] if settings.package.endswith(".whl") else []
    files = [path for graph in graphs for path in (*graph.models, *graph.modules)]
    project = find_project((graph.path.parent for graph in graphs), [*files, *map(Path, wheel)], settings.context)
    image = settings.image or f"{dns_name(_title(targets, graphs))}:latest"
    written = _Writer(Path(output))
    written.text("Containerfile", _container_file(graphs, project, settings, image, Path(output)))
    written.text("Containerfile.dockerignore", ignored_files())
    written.objects("volumes.yaml", _claims(graphs, settings))
    for graph in graphs:
        for kind in servers:
            written.objects(f"{kind}/{graph.name}.yaml", SERVERS[kind](graph, project, settings, image))
    return Exported(tuple(written.files), image, project.root)


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
    for target in map(Path, targets):
        if target.is_dir():
            found += [path for path in sorted(target.glob("*.y*ml")) if _is_graph(path)]
        else:
            found.append(target)
    return found


def _is_graph(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return any(line.startswith("motet:") for line in file)


def _refuse_twins(graphs: Sequence[GraphServer]) -> None:
    names: dict[str, GraphServer] = {}
    for graph in graphs:
        other = names.setdefault(graph.name, graph)
        if other is not graph:
            raise InputError(
                f"{other.path} and {graph.path} both are {graph.name} in Kubernetes", hint="rename one of the graphs"
            )


def _title(targets: Sequence[str], graphs: Sequence[GraphServer]) -> str:
    return graphs[0].graph.name if len(graphs) == 1 else Path(targets[0]).resolve().stem


def _container_file(
    graphs: Sequence[GraphServer], project: Project, settings: Settings, image: str, output: Path
) -> str:
    extras = set(settings.extras).union(*(graph.extras(settings.store) for graph in graphs))
    env = store_env(settings) if any(graph.uses_store for graph in graphs) else {}
    command = graphs[0].command(project) if graphs else []
    command[2:3] = [project.place(graph.path) for graph in graphs]
    modules = {path for graph in graphs for path in graph.modules}
    text = container_file(project, sorted(modules), extras, settings.package, command, env)
    context = os.path.relpath(project.root, output)
    return f"# In this folder: docker build -f Containerfile -t {image} {context}\n{text}"


def _claims(graphs: Sequence[GraphServer], settings: Settings) -> list[dict[str, Any]]:
    found = []
    if any(graph.fetches for graph in graphs):
        found.append(claim("motet-cache", settings.cache_size, settings))
    if any(graph.uses_store for graph in graphs) and not settings.store:
        found.append(claim("motet-store", settings.store_size, settings))
    return found
