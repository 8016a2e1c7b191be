"""The server of a graph as a pod: the same command as anywhere, its files, its probes, its end."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import motet.nodes  # noqa: F401  (the kinds register themselves)
from motet.errors import GraphError, MotetError
from motet.export.kubernetes.needs import is_address, local_file, models_of, needs_of_graph
from motet.export.kubernetes.pods import (
    Mount,
    cache_volume,
    container,
    environment,
    metadata,
    pod_security,
    scratch_volume,
    store_env,
    store_volume,
)
from motet.export.kubernetes.project import Project, modules_named
from motet.export.kubernetes.settings import GRPC_PORT, HTTP_PORT, Settings, dns_name
from motet.graph.graph import Graph
from motet.graph.yaml import load_graph, parse
from motet.models.fetch import is_remote
from motet.models.registry import find_handler
from motet.serving.config import ServeConfig

__all__ = ["GraphServer", "read_server", "store_extras"]

MOST_MAPPED_BYTES = 900_000
"""A ConfigMap holds 1 MiB; larger graph files stay in the image alone."""
_BEFORE_STOP_S = 5
_AFTER_DRAIN_S = 10
_EXTRAS = {"sklearn": "sklearn", "torch": "torch", "xgboost": "xgboost", "lightgbm": "lightgbm", "jax": "jax"}
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
    """

    path: Path
    graph: Graph
    texts: Mapping[str, str]
    config: ServeConfig
    models: tuple[Path, ...] = ()
    modules: tuple[Path, ...] = field(default=(), repr=False)

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

    def extras(self, store: str = "") -> set[str]:
        """The extras of Motet that it needs."""
        found = {"grpc"}
        for uri in self._uris():
            found.update(store_extras(uri))
            with contextlib.suppress(MotetError):
                found.update(_EXTRAS.get(find_handler(uri)[0].name, "").split())
            if is_address(uri):
                found.add("remote")
        if self.uses_store:
            found |= store_extras(store)
        if any("uint8" in str(each.type) for each in self.graph.inputs.values()):
            found.add("image")
        if self.config.admission is not None:
            found.add("auth")
        if self.config.sinks:
            found.add("postgres" if "postgres" in str(self.config.sinks) else "sql")
        if "redis" in str(self.config.admission):
            found.add("redis")
        return found

    def command(self, project: Project, *, grpc: bool = True) -> list[str]:
        """The command line."""
        ports = ["--port", str(HTTP_PORT), "--grpc-port", str(GRPC_PORT if grpc else -1)]
        return ["motet", "serve", project.place(self.path), "--host", "0.0.0.0", *ports]

    def config_map(self, project: Project, settings: Settings) -> dict[str, Any] | None:
        """The graph's files, so that it can be changed without a new image; None where they are too large."""
        data = {_key(project.place(path)): text for path, text in self.texts.items()}
        if sum(len(text.encode()) for text in data.values()) > MOST_MAPPED_BYTES:
            return None
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(f"{self.name}-graph", "server", settings),
            "data": data,
        }

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
        self, project: Project, settings: Settings, image: str, *, name: str = "server", grpc: bool = True
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
        env = environment(project)
        if self.uses_store:
            env |= store_env(settings)
            mounts += [] if settings.store else [store_volume(read_only=True)]
        if (mapped := self.config_map(project, settings)) is not None:
            mounts += _files_volume(mapped, [project.place(path) for path in self.texts])
        needs, most = needs_of_graph(self.graph)
        env["OMP_NUM_THREADS"] = str(max(1, math.ceil(needs.cpu)))
        served = container(name, image, self.command(project, grpc=grpc), env, mounts, needs.resources(most))
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
    graph = load_graph(whole, Graph, read_text=read_text)
    models = []
    for model, folder in models_of(graph):
        found = local_file(model, folder)
        if found is None:
            continue
        where = f"{path}: model {model.name!r}"
        if Path(model.uri.removeprefix("file://").rpartition(":")[2]).expanduser().is_absolute():
            raise GraphError(
                f"{model.uri} is a path of this machine", where=where, hint="write it relative to the graph's file"
            )
        if not Path(found).exists():
            raise GraphError(f"there is no such model file: {found}", where=where)
        models.append(Path(found))
    graphs = [text for name, text in texts.items() if Path(name).suffix in (".yaml", ".yml") or name == whole]
    modules = {found for text in graphs for found in modules_named(parse(text), Path(whole).parent)}
    config = ServeConfig.read(dict(graph.serving), f"{path}: serve", str(Path(whole).parent))
    return GraphServer(Path(whole), graph, texts, config, tuple(models), tuple(sorted(modules)))


def _key(place: str) -> str:
    """A path as the key of a ConfigMap: letters, digits, dots and dashes."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in place.strip("/"))


def _files_volume(config_map: dict[str, Any], places: list[str]) -> list[Mount]:
    name = config_map["metadata"]["name"]
    volume = {"name": "graph", "configMap": {"name": name}}
    return [
        (volume, {"name": "graph", "mountPath": place, "subPath": _key(place), "readOnly": True}) for place in places
    ]
