"""`export_kubernetes`: from graph files and workflows to a folder of manifests and a container file."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.errors import InputError
from motet.export.kubernetes.argo import access_objects, workflow_object
from motet.export.kubernetes.configuration import Configuration
from motet.export.kubernetes.deployment import deployment_objects
from motet.export.kubernetes.files import dump
from motet.export.kubernetes.image import BASE, container_file
from motet.export.kubernetes.kserve import kserve_objects
from motet.export.kubernetes.locked import motet_requirement, requirements
from motet.export.kubernetes.network import monitor, server_policy, step_policy
from motet.export.kubernetes.pods import claim, store_env
from motet.export.kubernetes.project import APP, Project, find_project
from motet.export.kubernetes.readme import readme
from motet.export.kubernetes.secrets import secret_objects
from motet.export.kubernetes.server import GraphServer, read_server, store_extras
from motet.export.kubernetes.settings import ExportSettings, dns_name
from motet.export.kubernetes.staging import digest_of, let_read, stage
from motet.export.kubernetes.steps import ExportedWorkflow, read_workflow
from motet.export.kubernetes.wheel import WHEEL, own_wheel
from motet.system.whole_files import write_whole

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
        notes: what is to be known of it.
    """

    files: tuple[Path, ...]
    image: str
    context: Path
    notes: tuple[str, ...] = ()


def export_kubernetes(
    targets: Sequence[str],
    output: str | Path,
    settings: ExportSettings,
    servers: Sequence[str] = tuple(SERVERS),
    parameters: Sequence[str] = (),
) -> Exported:
    """Write manifests and a container file.

        DIR/README.md               what there is, and the commands in their order
        DIR/image/                  all that the image is built from: Containerfile, files of the project, a wheel of Motet
        DIR/volumes.yaml            claims, where something is shared or kept
        DIR/deployment/GRAPH.yaml   DIR/kserve/GRAPH.yaml    two ways to serve a graph: apply one of them
        DIR/network.yaml            who may ask which pods
        DIR/secrets.yaml            keys and certificates that are here, readable by their owner alone
        DIR/monitor.yaml            for the Prometheus Operator
        DIR/kustomization.yaml      all that is applied together, but Secrets and the monitor
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
    written = _Writer(Path(output))
    image, left_out = written.image(parts, project, settings.image or dns_name(_title(targets, parts)))
    notes = (*parts.notes(project), *left_out, *_notes_of_image(settings))
    written.objects("volumes.yaml", parts.claims())
    written.objects("network.yaml", parts.policies())
    for graph in graphs:
        for kind in servers:
            written.objects(f"{kind}/{graph.name}.yaml", SERVERS[kind](graph, project, settings, image))
    if workflows:
        written.objects("access.yaml", access_objects(workflows, settings))
        for each in workflows:
            written.objects(f"workflow/{each.name}.yaml", [workflow_object(each, project, settings, image)])
    written.kustomization(settings, servers)
    written.objects("monitor.yaml", [monitor(each.name, settings, tls=bool(each.config.tls)) for each in graphs])
    written.secrets(parts.secrets(project))
    written.text("README.md", readme(written.names, image, graphs, project, settings, notes))
    return Exported(tuple(written.files), image, written.folder / "image", notes)


@dataclass(frozen=True)
class _Parts:
    """All that is exported together, in one image."""

    graphs: Sequence[GraphServer]
    workflows: Sequence[ExportedWorkflow]
    settings: ExportSettings

    @property
    def folders(self) -> list[Path]:
        return [graph.path.parent for graph in self.graphs] + [each.file.parent for each in self.workflows]

    @property
    def modules(self) -> list[Path]:
        named = [graph.modules for graph in self.graphs] + [each.modules for each in self.workflows]
        return sorted({path for modules in named for path in modules})

    @property
    def files(self) -> list[Path]:
        return [*(path for graph in self.graphs for path in graph.models), *self.modules]

    def wheel(self) -> tuple[str, bytes]:
        """The name and the content of the wheel that the image installs; an empty name where it installs none."""
        if not self.settings.package:
            return WHEEL, own_wheel()
        path = Path(self.settings.package)
        if path.suffix != ".whl":
            return "", b""
        if not path.is_file():
            raise InputError(f"there is no wheel {path}", hint="build it, or leave --package out")
        return path.name, path.read_bytes()

    def requirements(self, project: Project, wheel: str) -> list[str]:
        extras = set(self.settings.extras).union(*(graph.extras(self.settings.store) for graph in self.graphs))
        if self.workflows:
            extras |= store_extras(self.settings.store)
        imported = sorted({*self.modules, *(each.file for each in self.workflows)})
        own = motet_requirement(wheel, self.settings.package, extras)
        return [own, *requirements(project, extras, imported, self.settings.pip)]

    def container_file(self, project: Project) -> str:
        env = store_env(self.settings) if self.workflows or any(graph.uses_store for graph in self.graphs) else {}
        configured = [graph for graph in self.graphs if graph.graph.serving]
        first = (configured or self.graphs)[:1] if len(configured) < 2 else []  # two servers' ways are not one's
        command = first[0].command(project) if first else []
        command[2:3] = [project.place(graph.path) for graph in self.graphs] if command else []
        return container_file(
            project,
            command,
            env,
            base=self.settings.base,
            tls=any(graph.config.tls for graph in configured),
            configured=bool(configured),
        )

    def configurations(self, project: Project) -> list[tuple[GraphServer, Configuration]]:
        """How graphs are served, for those that say so."""
        found = [(graph, graph.configuration(project)) for graph in self.graphs]
        return [(graph, each) for graph, each in found if each is not None]

    def left_out(self, project: Project) -> list[Path]:
        """Files of the project that no image may have: secrets, and what servers have written here."""
        found = [each for _, each in self.configurations(project)]
        secret = [file.source for each in found for file in each.secrets]
        return secret + [path for each in found for path in each.sources]

    def secrets(self, project: Project) -> list[dict[str, Any]]:
        return [
            each
            for graph, configuration in self.configurations(project)
            for each in secret_objects(graph.name, configuration, self.settings)
        ]

    def policies(self) -> list[dict[str, Any]]:
        return [
            *(server_policy(graph.name, self.settings) for graph in self.graphs),
            *(step_policy(each.name, self.settings) for each in self.workflows),
        ]

    def notes(self, project: Project) -> list[str]:
        """What whoever applies it must know."""
        return (
            [
                f"{file.source} is not here: make the Secret that has {file.place} yourself"
                for _, each in self.configurations(project)
                for file in each.secrets
                if not file.source.is_file()
            ]
            + [
                f"what {uri} of {graph.path.name} needs is known to its store alone: say --extra with the extra of its framework"
                for graph in self.graphs
                for uri, handlers in graph.handlers(self.settings.store).items()
                if uri.startswith("store:") and not handlers
            ]
            + [
                f"{name}={value!r} of {each.name} is below {APP} in a container, which cannot be written: "
                + (
                    f"--set {name}=/var/lib/motet/... or a URL"
                    if name in each.plan.parameters
                    else "give a URL, or a place in a volume"
                )
                for each in self.workflows
                for name, value in each.written_in_image().items()
            ]
        )

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
        self.names: list[str] = []

    @property
    def files(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    def text(self, name: str, text: str) -> None:
        write_whole(self.folder / name, text.encode())
        self.names.append(name)

    def objects(self, name: str, objects: Sequence[Any]) -> None:
        if objects:
            self.text(name, dump(objects))

    def image(self, parts: _Parts, project: Project, name: str) -> tuple[str, list[str]]:
        """Write what the image is built from; gives its name with a tag, which tells its content where none was given, and
        what was left out."""
        folder = self.folder / "image"
        wheel, content = parts.wheel()
        required = parts.requirements(project, wheel)
        for each in ("install", "state"):
            shutil.rmtree(folder / each, ignore_errors=True)
        write_whole(folder / "install" / "requirements.txt", "\n".join([*required, ""]).encode())
        if wheel:
            (folder / "install" / wheel).write_bytes(content)
        for graph, configuration in parts.configurations(project):
            write_whole(folder / "state" / Path(graph.config_place).name, configuration.text.encode())
        left_out = stage(project, folder / "app", [self.folder, *parts.left_out(project)])
        let_read(folder)
        text = parts.container_file(project)
        write_whole(folder / "Containerfile", text.encode())
        tagged = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:{digest_of(folder)}"
        self.text("image/Containerfile", f"# In this folder: docker build -f Containerfile -t {tagged} .\n{text}")
        return tagged, left_out

    def secrets(self, objects: Sequence[Any]) -> None:
        """Write Secrets, if there are any: for the owner alone, and not for git."""
        if objects:
            (self.folder / ".gitignore").write_text("secrets.yaml\n", encoding="utf-8")
            write_whole(self.folder / "secrets.yaml", dump(objects).encode(), mode=0o600)
            self.names.append("secrets.yaml")

    def kustomization(self, settings: ExportSettings, servers: Sequence[str]) -> None:
        """Write the base of Kustomize: of the ways to serve the first, and workflows that are applied and not created."""
        other = {kind for kind in SERVERS if kind not in servers[:1]} | (set() if settings.cron else {"workflow"})
        chosen = [name for name in self.names if name.endswith(".yaml") and name.partition("/")[0] not in other]
        about = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        if chosen:
            self.objects("kustomization.yaml", [{**about, "namespace": settings.namespace, "resources": chosen}])


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


def _notes_of_image(settings: ExportSettings) -> list[str]:
    if "@" in settings.base:
        return []
    return [
        f"the image begins with {settings.base or BASE}, whatever that is on the day: --base NAME@sha256:... says which"
    ]
