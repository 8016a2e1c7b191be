"""The stages in which an engine plays a graph, as the commands `check` and `draw` show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from motet.engines.stages import Stage
    from motet.graph.check import CheckedGraph

__all__ = ["ENGINE", "stages_on"]

ENGINE = click.option(
    "--engine", metavar="NAME", help="Show the stages in which an engine plays it, and what each tells its scheduler."
)


def stages_on(checked: CheckedGraph, engine: str) -> Iterator[tuple[Stage, str]]:
    """The stages of a graph on an engine, in the order of play, and what each is and tells the engine's scheduler.

    Raises:
        UnknownNameError: when there is no such engine.
        MissingExtraError: when what it needs is not installed.
    """
    from motet.engines.engine import find_engine
    from motet.engines.stages import stages_of

    found: Any = find_engine(engine)
    cut = hasattr(found, "stages")
    for stage in found.stages(checked) if cut else stages_of(checked, one=True):
        told = ", ".join(f"{name} {value}" for name, value in (found.hints(stage.need) if cut else {}).items())
        yield stage, f"{stage}; {engine} is told: {told}" if told else str(stage)
