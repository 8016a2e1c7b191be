"""The desks where requests come in that are not on the hot path: calls over gRPC, and what the application answers."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from motet.errors import MotetError
from motet.serving.http.respond import error_body
from motet.serving.middleware.context import RequestContext, name_of

if TYPE_CHECKING:
    from motet.serving.admission import Ticket
    from motet.serving.middleware.middleware import Middleware
    from motet.serving.middleware.rest_entry import RestCall

__all__ = ["AppDesk", "Desk"]


class Desk:
    """Lets calls over gRPC in.

    Args:
        services: of the server.
    """

    def __init__(self, services: Middleware) -> None:
        self._services = services

    def enter(self, method: str, model: str, headers: Any, address: str) -> RequestContext | Awaitable[RequestContext]:
        """Let a call in, now or when it is its turn.

        Raises:
            MotetError: when it may not come in.
        """
        services = self._services
        visit = RequestContext(services, "grpc", method, model, services.address(address, lambda: headers))
        visit.id = headers.get("x-request-id", "")
        visit.trace(headers.get("traceparent", ""))
        waiting = None
        try:
            waiting = services.enter(visit, headers)
            if method.startswith("RepositoryModel"):
                from motet.serving.middleware.rest_entry import RestCall, check_admin

                asked = RestCall("POST", f"/{method}", model, headers, address, True, 0)
                klass = "" if visit.caller is None else visit.caller.klass
                check_admin(services.config.admin, asked, klass, services.config.cors)
        except MotetError as error:
            if waiting is not None:
                waiting.close()  # nobody awaits it
            self._refused(visit, error)
            raise
        return visit if waiting is None else self._wait(visit, waiting)

    async def _wait(self, visit: RequestContext, waiting: Coroutine[Any, Any, Ticket]) -> RequestContext:
        try:
            visit.entered(await waiting)
        except MotetError as error:
            self._refused(visit, error)
            raise
        except BaseException as error:
            visit.end(None, None, 499, name_of(error))
            raise
        return visit

    def _refused(self, visit: RequestContext, error: MotetError) -> None:
        from motet.serving.grpc.status import code_of

        self._services.rejected(visit.target, error)
        self._services.seen.grpc_answered(code_of(error).name, 0, 0)
        visit.end(None, None, error.status, name_of(error))


class AppDesk:
    """Lets requests in that the application answers.

    Args:
        services: of the server.
    """

    def __init__(self, services: Middleware) -> None:
        self._services = services

    async def enter(self, asked: RestCall) -> RequestContext:
        """Let a request in, now or when it is its turn.

        Raises:
            MotetError: when it may not come in.
        """
        services = self._services
        address = services.address(asked.peer, lambda: asked.headers)
        visit = RequestContext(services, "http", f"{asked.method} {asked.path}", asked.target, address)
        visit.received_bytes, visit.id = asked.received_bytes, asked.headers.get("x-request-id", "")
        visit.trace(asked.headers.get("traceparent", ""))
        waiting = None
        try:
            waiting = services.enter(visit, asked.headers, owner=asked.owner)
            if asked.admin:
                from motet.serving.middleware.rest_entry import check_admin

                klass = "" if visit.caller is None else visit.caller.klass
                check_admin(services.config.admin, asked, klass, services.config.cors)
            if waiting is not None:
                visit.entered(await waiting)
        except BaseException as error:
            if waiting is not None:
                waiting.close()  # where nobody has awaited it
            status = 499
            if isinstance(error, MotetError):
                status = error.status
                services.rejected(visit.target, error)
                visit.sent_bytes = len(error_body(error))
            visit.end(None, None, status, name_of(error))
            raise
        return visit

    def administers(self, asked: RestCall) -> bool:
        """Whether the caller may see what the requests of others were: who may load and unload."""
        from motet.serving.middleware.rest_entry import check_admin

        services, klass = self._services, ""
        try:
            if services.admission is not None and not asked.owner:
                address = services.address(asked.peer, lambda: asked.headers)
                klass = services.admission.identify(asked.headers, address).klass
            check_admin(services.config.admin, asked, klass, services.config.cors)
        except MotetError:
            return False
        return True
