"""Runs a server: in this process, or in several that share its ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from motet.serving.config import ServeConfig
from motet.serving.server import Server, serve

__all__ = ["run"]


def run(
    graphs: Sequence[str],
    config: ServeConfig,
    reconfigure: Callable[[], ServeConfig],
    told: Callable[[Server], Any] | None,
) -> None:
    """Serve until a signal ends it.

    Args:
        graphs: the files of the graphs.
        config: how.
        reconfigure: reads the configuration again.
        told: called when the server listens.
    """
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(graphs, config, told or (lambda server: None), reconfigure=reconfigure))
