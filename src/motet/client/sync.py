"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from motet.client.calls import Flow
from motet.client.flows import Flows, method_of
from motet.client.streams import Reading, StreamAsked, StreamedText, cut_short
from motet.client.transport import MAX_ANSWER_BYTES, arguments, context_of, httpx, lost, request_of
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall, Wait
from motet.oip.connections import Connections

__all__ = ["Client"]

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(method: Callable[Concatenate[Flows, P], Flow[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method of a client that plays a flow."""

    @method_of(method)
    def played(client: Client, /, *arguments: P.args, **options: P.kwargs) -> T:
        return client._play(method(client._flows, *arguments, **options))

    return played


def _streaming(
    method: Callable[Concatenate[Flows, P], Flow[StreamAsked]],
) -> Callable[Concatenate[Client, P], StreamedText]:
    """The method of a client whose answer is read while it is written."""

    @method_of(method, StreamedText)
    def played(client: Client, /, *arguments: P.args, **options: P.kwargs) -> StreamedText:
        reading = Reading()
        return StreamedText(client._pieces(reading, method(client._flows, *arguments, **options)), reading)

    return played


class Client:
    """A client of a server that speaks the Open Inference Protocol over REST.

    It keeps connections open, and may be used by several threads at once. Close it, or use it with `with`.

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
        self._clients = Connections(partial(httpx().Client, **arguments(self._flows, context, connections)))

    infer = _blocking(Flows.infer)
    explain = _blocking(Flows.explain)
    stream = _streaming(Flows.stream)
    feedback = _blocking(Flows.feedback)
    live = _blocking(Flows.live)
    ready = _blocking(Flows.ready)
    server = _blocking(Flows.server)
    models = _blocking(Flows.models)
    metadata = _blocking(Flows.metadata)
    config = _blocking(Flows.config)
    statistics = _blocking(Flows.statistics)
    load = _blocking(Flows.load)
    unload = _blocking(Flows.unload)

    @overload
    def predict(
        self,
        name: str,
        rows: Mapping[str, Any],
        *,
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]: ...

    @overload
    def predict(
        self, name: str, rows: Iterable[Mapping[str, Any]], *, parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[dict[str, Any]]: ...  # fmt: skip

    @method_of(Flows.predict)
    def predict(self, *arguments: Any, **options: Any) -> Any:
        """See `Flows.predict`."""
        return self._play(self._flows.predict(*arguments, **options))

    def _pieces(self, reading: Reading, flow: Flow[StreamAsked]) -> Iterator[str]:
        stream = self._play(flow)
        clients, opened, late = self._clients.take(), list[Any](), False

        def send(call: RemoteCall) -> RemoteAnswer | LostCall:
            nonlocal late
            got = self._sent(call, clients, opened)
            late = isinstance(got, LostCall) and got.kind == "timeout"
            return got

        try:
            self._play(stream.opening, send)
            for part in opened[-1].iter_bytes():
                if time.monotonic() > stream.end:
                    raise cut_short(LostCall("timeout", ""), stream)
                yield from stream.events.take(part)
                if stream.events.answer is not None:
                    break
            stream.events.end()
            reading.answer = stream.events.answer
        except httpx().HTTPError as error:
            got = lost(error)
            late = got.kind == "timeout"
            raise cut_short(got, stream) from error
        finally:
            for response in opened:
                response.close()
            if self._clients.give_back(clients, condemned=late):
                clients.close()

    def close(self) -> None:
        """Close the connections."""
        self._clients.current.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _play(self, flow: Flow[T], send: Callable[[RemoteCall], RemoteAnswer | LostCall] | None = None) -> T:
        got: RemoteAnswer | LostCall | None = None
        while True:
            try:
                step = flow.send(got)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                got = None
            else:
                got = self._clients.send(partial(self._sent, step)) if send is None else send(step)

    def _sent(self, call: RemoteCall, http: Any, opened: list[Any] | None = None) -> RemoteAnswer | LostCall:
        """What became of a call; an answer that is well is put into `opened`, where that is given, and not read."""
        end = time.monotonic() + call.timeout_s
        try:
            response = http.send(request_of(http, call), stream=True)
            if opened is not None and 200 <= response.status_code < 300:
                opened.append(response)
                return RemoteAnswer(response.status_code, response.headers, b"")
            try:
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if time.monotonic() > end:
                        return LostCall("timeout", "the answer took too long")
                    if len(body) > MAX_ANSWER_BYTES:
                        return LostCall("broken", f"the answer has more than {MAX_ANSWER_BYTES} bytes")
            finally:
                response.close()
        except httpx().HTTPError as error:
            return lost(error)
        return RemoteAnswer(response.status_code, response.headers, body)
