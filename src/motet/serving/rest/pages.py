"""The page for people, its files, the drawings of graphs, and what the page is told of them."""

from __future__ import annotations

import asyncio
import hashlib
import html
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from motet.errors import ForbiddenError, NotFoundError
from motet.graph.graph import GraphSpec
from motet.pictures import is_picture
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.calls import administers
from motet.serving.rest.classes import Classes, classes_of
from motet.serving.rest.parts import AppParts
from motet.serving.rest.respond import json_response
from motet.serving.rest.status import for_anybody
from motet.serving.rest.uploads import takes_files
from motet.types import ColumnType
from motet.version import __version__

__all__ = ["Pages"]

KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
SAMPLES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
MOST_SAMPLES, MOST_SAMPLE_BYTES = 60, 1 << 20
SAFE = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Pages:
    """Answers with what people look at.

    Args:
        repository: what is served.
        parts: of the server.
        middleware: says who may see what the requests of others were.
    """

    def __init__(self, repository: ModelRepository, parts: AppParts, middleware: Middleware) -> None:
        self._repository, self._parts, self._middleware = repository, parts, middleware
        self._files: dict[str, tuple[bytes, str]] = {}

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self.front),
            Route("/docs", self.docs),
            Route("/page/{file}", self.file),
            Route("/graphs.json", self.graphs),
            Route("/graphs/{name}.svg", self.drawing),
            Route("/status.json", self.status),
            Route("/metrics", self.metrics),
            Route("/workflows", self.workflows),
            Route("/workflows/{path:path}", self.workflows),
            Route("/samples.json", self.samples),
            Route("/samples/{file}", self.sample),
        ]

    async def front(self, request: Request) -> Response:
        """The page."""
        return self._file(request, "index.html")

    async def docs(self, request: Request) -> Response:
        """How the server is called."""
        return self._file(request, "docs.html")

    async def file(self, request: Request) -> Response:
        """A file of the pages."""
        return self._file(request, request.path_params["file"])

    def _file(self, request: Request, name: str) -> Response:
        if name not in self._files:
            folder = resources.files("motet.serving") / "page"
            if name not in {each.name for each in folder.iterdir()} or name.rpartition(".")[2] not in KINDS:
                raise NotFoundError(f"there is no file {name!r}")
            data = (folder / name).read_bytes()
            self._files[name] = data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        data, tag = self._files[name]
        if (root := request.scope.get("root_path", "")) and name.endswith(".html"):
            data = data.replace(b'="/', f'="{html.escape(quote(root))}/'.encode())
            tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {**SAFE, "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=KINDS[name.rpartition(".")[2]], headers=headers)

    async def graphs(self, request: Request) -> Response:
        """Everything that is served, as the page needs it."""
        names: dict[str, list[str]] = {}
        for name, served in self._repository.served.items():
            names.setdefault(served.name, []).append(name)
        admin = administers(self._middleware, request)
        compared = () if self._parts.experiments is None else self._parts.experiments.graphs
        listed = [
            {**_about(each, names), "reason": each.why(administers=admin), "experiment": each.name in compared}
            for each in dict.fromkeys(self._repository.served.values())
        ]
        return json_response({"version": __version__, "ready": self._repository.ready, "served": listed})

    async def drawing(self, request: Request) -> Response:
        """The drawing of a graph."""
        served = self._repository.find(request.path_params["name"])
        return Response(served.graph.draw("svg"), media_type=KINDS["svg"], headers=SAFE)

    async def status(self, request: Request) -> Response:
        """What happens now."""
        found = {} if self._parts.status is None else await self._parts.status()
        admin = administers(self._middleware, request)
        states = {
            each.name: {"state": each.state, "reason": each.why(administers=admin)}
            for each in self._repository.served.values()
        }
        shown = found if admin else for_anybody(found)
        return json_response({**shown, "ready": self._repository.ready, "states": states})

    async def workflows(self, request: Request) -> Response:
        """The runs of workflows of this machine, for administrators; see `motet.workflow.page.site`."""
        if not administers(self._middleware, request):
            hint = "on the server's machine, as the user that runs it, use motet workflow ui"
            raise ForbiddenError("what workflows have run is for administrators", hint=hint)
        from motet.workflow.page.site import HEADERS, answer

        base = f"{quote(request.scope.get('root_path', ''))}/workflows"
        path = quote(request.path_params.get("path", ""))
        found = await asyncio.to_thread(answer, path, request.query_params.getlist("run"), base)
        return Response(found.text, found.status, {**HEADERS, "content-type": found.kind})

    async def samples(self, _request: Request) -> Response:
        """The names of the pictures that the page offers to try."""
        return json_response(sorted(found_samples(self._parts.samples)))

    async def sample(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["file"]
        path = found_samples(self._parts.samples).get(name)
        if path is None:
            raise NotFoundError(f"there is no sample {name!r}")
        return Response(path.read_bytes(), media_type=SAMPLES[path.suffix.lower()], headers=SAFE)

    async def metrics(self, request: Request) -> Response:
        """What Prometheus reads."""
        if self._parts.metrics is None:
            raise NotFoundError("this server counts nothing for Prometheus", hint="see /status.json")
        text, kind = await self._parts.metrics(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind, "cache-control": "no-store"})


def found_samples(folder: str) -> dict[str, Path]:
    """The pictures of a folder by name, 60 at most, of 1 MiB each at most; none where there is no folder."""
    if not folder or not Path(folder).is_dir():
        return {}
    files = (path for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in SAMPLES and path.is_file())
    return {path.name: path for path in islice(files, MOST_SAMPLES) if path.stat().st_size <= MOST_SAMPLE_BYTES}


def _about(served: RepositoryEntry, names: dict[str, list[str]]) -> dict[str, Any]:
    short = min(names[served.name], key=len)
    return {
        "name": served.name,
        "short": short,
        "kind": served.kind,
        "platform": served.platform,
        "state": served.state,
        "graph": served.parent.name if served.parent is not None else served.name,
        "inputs": [
            {
                "name": name,
                "type": str(each.type),
                "dtype": each.type.dtype,
                "shape": each.type.shape,
                "optional": each.has_default,
                "widget": _widget(each.type),
            }
            for name, each in served.inputs.items()
        ],
        **_given(served),
    }


def _given(served: RepositoryEntry) -> dict[str, Any]:
    """What it gives: outputs, with the names of classes that are known to be theirs, as places in `labels`, where each
    list of names stands once; and in `classes` those of the columns of its calls."""
    graph = served.graph if served.parent is None else served.parent.graph
    found, lists = classes_of(graph.checked), list[list[str]]()

    def place(labels: tuple[str, ...] | None) -> int | None:
        if not labels:
            return None
        if list(labels) not in lists:
            lists.append(list(labels))
        return lists.index(list(labels))

    outputs = []
    for name, kind in served.signature.outputs.items():
        column = graph.checked.canonical[graph.outputs[name]] if served.parent is None else ""
        about = {"name": name, "type": str(kind), "dtype": kind.dtype, "shape": kind.shape, "picture": is_picture(kind)}
        places = kind.labels or found.places.get(column) or _of_model(served, name, graph, found)
        outputs.append(about | {"classes": place(places), "positions": place(found.positions.get(column))})
    classes = {column: place(labels) for column, labels in found.places.items() if served.parent is None}
    return {"outputs": outputs, "classes": classes, "labels": lists}


def _of_model(served: RepositoryEntry, output: str, graph: GraphSpec, found: Classes) -> tuple[str, ...] | None:
    """The names that the graph which a model is in has for what it gives."""
    uses = served.name.rpartition(".")[2]
    keys = (
        f"{node.name}.{member.name}.{output}"
        for node in (graph.nodes.values() if served.parent else ())
        for member in node.members
        if member.uses == uses
    )
    return next((found.places[key] for key in keys if key in found.places), None)


def _widget(kind: ColumnType) -> str:
    """How an input is asked for on the page."""
    if is_picture(kind):
        return "picture"
    if takes_files(kind):
        return "file"
    if kind.shape:
        return "json"
    return {"string": "text", "bool": "flag", "any": "json"}.get(kind.dtype, "number")
