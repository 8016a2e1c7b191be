"""gRPC's own health check, `grpc.health.v1.Health`: for load balancers and orchestrators."""

from __future__ import annotations

import asyncio
from typing import Any

from motet.errors import NotFoundError
from motet.oip.messages import HEALTH_SERVICE, SERVICE, HealthCheckResponse
from motet.serving.repository.repository import ModelRepository

__all__ = ["HealthService"]

LOOK_S = 0.25
"""How often watchers look whether something has changed."""
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


class HealthService:
    """Answers health checks: of the server (the empty name, or a service's), or of a model (its name).

    Args:
        repository: what is served.
    """

    def __init__(self, repository: ModelRepository) -> None:
        self._repository = repository
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Tell those who watch, and let them go."""
        self._stopping.set()

    async def check(self, request: Any) -> Any:
        """The state now."""
        status = self._status(request.service)
        if status == SERVICE_UNKNOWN:
            raise NotFoundError(f"no service {request.service!r}; known: {SERVICE}, and the models that are served")
        return HealthCheckResponse(status=status)

    async def watch(self, request: Any, context: Any) -> None:
        """The state now, and again whenever it changes."""
        last = -1
        while True:
            status = self._status(request.service)
            if status != last:
                await context.write(HealthCheckResponse(status=status))
                last = status
            if self._stopping.is_set():
                return
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def _status(self, service: str) -> int:
        if service in ("", SERVICE, HEALTH_SERVICE):
            ready = self._repository.ready and not self._stopping.is_set()
            return SERVING if ready else NOT_SERVING
        served = self._repository.served.get(service)
        if served is None:
            return SERVICE_UNKNOWN
        return SERVING if served.state == "READY" and not self._stopping.is_set() else NOT_SERVING
