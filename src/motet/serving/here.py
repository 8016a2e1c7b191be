"""Serving a graph from Python, in this process."""

from __future__ import annotations

import asyncio
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
        InputError: when an option is unknown, or the port cannot be had.
    """
    import uvloop

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
