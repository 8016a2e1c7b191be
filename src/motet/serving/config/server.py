"""How a server is set up: `serve.yaml`, the key `serve:` of a graph file, and the command's options over both."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from motet.errors import GraphError
from motet.graph.fields import Fields, of_kind
from motet.graph.yaml import parse
from motet.serving.config.limits import Limits
from motet.serving.config.log import LogSettings

__all__ = ["AsgiOptions", "Network", "ServeConfig", "ServeOptions", "Tls", "read_config"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KEYS = (
    "graphs", "host", "port", "grpc_port", "processes", "threads", "limits", "tls", "cors", "trusted_proxies", "proxy_header",
    "admin", "admission", "sinks", "cache", "observability", "grpc", "samples", "store_poll_s", "pool",
    "log",
)  # fmt: skip


@dataclass(frozen=True)
class Tls:
    """A certificate.

    Attributes:
        certificate: the file of the chain, PEM.
        key: the file of its private key, PEM.
    """

    certificate: str
    key: str


@dataclass(frozen=True)
class ServeConfig:
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
        tls: the certificate; None speaks plain HTTP.
        cors: origins that pages may ask from; `*` is any.
        trusted_proxies: networks whose `proxy_header` is believed.
        proxy_header: which header they write: `x-forwarded-for`, or `forwarded` (RFC 7239). The other one is not read.
        admin: who may load, unload and scale over the network, and see what others asked: `key` (credentials of class `admin`),
            `open` (everybody), or `socket` (nobody). On the machine the user that runs the server may in any case.
        admission: who may ask, and how much; as it was written, like those that follow.
        sinks: where answers are kept.
        cache: answers that are given again.
        observability: logs and traces.
        grpc: how the port of gRPC behaves.
        pool: the places of models, and what is shared with other work of the machine.
        samples: a folder of pictures that the page offers to try; empty for none.
        store_poll_s: how often stores are asked for new versions of the models that are served; 0 never asks.
        log: how `motet serve` writes its log; a program that serves has its own.
        folder: what relative paths in it are relative to.
    """

    graphs: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    processes: int = 1
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    tls: Tls | None = None
    cors: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    proxy_header: str = "x-forwarded-for"
    admin: str = "key"
    admission: Any = None
    sinks: Any = None
    cache: Any = None
    observability: Any = None
    grpc: Any = None
    pool: Any = None
    samples: str = ""
    store_poll_s: float = 1.0
    log: LogSettings = field(default_factory=LogSettings)
    folder: str = ""

    @classmethod
    def read(cls, value: object, where: str, folder: str) -> ServeConfig:
        """A configuration as it was written.

        Raises:
            GraphError: when a key is unknown, or a value of another kind than it must be.
        """
        fields = Fields(value, where, KEYS)
        config = cls(folder=folder)
        taken: dict[str, Any] = {}
        for key, kind in (("host", str), ("port", int), ("grpc_port", int), ("processes", int), ("threads", int)):
            if key in fields:
                taken[key] = fields.take(key, kind)
                low = {"processes": 1, "threads": 1, "grpc_port": -1}.get(key, 0)
                if kind is int and not low <= taken[key] <= 65_535:
                    raise GraphError(f"must be from {low} to 65535; got {taken[key]}", where=fields.place(key))
        for key in ("graphs", "cors"):
            if key in fields:
                listed = fields.take(key, list)
                taken[key] = tuple(of_kind(each, str, fields.place(key)) for each in listed)
        if "trusted_proxies" in fields:
            place = fields.place("trusted_proxies")
            taken["trusted_proxies"] = tuple(_network(each, place) for each in fields.take("trusted_proxies", list))
        if "proxy_header" in fields:
            taken["proxy_header"] = fields.take("proxy_header", str).lower()
            if taken["proxy_header"] not in ("x-forwarded-for", "forwarded"):
                raise GraphError(
                    f"expected x-forwarded-for or forwarded; got {taken['proxy_header']!r}",
                    where=fields.place("proxy_header"),
                )
        if "limits" in fields:
            taken["limits"] = Limits.read(fields.raw("limits"), fields.place("limits"))
        if "log" in fields:
            taken["log"] = LogSettings.read(fields.raw("log"), fields.place("log"))
        if "tls" in fields:
            tls = Fields(fields.raw("tls"), fields.place("tls"), ("certificate", "key"))
            taken["tls"] = Tls(_within(folder, tls.take("certificate", str)), _within(folder, tls.take("key", str)))
        if "admin" in fields:
            taken["admin"] = fields.take("admin", str)
            if taken["admin"] not in ("socket", "key", "open"):
                local = (
                    "leave it out: `local` let in what proxies on the machine hand on; commands there use a socket now"
                )
                raise GraphError(
                    f"expected socket, key or open; got {taken['admin']!r}",
                    where=fields.place("admin"),
                    hint=local if taken["admin"] == "local" else "",
                )
        for key in ("admission", "sinks", "cache", "observability", "grpc", "pool"):
            if key in fields:
                taken[key] = fields.raw(key)
        if "store_poll_s" in fields:
            taken["store_poll_s"] = fields.take("store_poll_s", float)
            if not (taken["store_poll_s"] == 0 or 0.05 <= taken["store_poll_s"] <= 86_400):
                raise GraphError(
                    f"must be 0, or from 0.05 to 86400; got {taken['store_poll_s']}", where=fields.place("store_poll_s")
                )
        if "samples" in fields:
            taken["samples"] = _within(folder, fields.take("samples", str))
        taken["graphs"] = tuple(_within(folder, each) for each in taken.get("graphs", ()))
        return replace(config, **taken)


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


def _within(folder: str, path: str) -> str:
    return str(Path(folder) / path) if folder else path


def _network(value: object, where: str) -> Network:
    try:
        return ipaddress.ip_network(of_kind(value, str, where), strict=False)
    except ValueError as error:
        raise GraphError(f"{value!r} is no address or network: {error}", where=where) from None
