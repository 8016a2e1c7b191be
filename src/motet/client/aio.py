"""The asynchronous client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from motet.client.calls import Flow
from motet.client.flows import Flows, method_of
from motet.client.streams import AsyncStreamedText, Reading, StreamAsked, cut_short
from motet.client.transport import MAX_ANSWER_BYTES, arguments, context_of, httpx, lost, request_of
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall, Wait
from motet.oip.connections import Connections

__all__ = ["AsyncClient"]

P = ParamSpec("P")
T = TypeVar("T")
POOL_CONNECTIONS = 8
"""Connections of one pool of httpx, which looks at every one for each call, and at every other for each of those."""


def _awaited(
    method: Callable[Concatenate[Flows, P], Flow[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """The method of a client that plays a flow."""

    @method_of(method)
    async def played(client: AsyncClient, /, *arguments: P.args, **options: P.kwargs) -> T:
        return await client._play(method(client._flows, *arguments, **options))

    return played


def _streaming(
    method: Callable[Concatenate[Flows, P], Flow[StreamAsked]],
) -> Callable[Concatenate[AsyncClient, P], AsyncStreamedText]:
    """The method of a client whose answer is read while it is written."""

    @method_of(method, AsyncStreamedText)
    def played(client: AsyncClient, /, *arguments: P.args, **options: P.kwargs) -> AsyncStreamedText:
        reading = Reading()
        return AsyncStreamedText(client._pieces(reading, method(client._flows, *arguments, **options)), reading)

    return played


class AsyncClient:
    """A client of a server that speaks the Open Inference Protocol over REST.

    It keeps connections open, and may be used by many tasks of one event loop at once. Close it, or use it with
    `async with`.

    Args:
        url: of the server, for example `http://localhost:8000`.
        api_key: sent as `Authorization: Bearer KEY`.
        timeout_s: for each method, retries and waits included; the server is told too.
        retries: how often a call is made again where that is safe: when it was not sent, was refused with 429 or 503
            (Retry-After is kept to), or its connection broke. Loading and unloading are not made again when it broke.
        verify: of HTTPS: the file of the certificates to believe, PEM; False believes any. A context of one's own says all of it.
        certificate: the file of a certificate, PEM, that is shown to a server which asks for one.
        certificate_key: the file of its private key; None where that is in the file of the certificate.
        connections: how many are open at most.

    Raises:
        InputError: when an argument cannot be used.
        MissingExtraError: when httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
        verify: bool | str | SSLContext = True,
        certificate: str | None = None,
        certificate_key: str | None = None,
        connections: int = 64,
    ) -> None:
        self._flows = Flows(url, api_key, timeout_s, retries)
        context = context_of(self._flows, verify, certificate, certificate_key)
        made = partial(httpx().AsyncClient, **arguments(self._flows, context, min(connections, POOL_CONNECTIONS)))
        self._turn = asyncio.Semaphore(connections)
        self._pools = Connections(partial(_Pools, made))

    infer = _awaited(Flows.infer)
    explain = _awaited(Flows.explain)
    stream = _streaming(Flows.stream)
    feedback = _awaited(Flows.feedback)
    live = _awaited(Flows.live)
    ready = _awaited(Flows.ready)
    server = _awaited(Flows.server)
    models = _awaited(Flows.models)
    metadata = _awaited(Flows.metadata)
    config = _awaited(Flows.config)
    statistics = _awaited(Flows.statistics)
    load = _awaited(Flows.load)
    unload = _awaited(Flows.unload)

    @overload
    async def predict(
        self,
        name: str,
        rows: Mapping[str, Any],
        *,
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]: ...

    @overload
    async def predict(
        self, name: str, rows: Iterable[Mapping[str, Any]], *, parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[dict[str, Any]]: ...  # fmt: skip

    @method_of(Flows.predict)
    async def predict(self, *arguments: Any, **options: Any) -> Any:
        """See `Flows.predict`."""
        return await self._play(self._flows.predict(*arguments, **options))

    async def _pieces(self, reading: Reading, flow: Flow[StreamAsked]) -> AsyncGenerator[str]:
        stream = await self._play(flow)
        pools, opened, late = self._pools.take(), list[Any](), False
        try:
            async with AsyncExitStack() as held:

                async def send(call: RemoteCall) -> RemoteAnswer | LostCall:
                    nonlocal late
                    got = await self._sent_in_turn(pools, call, held, opened)
                    late = isinstance(got, LostCall) and got.kind == "timeout"
                    return got

                await self._play(stream.opening, send)
                async for piece in _read(opened[-1], stream):
                    yield piece
                reading.answer = stream.events.answer
        except httpx().HTTPError as error:
            got = lost(error)
            late = got.kind == "timeout"
            raise cut_short(got, stream) from error
        finally:
            if self._pools.give_back(pools, condemned=late):
                await pools.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._pools.current.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _play(
        self, flow: Flow[T], send: Callable[[RemoteCall], Awaitable[RemoteAnswer | LostCall]] | None = None
    ) -> T:
        got: RemoteAnswer | LostCall | None = None
        while True:
            try:
                step = flow.send(got)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                got = None
            else:
                got = await (send or self._send)(step)

    async def _send(self, call: RemoteCall) -> RemoteAnswer | LostCall:
        pools, got = self._pools.take(), None
        try:
            got = await self._sent_in_turn(pools, call)
            return got
        finally:
            if self._pools.give_back(pools, condemned=isinstance(got, LostCall) and got.kind == "timeout"):
                await pools.close()

    async def _sent_in_turn(
        self, pools: _Pools, call: RemoteCall, held: AsyncExitStack | None = None, opened: list[Any] | None = None
    ) -> RemoteAnswer | LostCall:
        """What became of a call, once a connection is free, which may take no longer than the call.

        Args:
            pools: of connections.
            call: what is sent.
            held: keeps the connection of an answer that is put into `opened`, until it is closed.
            opened: see `_sent`.
        """
        begun = False
        try:
            async with asyncio.timeout(call.timeout_s), AsyncExitStack() as taken:
                await taken.enter_async_context(self._turn)
                begun = True
                got = await self._sent(taken.enter_context(pools.free()), call, opened)
                if held is not None and opened:
                    taken.push_async_callback(opened[-1].aclose)
                    held.push_async_exit(taken.pop_all())
                return got
        except TimeoutError:
            if begun:
                return LostCall("timeout", "the answer took too long")
            return LostCall("busy", "all connections were in use")
        except httpx().HTTPError as error:
            return lost(error)

    async def _sent(self, pool: Any, call: RemoteCall, opened: list[Any] | None = None) -> RemoteAnswer | LostCall:
        """What became of a call; an answer that is well is put into `opened`, where that is given, and not read."""
        response = await pool.send(request_of(pool, call), stream=True)
        if opened is not None and 200 <= response.status_code < 300:
            opened.append(response)
            return RemoteAnswer(response.status_code, response.headers, b"")
        try:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    return LostCall("broken", f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        finally:
            await response.aclose()
        return RemoteAnswer(response.status_code, response.headers, body)


async def _read(response: Any, stream: StreamAsked) -> AsyncGenerator[str]:
    """The pieces of a text, until it ends or is late."""
    parts = response.aiter_bytes()
    while stream.events.answer is None:
        try:
            async with asyncio.timeout(stream.end - time.monotonic()):
                part = await anext(parts, None)
        except TimeoutError:
            raise cut_short(LostCall("timeout", ""), stream) from None
        if part is None:
            break
        for piece in stream.events.take(part):
            yield piece
    stream.events.end()


class _Pools:
    """Pools of connections: one large one would look at each of them for each call."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._all: list[Any] = []
        self._free: list[Any] = []

    @contextmanager
    def free(self) -> Iterator[Any]:
        """A pool that has a connection to spare, which is taken."""
        pool = self._free.pop() if self._free else self._another()
        try:
            yield pool
        finally:
            self._free.append(pool)

    def _another(self) -> Any:
        pool = self._make()
        self._all.append(pool)
        self._free += [pool] * (POOL_CONNECTIONS - 1)
        return pool

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._all:
            await pool.aclose()
