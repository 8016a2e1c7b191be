"""The application: routes, errors, CORS."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware as StarletteMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motet.errors import MotetError
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.about import MetadataRoutes
from motet.serving.rest.experiments import ExperimentRoutes
from motet.serving.rest.feedback import FeedbackRoutes
from motet.serving.rest.openai.routes import OpenAIRoutes
from motet.serving.rest.openapi import openapi
from motet.serving.rest.pages import Pages
from motet.serving.rest.parts import AppParts
from motet.serving.rest.predict import Predict
from motet.serving.rest.respond import handled, json_response
from motet.serving.rest.v1 import V1
from motet.serving.wire.cors import EXPOSED

__all__ = ["create_app"]


def create_app(repository: ModelRepository, middleware: Middleware, parts: AppParts | None = None) -> Starlette:
    """The ASGI application of a repository: everything but the inference routes.

    Args:
        repository: what is served; the application runs in its event loop.
        middleware: what every request passes.
        parts: how it is set up; None for a server that counts nothing.
    """
    parts = parts or AppParts()
    predict = Predict(repository, middleware)

    async def described(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        compared = () if parts.experiments is None else parts.experiments.graphs
        found = openapi(repository, parts.secured, required=parts.required, root=root, compared=compared)
        return json_response(found)

    routes = [  # they are looked through in order, so what is asked for most comes first
        Route("/predict/{name}", predict.__call__, methods=["POST"]),
        Route("/predict/{name}/versions/{version}", predict.__call__, methods=["POST"]),
        *FeedbackRoutes(repository, middleware, parts).routes(),
        *ExperimentRoutes(repository, middleware, parts).routes(),
        *MetadataRoutes(repository, parts, middleware).routes(),
        *V1(repository, middleware).routes(),
        *OpenAIRoutes(repository, middleware).routes(),
        *Pages(repository, parts, middleware).routes(),
        Route("/v2/models/{name}/infer", _infer, methods=["POST"]),
        Route("/v2/models/{name}/versions/{version}/infer", _infer, methods=["POST"]),
        Route("/openapi.json", described),
    ]
    handlers = {MotetError: handled, 404: handled, 405: handled, Exception: handled}
    app = _Application(routes=routes, middleware=[StarletteMiddleware(_Tolerant)], exception_handlers=handlers)
    app.cors = middleware.config.cors
    app.router.redirect_slashes = False
    return app


async def _infer(_request: Request) -> Response:
    """Here for other methods, which are told what is taken: what is posted is answered without the application."""
    raise HTTPException(404)


def _cors(origins: tuple[str, ...]) -> dict[str, Any]:
    return {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["*"],
        "expose_headers": EXPOSED,
        "max_age": 600,
    }


class _Application(Starlette):
    """Attributes: cors, the origins of pages that may read the answers."""

    cors: tuple[str, ...] = ()

    def build_middleware_stack(self) -> ASGIApp:
        """With what every answer has around all else: Starlette answers a mistake of ours outside of its own middleware."""
        named = _Named(super().build_middleware_stack())
        return CORSMiddleware(named, **_cors(self.cors)) if self.cors else named


class _Named:
    """Gives the caller's name of a request back with its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = next((value for key, value in scope.get("headers", ()) if key == b"x-request-id"), None)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name)]}
            await send(message)

        await self._app(scope, receive, send if name is None else named)


class _Tolerant:
    """Takes an address with a slash at its end for the same without."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shortest = len(scope.get("root_path", "")) + 1
        if scope["type"] == "http" and len(scope["path"]) > shortest and scope["path"].endswith("/"):
            path = scope["path"][:shortest] + scope["path"][shortest:].rstrip("/")
            raw = scope.get("raw_path", b"").rstrip(b"/") or b"/"
            scope = {**scope, "path": path, "raw_path": raw}
        await self._app(scope, receive, send)
