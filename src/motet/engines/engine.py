"""The protocol of an engine, and where engines are found."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from motet.errors import InputError, UnknownNameError
from motet.graph.check import CheckedGraph

if TYPE_CHECKING:
    from motet.engines.local.estimate import Estimate
    from motet.engines.local.report import RunReport

__all__ = ["ENGINES", "Engine", "find_engine"]

ENGINES = {
    "local": "motet.engines.local.engine:LocalEngine",
    "beam": "motet.engines.beam.engine:BeamEngine",
    "ray": "motet.engines.ray.engine:RayEngine",
    "spark": "motet.engines.spark.engine:SparkEngine",
}
"""Engines by name; other packages add theirs by the entry point group `motet.engines`."""


class Engine(Protocol):
    """Runs a graph over a whole data set."""

    def run(self, checked: CheckedGraph, source: Any, output: str, **options: Any) -> RunReport:
        """Play every row of a source and write the answers.

        Args:
            checked: the graph.
            source: what `motet.io.open_source` takes.
            output: the file or folder to write.
            options: the fields of the engine's options.
        """
        ...

    def estimate(self, checked: CheckedGraph, source: Any, output: str, **options: Any) -> Estimate:
        """Check what `run` checks with the same arguments, and say what it would take; nothing is written."""
        ...


def find_engine(engine: str | Engine, arguments: Sequence[str] = ()) -> Engine:
    """An engine, by its name or as it is.

    Args:
        engine: one of `ENGINES`, or an entry point of `motet.engines`: a class that is given its own options.
        arguments: the engine's own options, such as `["--master", "local[2]"]`.

    Raises:
        UnknownNameError: when there is none of this name.
        InputError: when it does not know an option, or what is given is no engine.
        MissingExtraError: when what it needs is not installed.
    """
    if arguments and (engine == "local" or not isinstance(engine, str)):
        name = engine if isinstance(engine, str) else type(engine).__name__
        raise InputError(f"takes no options of its own here; got {' '.join(arguments)}", where=f"engine {name}")
    if not isinstance(engine, str):
        if not callable(getattr(engine, "run", None)):
            hint = f"write {', '.join(ENGINES)}, or an object with `run`"
            raise InputError(f"is no engine: {engine!r}", where="engine", hint=hint)
        return engine
    if engine in ENGINES:
        module, _, attribute = ENGINES[engine].partition(":")
        make = getattr(importlib.import_module(module), attribute)
    else:
        from importlib.metadata import entry_points  # it takes longer to import than all else here

        others = {each.name: each for each in entry_points(group="motet.engines")}
        if engine not in others:
            raise UnknownNameError("engine", engine, [*ENGINES, *others])
        make = others[engine].load()
    found: Engine = make(arguments) if arguments else make()
    return found
