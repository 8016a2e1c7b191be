"""The asynchronous client."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from motet.client.flows import Flow, Flows, model_path, ready_path, statistics_path
from motet.client.transport import MAX_ANSWER_BYTES, arguments, httpx, lost, request_of
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall, Wait
from motet.oip.connections import Connections
from motet.oip.info import ModelInfo

__all__ = ["AsyncClient"]

T = TypeVar("T")
POOL_CONNECTIONS = 8
"""Connections of one pool of httpx, which looks at every one for each call, and at every other for each of those."""


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
        verify: of HTTPS: False believes any certificate; a context of one's own says whom to believe.
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
        verify: bool | SSLContext = True,
        connections: int = 64,
    ) -> None:
        self._flows = Flows(url, api_key, timeout_s, retries)
        made = functools.partial(
            httpx().AsyncClient, **arguments(self._flows, verify, min(connections, POOL_CONNECTIONS))
        )
        self._turn = asyncio.Semaphore(connections)
        self._pools = Connections(functools.partial(_Pools, made))

    async def infer(
        self,
        name: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        version: str = "",
        parameters: Mapping[str, Any] | None = None,
        binary: bool = True,
        compress: str | None = None,
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> dict[str, Any]:
        """Ask a graph or a model: arrays in, arrays out.

        Args:
            name: what it is served as.
            inputs: by name, arrays or lists whose first axis is the row. Rows may differ in shape where the model
                takes that: a list of arrays, one a row; those of one shape go in one call.
            outputs: which outputs are wanted; None for all.
            version: which version; empty for the server's choice.
            parameters: for the server.
            binary: whether tensors travel as bytes; False sends and asks for JSON.
            compress: `gzip` or `deflate` packs the request, and lets the server pack the answer.
            timeout_s: instead of the client's.
            request_id: for the server's logs.

        Returns:
            By the names of the outputs, arrays whose first axis is the row. Where rows were given as a list of arrays,
            outputs whose shape varies are lists of arrays too.
            BYTES are texts where the server says that they are, else bytes.

        Raises:
            InputError: when the inputs are not what the model takes, or the server refuses them or any row of them.
            NotFoundError, UnauthorizedError, ForbiddenError, TooLargeError: as the server says.
            TooManyRequestsError, OverloadedError: when it is too busy; `retry_after_s` says when to try again.
            NotReadyError: when it cannot be reached, or is not ready.
            DeadlineError: when there was no answer in time.
            RequestError: when the server failed.
        """
        return await self._play(
            self._flows.infer(name, inputs, outputs, version, parameters, binary, compress, timeout_s, request_id)
        )

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

    async def predict(
        self, name: str, rows: Any, *, parameters: Mapping[str, Any] | None = None, timeout_s: float | None = None
    ) -> Any:
        """Ask a graph of a Motet server row by row: a failed row is `{"error": ...}`, and the others are answered.

        Args:
            name: the graph.
            rows: the rows, each a mapping of inputs by name (arrays are sent as nested lists, bytes as base64); or one.
            parameters: for the server.
            timeout_s: instead of the client's.

        Returns:
            The answer of each row, a mapping of outputs by name; of one row its own.

        Raises:
            MotetError: as `infer`.
        """
        return await self._play(self._flows.predict(name, rows, parameters, timeout_s))

    async def explain(self, name: str, row: Mapping[str, Any], *, timeout_s: float | None = None) -> dict[str, Any]:
        """Ask a graph of a Motet server how it comes to the answer of one row: members, versions, scores and times.

        Raises:
            MotetError: as `infer`.
        """
        explained: dict[str, Any] = await self._play(self._flows.predict(name, row, None, timeout_s, explain=True))
        return explained

    async def live(self) -> bool:
        """Whether the server runs; False when it cannot be reached."""
        return await self._play(self._flows.holds("/v2/health/live"))

    async def ready(self, name: str = "", version: str = "") -> bool:
        """Whether the server, or one of its models, can be called; False when it cannot be reached."""
        return await self._play(self._flows.holds(ready_path(name, version)))

    async def server(self) -> dict[str, Any]:
        """The server's name, version and extensions."""
        said: dict[str, Any] = await self._play(self._flows.json("GET", "/v2"))
        return said

    async def models(self) -> list[dict[str, Any]]:
        """What is served: `name`, `version`, `state` and `reason` of each."""
        listed: list[dict[str, Any]] = await self._play(self._flows.json("POST", "/v2/repository/index", b"{}"))
        return listed

    async def metadata(self, name: str, version: str = "") -> ModelInfo:
        """What a graph or model takes and gives.

        Raises:
            MotetError: as `infer`.
        """
        return await self._play(self._flows.metadata(name, version))

    async def config(self, name: str, version: str = "") -> dict[str, Any]:
        """How a model is set up, in Triton's form."""
        said: dict[str, Any] = await self._play(self._flows.json("GET", f"{model_path(name, version)}/config"))
        return said

    async def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """What a model, or each of them, has done, in Triton's form."""
        said: dict[str, Any] = await self._play(self._flows.json("GET", statistics_path(name, version)))
        return said

    async def load(self, name: str) -> None:
        """Load a model, or load it anew."""
        await self._play(self._flows.change(name, "load"))

    async def unload(self, name: str) -> None:
        """Unload a model: it is not answered for until it is loaded again."""
        await self._play(self._flows.change(name, "unload"))

    async def close(self) -> None:
        """Close the connections."""
        await self._pools.current.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _play(self, flow: Flow[T]) -> T:
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
                got = await self._send(step)

    async def _send(self, call: RemoteCall) -> RemoteAnswer | LostCall:
        pools, got, begun = self._pools.take(), None, False
        try:
            async with asyncio.timeout(call.timeout_s), self._turn:
                begun = True
                with pools.free() as pool:
                    return await self._sent(pool, call)
        except TimeoutError:
            got = (
                LostCall("timeout", "the answer took too long")
                if begun
                else LostCall("busy", "all connections were in use")
            )
        except httpx().HTTPError as error:
            got = lost(error)
        finally:
            if self._pools.give_back(pools, condemned=got is not None and got.kind == "timeout"):
                await pools.close()
        return got

    async def _sent(self, pool: Any, call: RemoteCall) -> RemoteAnswer | LostCall:
        response = await pool.send(request_of(pool, call), stream=True)
        try:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    return LostCall("broken", f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        finally:
            await response.aclose()
        return RemoteAnswer(response.status_code, response.headers, body)


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
