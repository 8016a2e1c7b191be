"""Serving a graph from Python, in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from motet.errors import InputError, known_names
from motet.facade import Graph
from motet.serving.config import ServeConfig
from motet.serving.server import bind, serve

__all__ = ["serve_here"]


def serve_here(graph: Graph, options: Mapping[str, Any]) -> None:
    """Serve a graph until a signal ends it.

    Args:
        graph: the graph.
        options: fields of `ServeConfig`, over what the graph's `serve` says.

    Raises:
        InputError: when an option is unknown, the port cannot be had, or this thread runs a loop or is not the main one.
    """
    import uvloop

    if _has_loop() or threading.current_thread() is not threading.main_thread():
        raise InputError(
            "a server needs the main thread for itself, and here is another thread or, as in a notebook, a running loop",
            where="serve",
            hint="save the graph, and run motet serve FILE in a terminal; motet.client asks it from here",
        )
    known = [each.name for each in fields(ServeConfig)]
    for name in options:
        if name not in known:
            raise InputError(f"unknown option {name!r} of serve; {known_names(name, known)}")
    config = replace(ServeConfig.read(graph.serving, "serve", graph.folder), **options)
    if config.processes != 1:
        raise InputError(
            "a graph made in Python is served by one process", hint="save it, and use motet serve --processes"
        )
    if config.port:
        bind(config.host, config.port, shared=False).close()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve([graph], config, lambda server: None))


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
