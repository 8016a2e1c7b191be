"""The gRPC port of a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from motet.errors import InputError, MotetError
from motet.oip import messages
from motet.serving.batching.parameters import no_shared_memory
from motet.serving.config.grpc import GrpcConfig
from motet.serving.config.server import ServeConfig, Tls
from motet.serving.grpc.about import MetadataService
from motet.serving.grpc.calls import begun, call_of
from motet.serving.grpc.health import HealthService
from motet.serving.grpc.infer import Inference, internal_error, refuse
from motet.serving.grpc.reflection import Reflection
from motet.serving.grpc.stream import Streams
from motet.serving.middleware.context import RequestContext
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.entry import Numbers
from motet.serving.repository.repository import ModelRepository
from motet.system.addresses import in_url

__all__ = ["GrpcServer"]

_LOG = logging.getLogger("motet.serving")
_COMPRESSION = {"none": None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
_OPEN = ("ServerLive", "ServerReady", "ModelReady")
"""Methods that need no credential: what orchestrators ask."""


class GrpcServer:
    """Serves a repository over gRPC. Everything happens in the thread of the event loop it is made in.

    Args:
        repository: what is served.
        config: how the server is set up.
        middleware: what every request passes; None lets everybody in.
        numbers: the statistics of a served graph; None where nobody counts.
        reuse_port: whether other processes may listen on the same port too.

    Attributes:
        port: that is listened on, once it is started.
        tls: what it speaks TLS with; None for plain text. Another one that asks clients for certificates likewise may take its
            place while the server runs.
        stopping: whether it takes no more calls.
    """

    def __init__(
        self,
        repository: ModelRepository,
        config: ServeConfig,
        middleware: Middleware | None = None,
        numbers: Numbers | None = None,
        *,
        reuse_port: bool = True,
    ) -> None:
        self.host, self.port, self.tls, self.stopping = config.host, config.grpc_port or 0, config.tls, False
        self._limits, self._config = repository.limits, GrpcConfig.read(config.grpc, "grpc")
        self._middleware, self._loop = middleware or Middleware(repository), asyncio.get_running_loop()
        self._about = MetadataService(repository, self._limits.rows, numbers)
        self._health, self._reflection = HealthService(repository), Reflection()
        self._inference = Inference(repository, self._middleware)
        self._streams = Streams(self._inference, self._config.stream_requests)
        self._server = grpc.aio.server(
            options=self._options(reuse_port=reuse_port),
            maximum_concurrent_rpcs=self._config.calls,
            compression=_COMPRESSION[self._config.compression],
        )
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(messages.SERVICE, self._inference_methods()),
                grpc.method_handlers_generic_handler(messages.HEALTH_SERVICE, self._health_methods()),
                *(
                    grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": self._reflected()})
                    for name in messages.REFLECTION_SERVICES
                ),
            )
        )

    def _options(self, *, reuse_port: bool) -> list[tuple[str, int]]:
        limits, config = self._limits, self._config
        return [
            ("grpc.so_reuseport", int(reuse_port)),
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", limits.header_bytes),
            ("grpc.absolute_max_metadata_size", limits.header_bytes),
            ("grpc.max_concurrent_streams", config.connection_calls),
            ("grpc.server_handshake_timeout_ms", _ms(limits.header_timeout_s)),
            ("grpc.max_connection_idle_ms", _ms(config.idle_s)),
            ("grpc.keepalive_time_ms", _ms(config.keepalive_s)),
            ("grpc.keepalive_timeout_ms", _ms(config.keepalive_timeout_s)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]

    async def start(self) -> None:
        """Listen, and answer.

        Raises:
            InputError: when it cannot listen there, or the files of TLS cannot be used.
        """
        address = f"{in_url(self.host)}:{self.port}"
        credentials = None if self.tls is None else self._credentials(self.tls)
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            bound = 0
        if not bound:
            raise InputError(
                f"cannot listen on {address} for gRPC", hint="is another server there? choose another --grpc-port"
            )
        self.port = bound
        await self._server.start()

    def _credentials(self, tls: Tls) -> grpc.ServerCredentials:
        """The certificates, read anew by the next connection when a file has changed."""
        stamp, made = _stamp(tls), _certificate(tls)

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal stamp
            tls = self.tls
            assert tls is not None
            try:
                before, stamp = stamp, _stamp(tls)
                return _certificate(tls) if stamp != before else None
            except (InputError, OSError) as error:
                _LOG.error("the certificate stays as it is: %s", error)
                return None

        return grpc.dynamic_ssl_server_credentials(made, fetch, require_client_authentication=tls.client_ca is not None)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those under way may go on for `grace_s` seconds, then they are cancelled."""
        self.stopping = self._about.stopping = True
        self._streams.stop()
        self._health.stop()
        self._reflection.stop()
        may_go = self._inference.hold_answers()
        try:
            if grace_s > 0:
                await (
                    self._inference.quiet()
                )  # calls that have come and not begun would be cancelled, as by their callers
            stopping = self._loop.create_task(self._server.stop(grace_s))
            await asyncio.sleep(0)  # now it takes no more calls, and has told its callers so
        finally:
            may_go.set()
        await stopping

    def _inference_methods(self) -> dict[str, Any]:
        about = self._about
        asked: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
            "ServerLive": (about.server_live, messages.ServerLiveRequest),
            "ServerReady": (about.server_ready, messages.ServerReadyRequest),
            "ModelReady": (about.model_ready, messages.ModelReadyRequest),
            "ServerMetadata": (about.server_metadata, messages.ServerMetadataRequest),
            "ModelMetadata": (about.model_metadata, messages.ModelMetadataRequest),
            "ModelConfig": (about.model_config, messages.ModelConfigRequest),
            "ModelStatistics": (about.model_statistics, messages.ModelStatisticsRequest),
            "RepositoryIndex": (about.repository_index, messages.RepositoryIndexRequest),
            "RepositoryModelLoad": (about.repository_model_load, messages.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (about.repository_model_unload, messages.RepositoryModelUnloadRequest),
        }
        methods = {name: self._unary(name, answer, kind) for name, (answer, kind) in asked.items()}
        for kind in ("System", "Cuda"):
            for act in ("Status", "Register", "Unregister"):
                methods[f"{kind}SharedMemory{act}"] = grpc.unary_unary_rpc_method_handler(_shared_memory)
        methods["ModelInfer"] = grpc.unary_unary_rpc_method_handler(
            self._inference.model_infer, response_serializer=_serialized
        )
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._streams.model_stream_infer, response_serializer=_serialized
        )
        return methods

    def _health_methods(self) -> dict[str, Any]:
        async def watch(data: bytes, context: Any) -> None:
            await begun(context)
            try:
                request = _read(messages.HealthCheckRequest, data)
            except MotetError as error:
                await refuse(context, error)
            else:
                await self._health.watch(request, context)

        return {
            "Check": self._unary("Check", self._health.check, messages.HealthCheckRequest),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, response_serializer=_serialized),
        }

    def _reflected(self) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._reflection.info, response_serializer=_serialized)

    def _unary(self, name: str, answer: Callable[[Any], Awaitable[Any]], kind: Any) -> Any:
        """A method that is asked about the server, and answers with a message or an error."""
        is_open = name in _OPEN or kind is messages.HealthCheckRequest

        async def handle(data: bytes, context: Any) -> Any:
            try:
                headers = await begun(context)
                request = _read(kind, data)
                if is_open:
                    return await answer(request)
                model = getattr(request, "model_name", "") or getattr(request, "name", "")
                call = call_of(name, model, headers, context, len(data), admin=name.startswith("RepositoryModel"))
                entered = self._middleware.enter(call)
                with entered if isinstance(entered, RequestContext) else await entered as entered:
                    answered = await answer(request)
                    entered.sent_bytes = answered.ByteSize()
                return answered
            except MotetError as error:
                await refuse(context, error)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 (said in the log, and to the caller)
                await refuse(context, internal_error(error, name))

        return grpc.unary_unary_rpc_method_handler(handle, response_serializer=_serialized)


async def _shared_memory(_data: bytes, context: Any) -> None:
    await refuse(context, no_shared_memory())


def _read(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except Exception as error:  # noqa: BLE001 (the class of protobuf's error depends on its implementation)
        raise InputError(f"no {kind.DESCRIPTOR.name}: {error}") from None


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _certificate(tls: Tls) -> grpc.ServerCertificateConfiguration:
    tls.context()  # gRPC says of no file what is wrong with it
    pair = (Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes())
    ca = None if tls.client_ca is None else Path(tls.client_ca).read_bytes()
    return grpc.ssl_server_certificate_configuration((pair,), ca)


def _stamp(tls: Tls) -> tuple[tuple[str, int], ...]:
    """What is another one when a file has changed, or is another file."""
    files = (tls.certificate, tls.key, *((tls.client_ca,) if tls.client_ca else ()))
    return tuple((each, Path(each).stat().st_mtime_ns if Path(each).exists() else 0) for each in files)
