"""Servers inside other programs: in the main thread until a signal ends them, or in a thread of their own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from motet.errors import InputError, ModelLoadError, known_names
from motet.facade import Graph, load
from motet.serving.config.limits import Limits
from motet.serving.config.server import ServeConfig, Tls, read_config
from motet.serving.process.server import Server, check_unused, new_runner, serve
from motet.serving.repository.store_watcher import has_stored
from motet.system.addresses import in_url

__all__ = ["BackgroundServer", "configured", "embedded", "serve_here"]

OURS = {
    "processes": "processes has no meaning here: this program is one process",
    "log": "log has no meaning here: this program says how its logging is written",
}
"""Options of the command that a program does not have, and why."""
CLOSE_S = 5.0
"""What a server may take to give everything back, beyond the time that is allowed for what it accepted."""


def serve_here(graph: Graph, options: Mapping[str, Any]) -> None:
    """Serve a graph until a signal ends it; in another thread than the main one, as long as the program runs.

    Args:
        graph: the graph.
        options: fields of `ServeConfig`, over what the graph's `serve` says.

    Raises:
        InputError: when an option is unknown, the port cannot be had, or a loop runs here.
    """
    if _has_loop():
        raise InputError(
            "a server that blocks would stop the loop that runs here",
            where="serve",
            hint="serve(block=False) serves in a thread of its own",
        )
    config = configured([graph], None, options)
    check_unused(config)
    with new_runner() as runner:
        runner.run(serve([graph], config, lambda server: None))


def configured(
    graphs: Sequence[Graph | str], path: str | None, options: Mapping[str, Any], elsewhere: Sequence[str] = ()
) -> ServeConfig:
    """How a server inside a program is set up.

    Args:
        graphs: what it serves.
        path: of a `serve.yaml`; None takes what the graphs themselves say.
        options: fields of `ServeConfig`, over it; each as it is written in a file, or as `ServeConfig` has it.
        elsewhere: options that have no meaning here.

    Raises:
        InputError: when an option is unknown or has no meaning here.
        GraphError: when the configuration is wrong.
    """
    made = [each if isinstance(each, Graph) else load(each) for each in graphs]
    base = read_config(path, {os.path.join(each.folder, each.name): each.serving for each in made})
    known = [each.name for each in fields(ServeConfig) if each.name not in ("folder", "graphs", *OURS, *elsewhere)]
    for name in options:
        if name in OURS or name in elsewhere:
            why = OURS.get(name, f"{name} is for the server that hosts this application to say")
            raise InputError(why, where="serve")
        if name not in known:
            raise InputError(f"unknown option {name!r} of serve; {known_names(name, known)}")
    ready: dict[str, Any] = {
        name: value for name, value in options.items() if value is None or isinstance(value, (Limits, Tls))
    }
    written = {name: _written(value) for name, value in options.items() if name not in ready}
    read = ServeConfig.read(written, "serve", "")
    return replace(base, processes=1, **ready, **{name: getattr(read, name) for name in written})


def _written(value: Any) -> Any:
    """An option as a file has it."""
    if isinstance(value, (tuple, list, set, frozenset)):
        return [each if isinstance(each, (str, Mapping)) else str(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def embedded(graphs: Sequence[Graph | str], config: ServeConfig, *, listen: bool, strict: bool = True) -> Server:
    """A server in the loop that runs, with its graphs loaded.

    Args:
        graphs: the graphs, or their files.
        config: how.
        listen: whether it has ports.
        strict: whether a graph that cannot be loaded is an error; else requests for it are told so.

    Raises:
        InputError: when a port cannot be had.
        ModelLoadError: when a graph cannot be loaded, unless it waits for a store.
    """
    server = Server(graphs, config)
    try:
        await server.start(late=not listen)
        await server.load()
        for served in server.repository.things:
            waits = config.store_poll_s and has_stored(served.graph)
            if strict and served.kind == "graph" and served.state == "UNAVAILABLE" and not waits:
                raise ModelLoadError(served.reason, where=f"graph {served.name!r}")
    except BaseException:
        await server.close()
        raise
    return server


class BackgroundServer:
    """A server in a thread of its own, ready when it is made; a context manager that closes it.

    It touches no signal handlers. Where nobody closes it, it ends with the program.

    Args:
        graphs: the graphs, or their files.
        config: how.
        listen: whether it has ports.
        strict: see `embedded`.

    Attributes:
        url: where it listens, `http://127.0.0.1:8000`.
        port, grpc_port: likewise; 0 where it does not.

    Raises:
        InputError: when a port cannot be had.
        ModelLoadError: when a graph cannot be loaded.
    """

    def __init__(
        self, graphs: Sequence[Graph | str], config: ServeConfig, *, listen: bool = True, strict: bool = True
    ) -> None:
        if listen:
            check_unused(config)
        started: Future[Server] = Future()
        run = self._run(graphs, config, started, listen=listen, strict=strict)
        self._pid = os.getpid()
        self._thread = threading.Thread(target=_loop, args=(run,), name="motet-serve", daemon=True)
        self._thread.start()
        try:
            self.server = started.result()
        except BaseException:
            if not started.cancel():  # it has failed; else the wait was interrupted, and it ends when it has loaded
                self._thread.join()
            raise
        self.port, self.grpc_port = self.server.port, self.server.grpc_port
        self.url = f"{'https' if config.tls else 'http'}://{in_url(config.host)}:{self.port}" if listen else ""
        _RUNNING.add(self)

    @staticmethod
    async def _run(
        graphs: Sequence[Graph | str], config: ServeConfig, started: Future[Server], *, listen: bool, strict: bool
    ) -> None:
        try:
            server = await embedded(graphs, config, listen=listen, strict=strict)
        except BaseException as error:  # noqa: BLE001 (it is raised in the thread that waits)
            if started.set_running_or_notify_cancel():
                started.set_exception(error)
            return
        if not started.set_running_or_notify_cancel():
            await server.close()
            return
        started.set_result(server)
        await server.run()

    @property
    def alive(self) -> bool:
        """Whether it runs; never in a process that was forked from the one that made it."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def close(self) -> None:
        """Answer what was accepted, give models, ports and threads back, and end. A second time does nothing."""
        _RUNNING.discard(self)
        if not self.alive or threading.current_thread() is self._thread:
            return
        self.server.loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(self.server.config.limits.drain_timeout_s + CLOSE_S)

    def __enter__(self) -> BackgroundServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url or 'without ports'}, {'running' if self.alive else 'closed'}>"


def _loop(main: Any) -> None:
    with new_runner() as runner:
        runner.run(main)


_RUNNING: set[BackgroundServer] = set()


def _end_with_program() -> None:
    """Close what nobody has closed, while what it accepted can still be answered and kept."""
    for server in list(_RUNNING):
        server.close()


# What `atexit` calls comes too late: threads of pools, which end a server, cannot begin any more. This is how
# `concurrent.futures` registers that; what is registered last is called first.
threading._register_atexit(_end_with_program)  # type: ignore[attr-defined]
