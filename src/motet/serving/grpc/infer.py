"""ModelInfer: who asks, reading, playing, answering."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from motet.errors import DeadlineError, InputError, MotetError, OverloadedError
from motet.oip.messages import ModelInferRequest
from motet.serving.batching.parameters import asked_times, failed_rows
from motet.serving.batching.request import ANONYMOUS, Reply, Request
from motet.serving.config.limits import Limits
from motet.serving.grpc.codec import (
    long_to_read,
    long_to_write,
    parameter,
    read_columns,
    wanted_outputs,
    write_answer,
)
from motet.serving.grpc.status import code_of, retry_metadata, text_of
from motet.serving.middleware.grpc_entry import CALL_NAME, Desk, Ended, Headers, Visit, address_of, begun, name_of
from motet.serving.repository.repository import ModelRepository
from motet.serving.wire.long import LONG_RAW_BYTES

__all__ = ["GrpcCall", "Inference", "internal_error", "refuse"]

T = TypeVar("T")
_LOG = logging.getLogger("motet.serving")
QUIET_S, QUIET_WITHIN_S = 0.05, 0.5


class GrpcCall(Request):
    """A request whose answer is a future.

    Attributes:
        future: of the `Reply`; fails with a `MotetError`.
    """

    __slots__ = ("future",)

    def __init__(self, *args: Any, future: asyncio.Future[Reply], **options: Any) -> None:
        super().__init__(*args, **options)
        self.future = future

    def answered(self, reply: Reply) -> None:
        """Take the answer."""
        if not self.future.done():
            self.future.set_result(reply)

    def failed(self, error: MotetError) -> None:
        """Take the reason why there is none."""
        if not self.future.done():
            self.future.set_exception(error)


class Inference:
    """Plays the requests of gRPC calls.

    Args:
        gateway: what is served.
        limits: of requests; None for those of the gateway, which may change.
        desk: who may call; None for everybody.
    """

    def __init__(self, repository: ModelRepository, limits: Limits | None = None, desk: Desk | None = None) -> None:
        self.repository, self.desk, self._limits = repository, desk, limits
        self._loop = asyncio.get_running_loop()
        self._held_bytes = self._begun = 0
        self._answers_may_go: asyncio.Event | None = None

    @property
    def limits(self) -> Limits:
        """The bounds of requests now."""
        return self._limits or self.repository.limits

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

    async def answer(self, data: bytes, context: Any, headers: Headers, method: str) -> Any:
        """The `ModelInferResponse` to a request.

        Raises:
            MotetError: when there is none.
        """
        self._hold(len(data))
        try:
            message = await self._in_thread(len(data) > LONG_RAW_BYTES, _parsed, data)
            if self.desk is None:
                return await self._play(message, len(data), context, headers, None, None)
            return await self._visit(message, context, headers, method, len(data))
        except MotetError:
            raise
        except Exception as error:
            raise internal_error(error, method) from error
        finally:
            self._held_bytes -= len(data)

    def _hold(self, size: int) -> None:
        """Count the bytes of a request; the only one under way is always let in."""
        self._held_bytes += size
        if self._held_bytes > self.limits.buffered_bytes and self._held_bytes > size:
            self._held_bytes -= size
            raise OverloadedError("the requests under way take all the memory they may", retry_after_s=1)

    async def _visit(self, message: Any, context: Any, headers: Headers, method: str, received_bytes: int) -> Any:
        """Play a request of a caller whom the desk lets in."""
        ended = Ended(method, message.model_name, None, None, None, "OK", self._loop.time(), 0.0, received_bytes)
        visit = await self._enter(message, context, headers, method)
        try:
            answer = await self._play(message, received_bytes, context, headers, visit, ended)
            ended.sent_bytes = answer.ByteSize()
            return answer
        except MotetError as error:
            ended.error, ended.code = error, code_of(error).name
            raise
        except asyncio.CancelledError:
            ended.code = grpc.StatusCode.CANCELLED.name
            raise
        except Exception:
            ended.code = grpc.StatusCode.INTERNAL.name
            raise
        finally:
            ended.ended = self._loop.time()
            visit.leave(ended)

    async def _enter(self, message: Any, context: Any, headers: Headers, method: str) -> Visit:
        assert self.desk is not None
        visit = self.desk.enter(method, message.model_name, headers, address_of(context.peer()))
        if not inspect.isawaitable(visit):
            return visit
        deadline = self._deadline(_asked_times(message)[0], context)
        try:
            async with asyncio.timeout_at(deadline):
                return await visit
        except TimeoutError:
            raise DeadlineError("not answered in time: the request waited for its turn") from None

    async def _play(
        self, message: Any, size: int, context: Any, headers: Headers, visit: Visit | None, ended: Ended | None
    ) -> Any:
        served = self.repository.find(message.model_name, message.model_version)
        signature = served.signature
        wanted = wanted_outputs(message, signature)
        long = long_to_read(message, served.inputs, size)
        columns, rows = await self._in_thread(long, read_columns, message, served.inputs, self.limits.rows)
        timeout_s, priority = _asked_times(message)
        request = GrpcCall(
            columns,
            rows,
            future=self._loop.create_future(),
            id=message.id or headers.get(CALL_NAME, ""),
            deadline=self._deadline(timeout_s, context),
            priority=priority,
            identity=ANONYMOUS if visit is None else visit.identity,
        )
        if ended is not None:
            ended.request = request
        if visit is not None:
            visit.carry(request)
        self.repository.submit(served, request)
        try:
            reply = await request.future
        except asyncio.CancelledError:
            request.cancelled = True
            raise
        if ended is not None:
            ended.reply = reply
        if reply.failures:
            raise failed_rows(reply, rows)
        version = message.model_version or served.versions[-1]
        long = long_to_write(
            message, signature.outputs, reply.columns, (reply.end - reply.first) / max(1, reply.batch_rows)
        )
        answer = (message, version, signature, wanted, reply.columns, reply.first, reply.end)
        return await self._in_thread(long, write_answer, *answer)

    async def _in_thread(self, long: bool, work: Callable[..., T], *args: Any) -> T:
        """What some work gives, which is done in a thread where it would hold up other requests for long."""
        return await self._loop.run_in_executor(None, work, *args) if long else work(*args)

    def _deadline(self, timeout_s: float | None, context: Any) -> float | None:
        """When the answer is of no use any more: at the call's deadline, or when the request itself says so."""
        left = [each for each in (timeout_s, context.time_remaining()) if each is not None]
        return self._loop.time() + min(left) if left else None


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
