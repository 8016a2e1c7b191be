"""A graph that cannot be played yet, because a store does not have its models, or cannot be reached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from motet.facade import Graph
from motet.graph import graph as data
from motet.graph.check import CheckedGraph
from motet.graph.yaml import load_graph
from motet.types import ANY, Signature

__all__ = ["awaited"]


class _Awaited(Graph):
    """What a graph's file says, unchecked: a name, inputs, models, and outputs of any type."""

    def __init__(self, name: str, outputs: Mapping[str, Any], **parts: Any) -> None:
        folder = parts.pop("folder", "")
        folder = folder if "://" in folder else os.path.abspath(folder)
        data.GraphSpec.__init__(self, name, outputs, folder=folder, **parts)
        signature = Signature({name: each.type for name, each in self.inputs.items()}, dict.fromkeys(self.outputs, ANY))
        graphs = {name: each.checked for name, each in self.graphs.items() if isinstance(each, Graph)}
        self._open(CheckedGraph(self.changed(), (), {}, {}, {}, graphs, signature))


def awaited(path: str) -> Graph:
    """The graph of a file, as far as it is known while its models are not.

    Raises:
        GraphError: when the file itself is wrong.
    """
    return load_graph(path, _Awaited)
