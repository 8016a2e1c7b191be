"""The server: serves graphs over HTTP and gRPC.

`asgi` and `start` serve graphs inside other programs.

process/        the processes of a server: supervisor, server, heartbeat; in a thread, as an ASGI application
config/         serve.yaml, a section a module
http/           HTTP/1.1: the connection, the inference routes, everything else as an ASGI application
wire/           the Open Inference Protocol's tensors, as JSON and as bytes
rest/           what is not on the hot path: `/predict`, `/v1`, metadata, the page, OpenAPI
grpc/           the Open Inference Protocol over gRPC
middleware/     what every request passes, whatever its protocol
admission/      who asks, and how much they may ask; the audit log
batching/       one served graph: a bounded queue, one batch a tick, an answer for each request alone
repository/     what is served, by name; loading, unloading, readiness, draining
observability/  metrics, logs, traces
sinks/          answers that are kept
page/           the page for people
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from motet.facade import Graph
    from motet.serving.config.server import AsgiOptions, ServeOptions
    from motet.serving.process.application import Application
    from motet.serving.process.background import BackgroundServer

__all__ = ["asgi", "start"]

_OF_THE_HOST = ("host", "port", "grpc_port", "tls", "grpc")


def asgi(*graphs: Graph | str | Path, config: str | Path | None = None, **options: Unpack[AsgiOptions]) -> Application:
    """Graphs as an ASGI application: to mount in Starlette, FastAPI or Quart, or to run under uvicorn or hypercorn.

    It answers as `motet serve` does over HTTP: the same addresses, limits, admission, page and errors.

    Args:
        graphs: the graphs, or their files.
        config: a `serve.yaml`; None takes what the graphs' files say under `serve:`.
        options: fields of `motet.serving.config.server.ServeConfig` over it, such as `limits`, `admission` and `cors`, each as a
            file has it. What is the host's own (`host`, `port`, `tls`, `processes`) is refused here, and passed over in
            files.

    Returns:
        The application; `lifespan` and `close` say when models are loaded and given back.

    Raises:
        InputError: when there is no graph, or an option is unknown or the host's own.
        GraphError: when a graph or the configuration is wrong.
    """
    from motet.serving.process.application import Application
    from motet.serving.process.background import configured

    served = _served(graphs, config)
    return Application(served, configured(served, _path(config), options, _OF_THE_HOST))


def start(
    *graphs: Graph | str | Path, config: str | Path | None = None, **options: Unpack[ServeOptions]
) -> BackgroundServer:
    """Serve graphs in a thread of this program, for notebooks, tests and programs that go on.

        with motet.serving.start(graph, port=0) as server:
            urlopen(f"{server.url}/readyz")

    Signal handlers stay as they are, and it works where an event loop runs.

    Args:
        graphs: the graphs, or their files.
        config: a `serve.yaml`; None takes what the graphs' files say under `serve:`.
        options: fields of `motet.serving.config.server.ServeConfig` over it: `host` (127.0.0.1), `port` (8000; 0 takes a free
            one), `grpc_port` (none), `limits`, ..., each as a file has it.

    Returns:
        The server, ready: `url`, `port`, `grpc_port`, `close()`; a context manager that closes it.

    Raises:
        InputError: when there is no graph, a port cannot be had, or an option is unknown.
        GraphError: when a graph or the configuration is wrong.
        ModelLoadError: when a graph cannot be loaded.
    """
    from motet.serving.process.background import BackgroundServer, configured

    served = _served(graphs, config)
    return BackgroundServer(served, configured(served, _path(config), options))


def _served(graphs: tuple[Graph | str | Path, ...], config: str | Path | None) -> list[Graph | str]:
    from motet.errors import InputError
    from motet.facade import Graph

    if not graphs and config is None:
        raise InputError("there is no graph to serve", hint="give a graph or its file, or config= with graphs")
    for each in graphs:
        if not isinstance(each, (Graph, str, os.PathLike)):
            raise InputError(f"a graph or its file is served; got {type(each).__name__}")
    return [each if isinstance(each, Graph) else _placed(each) for each in graphs]


def _path(config: str | Path | None) -> str | None:
    return None if config is None else _placed(config)


def _placed(path: str | Path) -> str:
    """A path that means the same when the server begins, wherever the program is then."""
    text = os.fspath(path)
    return text if "://" in text else os.path.abspath(text)
