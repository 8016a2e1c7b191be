"""The server of a graph as a pod: the same command as anywhere, its files, its probes, its end."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import motet.nodes  # noqa: F401  (the kinds register themselves)
from motet.errors import GraphError, MotetError
from motet.export.kubernetes.configuration import (
    STATE,
    Configuration,
    read_configuration,
    refuse_passwords,
    variables,
)
from motet.export.kubernetes.needs import local_file, models_of, needs_of_graph
from motet.export.kubernetes.pods import (
    Mount,
    cache_volume,
    container,
    environment,
    manifest,
    pod_security,
    scratch_volume,
    state_volume,
    store_env,
    store_volume,
)
from motet.export.kubernetes.private import why_private
from motet.export.kubernetes.project import Project, modules_named
from motet.export.kubernetes.secrets import secret_mounts, secret_variable
from motet.export.kubernetes.settings import GRPC_PORT, HTTP_PORT, ExportSettings, dns_name
from motet.graph.graph import GraphSpec
from motet.graph.keyed import KEY
from motet.graph.model import Model
from motet.graph.yaml import load_graph, parse
from motet.models.common import FILE_OPTIONS
from motet.models.fetch import is_remote
from motet.models.handler import Handler
from motet.models.locate import STORE
from motet.models.registry import find_handler, handler_by_name, is_address
from motet.runtime.stored import StoredModels, place_of
from motet.serving.config.server import ServeConfig
from motet.serving.config.sinks import extra_of

__all__ = ["GraphServer", "read_server", "store_extras"]

MOST_MAPPED_BYTES = 900_000
"""A ConfigMap holds 1 MiB; larger graph files stay in the image alone."""
_BEFORE_STOP_S = 5
_AFTER_DRAIN_S = 10
_REMOTE_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}


@dataclass(frozen=True)
class GraphServer:
    """A graph that is to be served.

    Attributes:
        path: its file.
        graph: what it says.
        texts: the text of its file, and of those that it names, by path.
        config: how it is served, as its file says.
        models: the models that are files on this disk.
        modules: the project's modules that it names.
        variables: environment variables that it names, which a Secret has.
    """

    path: Path
    graph: GraphSpec
    texts: Mapping[str, str]
    config: ServeConfig
    models: tuple[Path, ...] = ()
    modules: tuple[Path, ...] = field(default=(), repr=False)
    variables: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its objects are called."""
        return dns_name(self.graph.name)

    @property
    def uses_store(self) -> bool:
        """Whether a model comes from the store that is not named in the graph."""
        return any(uri.startswith("store:") and "#" not in uri for uri in self._uris())

    @property
    def fetches(self) -> bool:
        """Whether models are fetched from elsewhere, so that a cache pays that outlives the pod."""
        return any(uri.startswith("store:") or (is_remote(uri) and not is_address(uri)) for uri in self._uris())

    def _uris(self) -> list[str]:
        return [uri for model, _ in models_of(self.graph) for uri in (model.uri, *model.uris)]

    def handlers(self, store: str = "") -> dict[str, list[Handler]]:
        """The handlers of its models by their URIs; none where it is a store elsewhere that knows, or nobody does.

        Args:
            store: of models whose URIs name none; empty is the one that they have here.
        """
        models = [
            (replace(model, uri=uri), folder)
            for model, folder in models_of(self.graph)
            for uri in (model.uri, *model.uris)
        ]
        return {model.uri: _handlers(model, folder, store) for model, folder in models}

    def extras(self, store: str = "") -> set[str]:
        """The extras of Motet that it needs."""
        found = {"grpc"}
        for uri in self._uris():
            found |= store_extras(uri)
            found |= {"remote"} if is_address(uri) else set()
        for handlers in self.handlers(store).values():
            found |= {getattr(each, "extra", "") for each in handlers} - {""}
        if any(
            model.options.keys() & {"precision", "backend"} and _is_onnx(model) for model, _ in models_of(self.graph)
        ):
            found.add("precision")
        if self.uses_store:
            found |= store_extras(store)
        if any("uint8" in str(each.type) for each in self.graph.inputs.values()):
            found.add("image")
        if self.config.admission is not None:
            found.add("auth")
        for key, said in (("sinks", self.config.sinks), ("experiments", self.config.experiments)):
            found |= {extra_of(place, f"{self.path}: serve.{key}") for place in _places(said)} - {""}
        if "redis" in str(self.config.admission):
            found.add("redis")
        return found - {"sql"} if "postgres" in found else found

    def configuration(self, project: Project) -> Configuration | None:
        """How it is served in a container; None where nothing is said."""
        if not self.graph.serving:
            return None
        return read_configuration(self.graph.serving, self.path.parent, project.place)

    @property
    def config_place(self) -> str:
        """Where its configuration is in a container: relative paths in it, as that of the spool, begin there."""
        return f"{STATE}/{self.name}.yaml"

    def command(self, project: Project, *, grpc: bool = True) -> list[str]:
        """The command line."""
        config = ["--config", self.config_place] if self.graph.serving else []
        ports = ["--port", str(HTTP_PORT), "--grpc-port", str(GRPC_PORT if grpc else -1)]
        return ["motet", "serve", project.place(self.path), *config, "--host", "0.0.0.0", *ports]

    def _mapped(self, project: Project) -> dict[str, str]:
        """The text of what its ConfigMap holds, by its place in a container; graph files that are too large are left out."""
        configuration = self.configuration(project)
        config = {} if configuration is None else {self.config_place: configuration.text}
        graph = {project.place(path): text for path, text in self.texts.items()}
        return config if sum(len(text.encode()) for text in graph.values()) > MOST_MAPPED_BYTES else graph | config

    def config_map(self, project: Project, settings: ExportSettings) -> dict[str, Any] | None:
        """The graph's files, so that it can be changed without a new image, and how it is served; None for nothing."""
        data = {_key(place): text for place, text in self._mapped(project).items()}
        return manifest("v1 ConfigMap", f"{self.name}-graph", "server", settings, {"data": data}) if data else None

    def annotations(self) -> dict[str, str]:
        """Where metrics are, and what the graph is: pods are replaced when it changes."""
        digest = hashlib.sha256("".join(f"{name}\0{text}\0" for name, text in sorted(self._named().items())).encode())
        scheme = {"prometheus.io/scheme": "https"} if self.config.tls else {}
        return {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(HTTP_PORT),
            "prometheus.io/path": "/metrics",
            **scheme,
            "motet/graph-digest": digest.hexdigest()[:16],
        }

    def _named(self) -> dict[str, str]:
        return {Path(path).name: text for path, text in self.texts.items()}

    def pod(
        self, project: Project, settings: ExportSettings, image: str, *, name: str = "server", grpc: bool = True
    ) -> dict[str, Any]:
        """The pod.

        Args:
            project: where files are in the image.
            settings: how it is to be.
            image: the image.
            name: what the container is called.
            grpc: whether there is a port of gRPC.
        """
        mounts = [scratch_volume(), cache_volume(self.fetches, settings)]
        env = environment(project) | {"MOTET_CACHE_BYTES": str(settings.cache_bytes)}
        if (configuration := self.configuration(project)) is not None:
            mounts.append(state_volume(settings))
            mounts += secret_mounts(self.name, configuration)
        if self.uses_store:
            env |= store_env(settings)
            mounts += [] if settings.store else [store_volume(read_only=True)]
        if (mapped := self.config_map(project, settings)) is not None:
            mounts += _files_volume(mapped, list(self._mapped(project)))
        needs, most = needs_of_graph(self.graph)
        env["OMP_NUM_THREADS"] = str(max(1, math.ceil(needs.cpu)))
        served = container(name, image, self.command(project, grpc=grpc), env, mounts, needs.resources(most))
        served["env"] += [secret_variable(self.name, each) for each in self.variables]
        served["ports"] = [{"name": "http", "containerPort": HTTP_PORT}]
        served["ports"] += [{"name": "grpc", "containerPort": GRPC_PORT}] if grpc else []
        served |= self._probes()
        return {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": self.grace_s,
            "securityContext": pod_security(),
            "containers": [served],
            "volumes": list({volume["name"]: volume for volume, _ in mounts}.values()),
        }

    @property
    def grace_s(self) -> int:
        """Seconds from the wish that a pod ends to its end by force: all that was accepted is answered before."""
        return math.ceil(_BEFORE_STOP_S + self.config.limits.drain_timeout_s + _AFTER_DRAIN_S)

    def _probes(self) -> dict[str, Any]:
        def probe(health: str, period_s: int, failures: int, timeout_s: int = 2) -> dict[str, Any]:
            scheme = {"scheme": "HTTPS"} if self.config.tls else {}
            return {
                "httpGet": {"path": f"/v2/health/{health}", "port": "http", **scheme},
                "periodSeconds": period_s,
                "timeoutSeconds": timeout_s,
                "failureThreshold": failures,
            }

        return {
            "startupProbe": probe("live", 2, 300),
            "readinessProbe": probe("ready", 5, 2),
            "livenessProbe": probe("live", 10, 3, 5),
            # the pod leaves the endpoints while it still accepts; what comes late is not refused
            "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_BEFORE_STOP_S)]}}},
        }


def store_extras(url: str) -> set[str]:
    """The extras of Motet that an address needs: `s3://...`, `onnx:gs://...`."""
    return set(_REMOTE_EXTRAS.get(url.partition("://")[0].rpartition(":")[2], "").split())


def read_server(path: str | Path) -> GraphServer:
    """Read a graph file for export. No model is looked into; `motet check` does that.

    Raises:
        GraphError: when the file is wrong, a model's file is missing, or its place has no meaning in a container.
    """
    texts: dict[str, str] = {}

    def read_text(name: str) -> str:
        with open(name, encoding="utf-8") as file:
            return texts.setdefault(name, file.read())

    whole = str(Path(path).resolve())
    graph = load_graph(whole, GraphSpec, read_text=read_text)
    models = _model_files(graph, path)
    graphs = [name for name in texts if Path(name).suffix in (".yaml", ".yml") or name == whole]
    modules = {found for name in graphs for found in modules_named(parse(texts[name]), Path(whole).parent)}
    for name in graphs:
        refuse_passwords(parse(texts[name]), name)
    named = {found for name in graphs for found in variables(parse(texts[name]))}
    config = ServeConfig.read(dict(graph.serving), f"{path}: serve", str(Path(whole).parent))
    if config.tls is not None and config.tls.client_ca is not None:
        raise GraphError(
            "the probes of a cluster, which ask whether a pod is ready, show no certificate",
            where=f"{path}: serve.tls.client_ca",
            hint="let the ingress or the mesh of the cluster ask clients for theirs",
        )
    if config.graphs:
        raise GraphError(
            "each exported graph has a server of its own",
            where=f"{path}: serve.graphs",
            hint="name them all in the command",
        )
    return GraphServer(Path(whole), graph, texts, config, tuple(models), tuple(sorted(modules)), tuple(sorted(named)))


def _model_files(graph: GraphSpec, path: str | Path) -> list[Path]:
    """The files of a graph's models on this machine, which all must be there, and samples of their rows."""
    models = []
    for model, folder in models_of(graph):
        found, where = local_file(model, folder), f"{path}: model {model.name!r}"
        if found is None:
            _refuse_private(model, folder, where)
            continue
        if Path(model.uri.removeprefix("file://").rpartition(":")[2]).expanduser().is_absolute():
            raise GraphError(
                f"{model.uri} is a path of this machine", where=where, hint="write it relative to the graph's file"
            )
        if not Path(found).exists():
            raise GraphError(f"there is no such model file: {found}", where=where)
        models.append(Path(found))
        if _is_onnx(model) and (sample := Path(folder, str(model.options.get("sample") or "."))).is_file():
            models.append(sample)
    return models


def _handlers(model: Model, folder: str, store: str) -> list[Handler]:
    with contextlib.suppress(MotetError):
        if not model.uri.startswith(STORE):
            return [find_handler(model.uri)[0]]
        if store and "#" not in model.uri:
            model = replace(model, uri=f"{STORE}{store}#{model.uri.removeprefix(STORE)}")
        if "://" in place_of(model.uri.replace(KEY, "key"), folder)[0]:  # whether it answers from here nobody can say
            return []
        stored = StoredModels()
        uris = stored.keys(model, folder).values() if KEY in model.uri else [model.uri]
        return [handler_by_name(name) for name in sorted({stored.version(uri, folder).handler for uri in uris})]
    return []


def _places(said: Any) -> Iterator[str]:
    """The addresses that `sinks` or `experiments` name."""
    for each in said if isinstance(said, list | tuple) else [said]:
        to = each.get("to") if isinstance(each, Mapping) else each
        if isinstance(to, str):
            yield to


def _is_onnx(model: Model) -> bool:
    with contextlib.suppress(MotetError):
        return find_handler(model.uri)[0].name == "onnx"
    return False


def _refuse_private(model: Model, folder: str, where: str) -> None:
    """Refuse files of certificates beside the graph that no image may have."""
    for key in FILE_OPTIONS:
        said = str(model.options.get(key) or "")
        place = Path(folder, said)
        if said and not Path(said).is_absolute() and place.is_file() and (why := why_private(place)):
            hint = "mount a Secret that has it, and write its absolute path in the container"
            raise GraphError(f"{said} gets into no image: {why}", where=f"{where}: with.{key}", hint=hint)


def _key(place: str) -> str:
    """A path as the key of a ConfigMap: letters, digits, dots and dashes."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in place.strip("/"))


def _files_volume(config_map: dict[str, Any], places: list[str]) -> list[Mount]:
    name = config_map["metadata"]["name"]
    volume = {"name": "graph", "configMap": {"name": name}}
    return [
        (volume, {"name": "graph", "mountPath": place, "subPath": _key(place), "readOnly": True}) for place in places
    ]
