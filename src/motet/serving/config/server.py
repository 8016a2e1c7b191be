"""How a server is set up: `serve.yaml`, the key `serve:` of a graph file, and the command's options over both."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypedDict

from motet.errors import GraphError
from motet.graph.fields import of_kind
from motet.graph.forms import TEXT
from motet.graph.section import Converter, FilePath, KeyRule, Section, any_case, as_written, between, path
from motet.graph.yaml import parse
from motet.serving.config.admission import AdmissionConfig
from motet.serving.config.cache import ResponseCacheConfig
from motet.serving.config.experiments import ExperimentsConfig
from motet.serving.config.grpc import GrpcConfig
from motet.serving.config.limits import Limits
from motet.serving.config.log import LogSettings
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.config.pool import PoolConfig
from motet.serving.config.sinks import SINKS
from motet.system.tls import server_context

__all__ = ["AsgiOptions", "Network", "ServeConfig", "ServeOptions", "Tls", "read_config"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Number = Annotated[int, between(1, 65_535)]


def _network(value: object, where: str, folder: str) -> Network:
    try:
        return ipaddress.ip_network(of_kind(value, str, where), strict=False)
    except ValueError as error:
        raise GraphError(f"{value!r} is no address or network: {error}", where=where) from None


@dataclass(frozen=True)
class Tls(Section):
    """A certificate, and whose others are asked for.

    Attributes:
        certificate: the file of the chain, PEM.
        key: the file of its private key, PEM, without a password.
        client_ca: a file of certificates, PEM: each client must have a certificate that one of those has signed, which says who
            asks. None asks for none.
    """

    certificate: FilePath
    key: FilePath
    client_ca: FilePath | None = None

    def context(self) -> ssl.SSLContext:
        """What speaks TLS so.

        Raises:
            InputError: when a file cannot be read, or is something else.
        """
        return server_context(self.certificate, self.key, self.client_ca)


@dataclass(frozen=True)
class ServeConfig(Section):
    """How a server is set up.

    Attributes:
        graphs: files of graphs that are served beside those that the command names.
        host: the address to listen on.
        port: of HTTP; 0 takes a free one.
        grpc_port: of gRPC; 0 takes a free one, -1 is none; where nothing is said, `motet serve` takes 8001 if gRPC is
            installed.
        processes: how many share the ports.
        threads: batches that a process plays in threads at the same time, beyond one a graph or model; None shares the cores out
            among the processes.
        limits: bounds.
        tls: the certificate, and whether clients must have one; None speaks plain HTTP.
        cors: origins that pages may ask from; `*` is any.
        trusted_proxies: networks whose `proxy_header` is believed.
        proxy_header: which header they write: `x-forwarded-for`, or `forwarded` (RFC 7239). The other one is not read.
        admin: who may load, unload, scale and decide on experiments over the network, and see what others asked: `key`
            (credentials of class `admin`), `open` (everybody), or `socket` (nobody). On the machine the user that runs
            the server may in any case.
        admission: who may ask, and how much; as it was written, like those that follow.
        sinks: where answers are kept.
        experiments: where experiments are kept; None keeps none.
        cache: answers that are given again.
        observability: logs and traces.
        grpc: how the port of gRPC behaves.
        pool: the places of models, and what is shared with other work of the machine.
        samples: a folder of pictures that the page offers to try; empty for none.
        store_poll_s: how often stores are asked for new versions of the models that are served; 0 never asks.
        log: how `motet serve` writes its log; a program that serves has its own.
        folder: what relative paths in it are relative to.
    """

    graphs: tuple[FilePath, ...] = ()
    host: str = "127.0.0.1"
    port: Annotated[int, between(0, 65_535)] = 8000
    grpc_port: Annotated[int, between(-1, 65_535)] | None = None
    processes: _Number = 1
    threads: _Number | None = None
    limits: Limits = field(default_factory=Limits)
    tls: Tls | None = None
    cors: tuple[str, ...] = ()
    trusted_proxies: tuple[Annotated[Network, Converter(_network, TEXT)], ...] = ()
    proxy_header: Annotated[Literal["x-forwarded-for", "forwarded"], any_case] = "x-forwarded-for"
    admin: Literal["socket", "key", "open"] = "key"
    admission: Annotated[Any, as_written(AdmissionConfig)] = None
    sinks: Annotated[Any, as_written(SINKS)] = None
    experiments: Annotated[Any, as_written(ExperimentsConfig)] = None
    cache: Annotated[Any, as_written(ResponseCacheConfig)] = None
    observability: Annotated[Any, as_written(ObservabilityConfig)] = None
    grpc: Annotated[Any, as_written(GrpcConfig)] = None
    pool: Annotated[Any, as_written(PoolConfig)] = None
    samples: Annotated[str, path("")] = ""
    store_poll_s: Annotated[float, between(0.05, 86_400, zero=True)] = 1.0
    log: LogSettings = field(default_factory=LogSettings)
    folder: Annotated[str, KeyRule("")] = ""

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> Self:
        """A configuration as it was written.

        Raises:
            GraphError: when a key is unknown, or a value of another kind than it must be.
        """
        return replace(super().read(value, where, folder), folder=folder)


class AsgiOptions(TypedDict, total=False):
    """The keywords of `motet.serving.asgi`: fields of `ServeConfig`, which says what they mean, each as a file has it."""

    threads: int | None
    limits: Limits | Mapping[str, Any]
    cors: Iterable[str]
    trusted_proxies: Iterable[str | Network]
    proxy_header: str
    admin: str
    admission: Mapping[str, Any] | None
    sinks: Any
    experiments: Any
    cache: Mapping[str, Any] | None
    observability: Mapping[str, Any] | None
    pool: Mapping[str, Any] | None
    samples: str
    store_poll_s: float


class ServeOptions(AsgiOptions, total=False):
    """The keywords of `Graph.serve` and `motet.serving.start`: likewise, and what a port needs."""

    host: str
    port: int
    grpc_port: int | None
    grpc: Mapping[str, Any] | None
    tls: Tls | Mapping[str, str] | None


def read_config(path: str | None, graphs: Mapping[str, Mapping[str, Any]]) -> ServeConfig:
    """The configuration of a server.

    Args:
        path: its file; None for none.
        graphs: what the files of graphs say under `serve:`, by their paths.

    Raises:
        GraphError: when a file is wrong, or two say something of the same key.
    """
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise GraphError(f"{path!r} cannot be read: {error}") from error
        return ServeConfig.read(parse(text) or {}, path, str(Path(path).parent))
    said = {name: serve for name, serve in graphs.items() if serve}
    if len(said) > 1:
        raise GraphError(
            f"{' and '.join(said)} both say how they are served", hint="put it into one file, and give it with --config"
        )
    for name, serve in said.items():
        return ServeConfig.read(serve, f"{name}: serve", str(Path(name).parent))
    return ServeConfig()
