"""Health, metadata, configuration, statistics and the repository: the Open Inference Protocol's REST, and Triton's additions.

https://github.com/kserve/open-inference-protocol and the protocol folder of https://github.com/triton-inference-server/server
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from motet.errors import InputError, NotReadyError
from motet.serving.batching.parameters import no_shared_memory
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.descriptions import config_of, index_of, metadata_of, server_metadata, statistics_of
from motet.serving.repository.entry import STOPS, UNLOADED, RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.calls import administers, enter
from motet.serving.rest.parts import AppParts
from motet.serving.rest.respond import json_response, read_object

__all__ = ["MetadataRoutes"]

Endpoint = Callable[[Request], Awaitable[Response]]
Act = Callable[[str, Mapping[str, Any]], Awaitable[None]]
_IGNORED = ("unload_dependents",)
"""Parameters of Triton's clients that mean nothing here."""


class MetadataRoutes:
    """Answers what is asked about a server and its models.

    Args:
        repository: what is served.
        parts: of the server.
        middleware: what every request passes; says who may load and unload.
    """

    def __init__(self, repository: ModelRepository, parts: AppParts, middleware: Middleware) -> None:
        self._repository, self._parts, self._middleware = repository, parts, middleware

    def routes(self) -> list[Route]:
        """All of them."""
        model = "/v2/models/{name}"
        listed: list[tuple[str, Endpoint]] = [
            ("/v2", self.server),
            ("/v2/health/live", self.live),
            ("/v2/health/ready", self.ready),
            ("/healthz", self.live),
            ("/readyz", self.ready),
            ("/v2/models", self.models),
            ("/v2/models/stats", self.all_stats),
        ]
        for prefix in (model, f"{model}/versions/{{version}}"):
            listed += [
                (prefix, self.model),
                (f"{prefix}/ready", self.model_ready),
                (f"{prefix}/config", self.config),
                (f"{prefix}/stats", self.stats),
            ]
        return [Route(path, endpoint) for path, endpoint in listed] + [
            Route("/v2/systemsharedmemory/{rest:path}", self.shared_memory, methods=["GET", "POST"]),
            Route("/v2/cudasharedmemory/{rest:path}", self.shared_memory, methods=["GET", "POST"]),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{name}/load", self.load, methods=["POST"]),
            Route("/v2/repository/models/{name}/unload", self.unload, methods=["POST"]),
            Route("/v2/repository/models/{name}/scale", self.scale, methods=["POST"]),
        ]

    def _find(self, request: Request) -> RepositoryEntry:
        return self._repository.find(request.path_params["name"], request.path_params.get("version", ""))

    def _find_loaded(self, request: Request) -> RepositoryEntry:
        return self._repository.find_loaded(request.path_params["name"], request.path_params.get("version", ""))

    async def server(self, _request: Request) -> Response:
        """What this server is."""
        return json_response(server_metadata("binary_tensor_data"))

    async def live(self, _request: Request) -> Response:
        """Whether the process runs."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether everything that is served can be called; 503 where not, and what cannot, and why."""
        repository = self._repository
        if repository.ready:
            return json_response({"ready": True})
        admin = administers(self._middleware, request)
        waiting = {
            each.name: {"state": each.state, "reason": each.why(administers=admin)}
            for each in repository.served.values()
            if each.kind == "graph" and each.state != "READY" and each.reason != UNLOADED
        }
        reasons = [f"{name} is not ready: {each['reason']}" for name, each in waiting.items()]
        if repository.stopping or repository.draining:
            reasons.insert(0, STOPS)
        return json_response({"ready": False, "reason": "; ".join(reasons), "waiting": waiting}, 503)

    async def models(self, _request: Request) -> Response:
        """The names of what is served, as KServe lists them."""
        return json_response({"models": self._repository.loaded_names})

    async def model(self, request: Request) -> Response:
        """What a model takes and gives."""
        return json_response(metadata_of(request.path_params["name"], self._find_loaded(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether a model can be called; 503 where not."""
        served = self._find(request)
        if served.state != "READY":
            why = served.why(administers=administers(self._middleware, request))
            raise NotReadyError(f"{served.name} is not ready: {why}")
        if self._repository.stopping or self._repository.draining:
            raise NotReadyError(f"{served.name} is not ready: {STOPS}")
        return json_response({"name": request.path_params["name"], "ready": True})

    async def config(self, request: Request) -> Response:
        """Triton's configuration of a model, as far as it has a meaning here."""
        name, max_rows = request.path_params["name"], self._repository.limits.rows
        return json_response(config_of(name, self._find_loaded(request), max_rows))

    async def stats(self, request: Request) -> Response:
        """How often a model was asked, and how long it took."""
        asked = {request.path_params["name"]: self._find(request)}
        return json_response(statistics_of(asked, self._parts.numbers))

    async def all_stats(self, _request: Request) -> Response:
        """The same of everything."""
        return json_response(statistics_of(self._repository.served, self._parts.numbers))

    async def index(self, request: Request) -> Response:
        """Everything that has a name, its state, and why it is in it."""
        admin = administers(self._middleware, request)
        only_ready = (await read_object(request)).get("ready")
        only_ready = False if only_ready is None else only_ready
        if not isinstance(only_ready, bool):
            raise InputError(f"'ready' must be true or false; got {only_ready!r}")
        reason = partial(RepositoryEntry.why, administers=admin)
        return json_response(index_of(self._repository, reason, only_ready=only_ready))

    async def shared_memory(self, _request: Request) -> Response:
        """Triton's regions of shared memory: there are none."""
        raise no_shared_memory()

    async def load(self, request: Request) -> Response:
        """Load a graph, or load it anew from its file; answered when it is ready."""
        return await self._administer(request, _nothing_given(self._repository.load))

    async def unload(self, request: Request) -> Response:
        """Take a graph off line; answered when its requests are."""
        return await self._administer(request, _nothing_given(self._repository.unload))

    async def scale(self, request: Request) -> Response:
        """Have so many replicas of a model; answered before new ones are ready."""

        async def act(name: str, parameters: Mapping[str, Any]) -> None:
            if set(parameters) != {"replicas"}:
                given = ", ".join(map(str, parameters)) or "nothing"
                raise InputError(
                    f"expected the parameter replicas; got {given}", hint='send {"parameters": {"replicas": 2}}'
                )
            await self._repository.scale(name, parameters["replicas"])

        return await self._administer(request, act)

    async def _administer(self, request: Request, act: Act) -> Response:
        name = request.path_params["name"]
        with await enter(self._middleware, request, name, len(await request.body()), admin=True) as context:
            parameters = (await read_object(request)).get("parameters") or {}
            if not isinstance(parameters, dict):
                raise InputError(f"parameters must be an object; got {parameters!r}")
            # shielded: a caller that is gone must not leave a graph half loaded
            await asyncio.shield(act(name, parameters))
            response = json_response({})
            context.sent_bytes = len(response.body)
        return response


def _nothing_given(act: Callable[[str], Awaitable[Any]]) -> Act:
    """Something that is done with a graph as its file says it."""

    async def done(name: str, parameters: Mapping[str, Any]) -> None:
        given = [str(each) for each in parameters if each not in _IGNORED]
        if given:
            raise InputError(
                f"parameters {', '.join(sorted(given))} are given; a graph is loaded from its file as it is",
                hint="change the graph's file and load it without parameters",
            )
        await act(name)

    return done
