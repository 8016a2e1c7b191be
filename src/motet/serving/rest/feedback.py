"""POST /feedback/GRAPH: what became of answers; row by row, each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from motet.errors import NotFoundError
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.calls import enter
from motet.serving.rest.parts import AppParts
from motet.serving.rest.predict import decoded
from motet.serving.rest.respond import json_response
from motet.serving.wire.compress import decompress

if TYPE_CHECKING:  # what keeps experiments needs SQLAlchemy, which a server without them may lack
    from motet.serving.experiments.experiments import Experiments

__all__ = ["FeedbackRoutes", "kept"]


class FeedbackRoutes:
    """Takes feedback.

    Args:
        repository: what is served.
        middleware: what every request passes; limits hold for feedback as for inference.
        parts: of the server.
    """

    def __init__(self, repository: ModelRepository, middleware: Middleware, parts: AppParts) -> None:
        self._repository, self._middleware, self._parts = repository, middleware, parts

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route("/feedback/{name}", self.take, methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """Take one row, or many; answered when what was accepted is on disk."""
        served = self._repository.find_loaded(request.path_params["name"])
        body, limits = await request.body(), self._repository.limits
        with await enter(self._middleware, request, served.name, len(body)) as context:
            experiments = kept(self._parts, served.name)
            from motet.serving.experiments.feedback import FeedbackRefusedError, rows_of

            encoding = request.headers.get("content-encoding")
            body = body if encoding is None else decompress(body, encoding, limits.body_bytes)
            rows, single = rows_of(await decoded(body))
            known = experiments.experiments(served.name)
            result = await experiments.feedback.take(served.name, rows, known, limits.rows)
            if single and result.refused:
                raise FeedbackRefusedError(result.refused[0]["error"], where=result.refused[0]["reason"])
            response = json_response({"accepted": result.accepted, "refused": result.refused})
            context.sent_bytes = len(response.body)
        return response


def kept(parts: AppParts, name: str) -> Experiments:
    """The experiments of a server that has some of a graph.

    Raises:
        NotFoundError: when it has none.
    """
    if parts.experiments is None:
        hint = "say experiments: {to: sqlite:///predictions.db} in serve.yaml"
        raise NotFoundError("this server keeps no experiments", hint=hint)
    if name not in parts.experiments.graphs:
        raise NotFoundError(f"{name!r} has no experiment", hint="a route by split with metric: is one")
    return parts.experiments
