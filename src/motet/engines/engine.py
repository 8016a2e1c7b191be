"""The protocol of an engine, and where engines are found."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from motet.errors import UnknownNameError
from motet.graph.check import CheckedGraph

if TYPE_CHECKING:
    from motet.engines.local.estimate import Estimate
    from motet.engines.local.report import RunReport

__all__ = ["ENGINES", "Engine", "find_engine"]

ENGINES = {"local": "motet.engines.local.engine:LocalEngine"}
"""Engines by name."""


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


def find_engine(name: str) -> Engine:
    """The engine of this name.

    Raises:
        UnknownNameError: when there is none.
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, list(ENGINES))
    module, _, attribute = ENGINES[name].partition(":")
    found: Engine = getattr(importlib.import_module(module), attribute)()
    return found
