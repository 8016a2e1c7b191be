"""ModelStreamInfer: many requests on one call, each answered when it is ready."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import grpc

from motet.errors import MotetError, NotReadyError
from motet.oip.messages import ModelInferRequest, ModelStreamInferResponse
from motet.serving.grpc.calls import Headers, begun
from motet.serving.grpc.infer import Inference, internal_error, refuse
from motet.serving.grpc.pieces import FINAL
from motet.serving.grpc.status import text_of
from motet.serving.repository.entry import STOPS

__all__ = ["Streams"]

_END = object()


class _Piece(NamedTuple):
    """A response that comes before the answer, and when it has been written."""

    response: Any
    is_sent: asyncio.Event


class Streams:
    """Answers the streams of a server.

    Args:
        inference: plays the requests.
        num_requests: requests of one stream under way; beyond it no more are read, so that the client waits.
    """

    def __init__(self, inference: Inference, num_requests: int) -> None:
        self._inference, self._num_requests = inference, num_requests
        self._readers: set[asyncio.Task[None]] = set()
        self._stopping = False

    def stop(self) -> None:
        """Read no more; streams end when what they have read is answered."""
        self._stopping = True
        for reader in self._readers:
            reader.cancel()

    async def model_stream_infer(self, _iterator: Any, context: Any) -> None:
        """Answer a stream of `ModelInferRequest`, each given as its bytes."""
        headers = await begun(context)
        slots = asyncio.Semaphore(self._num_requests)
        ready = asyncio.Queue[Any]()  # no longer than twice as many as there are slots, and one for the end
        reader = asyncio.get_running_loop().create_task(self._read(context, headers, slots, ready))
        self._readers.add(reader)
        try:
            while (answer := await ready.get()) is not _END:
                if isinstance(answer, _Piece):
                    await context.write(answer.response)
                    answer.is_sent.set()
                else:
                    await context.write(answer)
                    slots.release()
        finally:
            self._readers.discard(reader)
            reader.cancel()
        error = reader.exception() if reader.done() and not reader.cancelled() else None
        if isinstance(error, Exception):
            await refuse(context, internal_error(error, "ModelStreamInfer"))
        if self._stopping:
            await refuse(context, NotReadyError(STOPS, retry_after_s=1))

    async def _read(self, context: Any, headers: Headers, slots: asyncio.Semaphore, ready: asyncio.Queue[Any]) -> None:
        """Begin with each request as it comes; the last thing in the queue is the end of it."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            try:
                await self._begin_each(context, headers, slots, ready, tasks)
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            ready.put_nowait(_END)

    async def _begin_each(
        self,
        context: Any,
        headers: Headers,
        slots: asyncio.Semaphore,
        ready: asyncio.Queue[Any],
        tasks: set[asyncio.Task[None]],
    ) -> None:
        while not self._stopping:
            await slots.acquire()
            data = await context.read()
            if data is grpc.aio.EOF:
                return
            task = asyncio.create_task(self._answer(data, context, headers, ready))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _answer(self, data: bytes, context: Any, headers: Headers, ready: asyncio.Queue[Any]) -> None:
        async def tell(response: Any) -> None:
            piece = _Piece(response, asyncio.Event())
            ready.put_nowait(piece)
            await piece.is_sent.wait()

        try:
            answer = ModelStreamInferResponse(
                infer_response=await self._inference.answer(data, context, headers, "ModelStreamInfer", tell)
            )
        except MotetError as error:
            answer = ModelStreamInferResponse(error_message=text_of(error))
            _name(answer.infer_response, data)
        answer.infer_response.parameters[FINAL].bool_param = True
        ready.put_nowait(answer)


def _name(response: Any, data: bytes) -> None:
    """Say which request an error belongs to."""
    try:
        message = ModelInferRequest.FromString(data)
    except Exception:  # noqa: BLE001 (it was no request, so it has no name)
        return
    response.id, response.model_name = message.id, message.model_name
