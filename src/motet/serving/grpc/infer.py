"""ModelInfer: reading, playing, answering."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from motet.errors import InputError, MotetError, OverloadedError
from motet.oip.messages import ModelInferRequest
from motet.serving.batching.parameters import asked_times, failed_rows
from motet.serving.batching.request_future import RequestFuture
from motet.serving.grpc.calls import Headers, begun, call_of, name_of
from motet.serving.grpc.codec import (
    long_to_read,
    long_to_write,
    parameter,
    read_columns,
    wanted_outputs,
    write_answer,
)
from motet.serving.grpc.pieces import PieceTeller, Tell
from motet.serving.grpc.status import code_of, retry_metadata, text_of
from motet.serving.middleware.call import REQUEST_ID, IncomingCall
from motet.serving.middleware.context import RequestContext
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.wire.long import LONG_RAW_BYTES

__all__ = ["Inference", "internal_error", "refuse"]

T = TypeVar("T")
_LOG = logging.getLogger("motet.serving")
_STREAM = "stream"
"""The parameter of a request of a stream that asks for the pieces of texts."""
QUIET_S, QUIET_WITHIN_S = 0.05, 0.5


class Inference:
    """Plays the requests of gRPC calls.

    Args:
        repository: what is served.
        middleware: what every request passes.
    """

    def __init__(self, repository: ModelRepository, middleware: Middleware) -> None:
        self.repository, self._middleware = repository, middleware
        self._loop = asyncio.get_running_loop()
        self._held_bytes = self._begun = 0
        self._answers_may_go: asyncio.Event | None = None

    async def model_infer(self, data: bytes, context: Any) -> Any:
        """Answer one `ModelInferRequest`, given as its bytes."""
        self._begun += 1
        answer, refused = None, None
        try:
            answer = await self.answer(data, context, await begun(context), "ModelInfer")
        except MotetError as error:
            refused = error
        if self._answers_may_go is not None:
            left = context.time_remaining()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._answers_may_go.wait(), None if left is None else left / 2)
        if refused is not None:
            await refuse(context, refused)
        return answer

    def hold_answers(self) -> asyncio.Event:
        """Give no answer until the event is set, or half of a call's time is over: who waits for one asks nothing more."""
        self._answers_may_go = asyncio.Event()
        return self._answers_may_go

    async def quiet(self) -> None:
        """Wait until no call has begun for a moment, or for `QUIET_WITHIN_S` seconds where calls go on coming."""
        end = self._loop.time() + QUIET_WITHIN_S
        begun = -1
        while begun != self._begun and self._loop.time() < end:
            begun = self._begun
            await asyncio.sleep(QUIET_S)

    async def answer(self, data: bytes, context: Any, headers: Headers, method: str, tell: Tell | None = None) -> Any:
        """The `ModelInferResponse` to a request.

        Args:
            data: the request's bytes.
            context: of gRPC.
            headers: of the call.
            method: its name.
            tell: sends responses before it, with the pieces of its texts; None where there can be none.

        Raises:
            MotetError: when there is none.
        """
        self._hold(len(data))
        try:
            message = await self._in_thread(len(data) > LONG_RAW_BYTES, _parsed, data)
            call = call_of(method, message.model_name, headers, context, len(data))

            async def deadline() -> float | None:
                return self._deadline(_asked_times(message)[0], call, self._loop.time())

            entered = self._middleware.enter(call, deadline)
            with entered if isinstance(entered, RequestContext) else await entered as entered:
                answer = await self._play(message, entered, tell)
                entered.sent_bytes = answer.ByteSize()
                return answer
        except MotetError:
            raise
        except Exception as error:
            raise internal_error(error, method) from error
        finally:
            self._held_bytes -= len(data)

    def _hold(self, size: int) -> None:
        """Count the bytes of a request; the only one under way is always let in."""
        self._held_bytes += size
        if self._held_bytes > self.repository.limits.buffered_bytes and self._held_bytes > size:
            self._held_bytes -= size
            raise OverloadedError("the requests under way take all the memory they may", retry_after_s=1)

    async def _play(self, message: Any, entered: RequestContext, tell: Tell | None) -> Any:
        served = self.repository.find(message.model_name, message.model_version)
        signature = served.signature
        wanted = wanted_outputs(message, signature)
        long = long_to_read(message, served.inputs, entered.call.received_bytes)
        columns, rows = await self._in_thread(long, read_columns, message, served.inputs, self.repository.limits.rows)
        timeout_s, priority = _asked_times(message)
        request = RequestFuture(
            columns,
            rows,
            id=message.id or entered.call.headers.get(REQUEST_ID, ""),
            deadline=self._deadline(timeout_s, entered.call, entered.began),
            priority=priority,
            identity=entered.identity,
        )
        entered.carry(request)
        version = message.model_version or served.versions[-1]
        teller = None
        if tell is None and message.parameters and _asks_for_pieces(message):
            hint = "ask by ModelStreamInfer, or leave the parameter out"
            raise InputError(f"ModelInfer has one answer, and the parameter {_STREAM!r} is true", hint=hint)
        if tell is not None and _asks_for_pieces(message) and _streams(served):
            teller = PieceTeller(tell, message, version, self.repository.limits.write_timeout_s)
            request.pieces = teller.pieces
        self.repository.submit(served, request)
        try:
            if teller is not None:
                await teller.until(request.future)
            reply = entered.reply = await request.future
        except asyncio.CancelledError:
            request.cancelled = True
            raise
        if reply.failures:
            raise failed_rows(reply, rows)
        long = long_to_write(
            message, signature.outputs, reply.columns, (reply.end - reply.first) / max(1, reply.batch_rows)
        )
        answer = (message, version, signature, wanted, reply.columns, reply.first, reply.end, reply.feedback_id)
        return await self._in_thread(long, write_answer, *answer)

    async def _in_thread(self, long: bool, work: Callable[..., T], *args: Any) -> T:
        """What some work gives, which is done in a thread where it would hold up other requests for long."""
        return await self._loop.run_in_executor(None, work, *args) if long else work(*args)

    @staticmethod
    def _deadline(timeout_s: float | None, call: IncomingCall, began: float) -> float | None:
        """When the answer is of no use any more: at the call's deadline, or when the request itself says so."""
        if timeout_s is None:
            return call.deadline
        return began + timeout_s if call.deadline is None else min(began + timeout_s, call.deadline)


def _asks_for_pieces(message: Any) -> bool:
    """Whether the pieces of texts are asked for.

    Raises:
        InputError: when what is said of it is wrong.
    """
    said = parameter(message.parameters, _STREAM)
    if said is not None and not isinstance(said, bool):
        raise InputError(f"the parameter {_STREAM!r} must be true or false; got {said!r}")
    return said is True


def _streams(served: RepositoryEntry) -> bool:
    """Whether it has texts that are told while they are written."""
    return served.batcher is not None and bool(served.batcher.streamed)


def _parsed(data: bytes) -> Any:
    try:
        return ModelInferRequest.FromString(data)
    except Exception as error:  # noqa: BLE001 (the class of protobuf's error depends on its implementation)
        raise InputError(f"no ModelInferRequest: {error}") from None


def _asked_times(message: Any) -> tuple[float | None, int]:
    if not message.parameters:
        return None, 0
    said = {name: parameter(message.parameters, name) for name in ("timeout", "priority")}
    return asked_times({name: value for name, value in said.items() if value is not None})


def internal_error(error: Exception, method: str) -> MotetError:
    """What a caller is told of a bug of ours; the log has the whole of it."""
    _LOG.error("%s failed", method, exc_info=error)
    return MotetError(f"{type(error).__name__} in the server; its log says more")


async def refuse(context: Any, error: MotetError) -> None:
    """End a call with the status of an error; the caller's name of it stands where the status does, too."""
    await context.abort(code_of(error), text_of(error), (*retry_metadata(error), *name_of(context)))
