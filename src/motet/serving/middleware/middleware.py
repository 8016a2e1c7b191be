"""What every request passes, whatever its protocol: who asks, whether it may administer, limits; its end is written down.

Every part is there only where it is configured; without any of them a request over HTTP for inference costs no more than a
look at `busy`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from motet.errors import DeadlineError, MotetError
from motet.serving.config.server import ServeConfig
from motet.serving.middleware.administration import check_admin
from motet.serving.middleware.call import IncomingCall
from motet.serving.middleware.context import RequestContext
from motet.serving.observability.incidents import say_failed
from motet.serving.repository.repository import ModelRepository
from motet.serving.wire.errors import grpc_code

if TYPE_CHECKING:
    from motet.serving.admission import Admission, Caller, Ticket
    from motet.serving.observability.observability import Observability
    from motet.serving.observability.tracing import Tracing
    from motet.system.line_writer import LineWriter

__all__ = ["Middleware"]

_LATE = "not answered in time: the request waited for its turn"


class Middleware:
    """Lets requests in, and writes down what became of them. Used in the thread of the event loop.

    Args:
        repository: what is served.
        config: how the server is set up; by default everybody may ask, and who is no administrator may not administer.
        observability: counts, traces and logs; None where nobody does.

    Attributes:
        config: how the server is set up now.
        admission: who may ask, and how much; None lets everybody in.
        busy: whether inference over HTTP must come by here: somebody is kept out, or something is written down.
    """

    def __init__(
        self,
        repository: ModelRepository,
        config: ServeConfig | None = None,
        observability: Observability | None = None,
    ) -> None:
        self._served, self._observability = repository, observability
        self.use(config or ServeConfig(), None, None)

    def use(self, config: ServeConfig, admission: Admission | None, audit: LineWriter | None) -> None:
        """Go on with this from now on, for new requests."""
        self.config, self.admission, self._audit = config, admission, audit
        self.busy = self.logs or any(each is not None for each in (admission, audit, self.tracing))
        self.busy = self.busy or (config.tls is not None and config.tls.client_ca is not None)

    @property
    def tracing(self) -> Tracing | None:
        """Makes spans of requests; None where there are none."""
        return None if self._observability is None else self._observability.tracing

    @property
    def logs(self) -> bool:
        """Whether there is an access log."""
        return self._observability is not None and self._observability.access is not None

    def address(self, call: IncomingCall) -> str:
        """The address of the client, behind proxies that are trusted."""
        if not self.config.trusted_proxies:
            return call.peer
        from motet.serving.admission import client_address

        return client_address(call.peer, call.headers, self.config.trusted_proxies, self.config.proxy_header)

    def enter(
        self, call: IncomingCall, deadline: Callable[[], Awaitable[float | None]] | None = None
    ) -> RequestContext | Coroutine[Any, Any, RequestContext]:
        """Let a request in: at once where it can be, else what is to be awaited until it is its turn.

        Cancelling it gives the turn up. What is not let in is over: it has been counted and written down.

        Args:
            call: what came in.
            deadline: says when its answer is of no use any more, as `IncomingCall.deadline`, which holds where there is none.
                It is asked where the request has to wait; a mistake that it finds is said when it is the request's turn.

        Raises:
            MotetError: when it may not come in, here or when awaited.
            DeadlineError: when awaited, where it was not its turn in time.
        """
        context = RequestContext(self, call)
        admission, tracing = self.admission, self.tracing
        if tracing is not None:
            context.trace(tracing)
        caller = None
        try:
            if admission is not None:
                context.caller = caller = self._identify(admission, call, context.address)
                context.identity = caller.identity
            if call.admin:
                self._check_admin(call, caller)
            if admission is not None and caller is not None:
                ticket = admission.enter(caller)
                if asyncio.iscoroutine(ticket):
                    return self._wait(context, ticket, deadline)
                context.entered(ticket)
        except BaseException as error:
            self._refuse(context, error)
            raise
        return context

    async def _wait(
        self,
        context: RequestContext,
        turn: Coroutine[Any, Any, Ticket],
        deadline: Callable[[], Awaitable[float | None]] | None,
    ) -> RequestContext:
        try:
            if deadline is not None:
                with contextlib.suppress(MotetError):
                    context.deadline = await deadline()
            context.entered(await self._in_time(turn, context.deadline))
        except BaseException as error:
            turn.close()  # it has not begun where the deadline was never said
            late = isinstance(error, asyncio.CancelledError) and context.is_late  # gRPC was quicker
            self._refuse(context, DeadlineError(_LATE) if late else error)
            raise
        return context

    @staticmethod
    async def _in_time(turn: Coroutine[Any, Any, Ticket], deadline: float | None) -> Ticket:
        timer = asyncio.timeout_at(deadline)
        try:
            async with timer:
                return await turn
        except TimeoutError:
            if not timer.expired():
                raise
            raise DeadlineError(_LATE) from None

    def _refuse(self, context: RequestContext, error: BaseException) -> None:
        """Count a request that is not let in, where it is for something that is served, and end it."""
        served = self._served.served.get(context.call.target)
        if served is not None and self._observability is not None and isinstance(error, MotetError):
            from motet.serving.admission import reason_of

            self._observability.listener(served.name).metrics.rejected(reason_of(error))
            say_failed(served.name, error)
        context.end(error)

    @staticmethod
    def _identify(admission: Admission, call: IncomingCall, address: str) -> Caller:
        """Who asks; the user that runs the server needs no credential."""
        return admission.owner if call.owner else admission.identify(call.headers, address, call.peer_identity)

    def _check_admin(self, call: IncomingCall, caller: Caller | None) -> None:
        check_admin(self.config.admin, call, "" if caller is None else caller.klass, self.config.cors)

    def administers(self, call: IncomingCall) -> bool:
        """Whether the caller may see what the requests of others were, as who may load and unload; lets nobody in."""
        try:
            caller = None if self.admission is None else self._identify(self.admission, call, self.address(call))
            self._check_admin(call, caller)
        except MotetError:
            return False
        return True

    def unadmitted(
        self,
        call: IncomingCall,
        status: int,
        *,
        sent_bytes: int = 0,
        began: float = 0.0,
        error: MotetError | None = None,
    ) -> None:
        """Write down a request that is over and has not entered: it was refused before that, or is of no graph.

        Args:
            call: what came in.
            status: of the answer.
            sent_bytes: of its body.
            began: on the clock `time.monotonic`; 0 for now.
            error: why it was refused; None where it was answered.
        """
        if self._observability is not None and self.logs:
            context = RequestContext(self, call)
            context.began = began or context.began
            context.status, context.sent_bytes, context.error = status, sent_bytes, error
            self._observability.wrote(context.access())

    def finished(self, context: RequestContext) -> None:
        """A request that came in is over: count it and write it down."""
        call, status, observability = context.call, context.status, self._observability
        if observability is not None:
            if call.protocol == "grpc":
                observability.grpc_answered(grpc_code(status), call.received_bytes, context.sent_bytes)
            if self.admission is not None:
                klass = "" if context.caller is None else context.caller.klass
                observability.caller_answered(klass, status, context.since_s)
            if self.logs:
                observability.wrote(context.access())
        if self._audit is not None:
            self._audit.put(context.audit_entry())
