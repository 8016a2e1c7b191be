"""A graph that was checked and can be played: what it holds of models, and how it gives them back."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from copy import copy
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Self, Unpack

import motet.nodes  # noqa: F401  (the kinds register themselves)
from motet.graph import graph as data
from motet.graph.check import CheckedGraph, check
from motet.locks import close_garbage
from motet.runtime.session import CallSession

if TYPE_CHECKING:
    from motet.runtime.executor import Executor
    from motet.runtime.resolve import ModelResolver

__all__ = ["OpenGraph", "shared_resolver"]

SHADOWS_S = 2.0
"""How long a graph that is closed waits for members that do not count."""


@cache
def shared_resolver() -> ModelResolver:
    """The one resolver of the process: each model file is looked at once."""
    from motet.runtime.resolve import ModelResolver

    return ModelResolver()


def _executor(checked: CheckedGraph) -> Executor:
    from motet.runtime.executor import Executor
    from motet.runtime.host import Host

    return Executor(checked, Host(shared_resolver()))


class OpenGraph(data.GraphSpec):
    """A graph and what plays it.

    Args:
        name, outputs, parts: see `Graph`.
    """

    def __init__(self, name: str, outputs: Mapping[str, Any], **parts: Unpack[data.GraphParts]) -> None:
        folder = parts.get("folder", "")
        parts["folder"] = folder if "://" in folder else os.path.abspath(folder)
        super().__init__(name, outputs, **parts)
        self._open(check(self.changed(), shared_resolver()))

    @classmethod
    def _opened(cls, graph: data.GraphSpec) -> Self:
        """A graph that is data, checked and callable, and so are those inside it."""
        if isinstance(graph, cls):
            return graph
        made = cls.__new__(cls)
        graphs = {name: cls._opened(each) for name, each in graph.graphs.items()}
        data.GraphSpec.__setstate__(made, data.GraphSpec.__getstate__(graph.changed(graphs=graphs)))
        made._open(check(made.changed(), shared_resolver()))
        return made

    def _open(self, checked: CheckedGraph) -> None:
        """Be ready to be called as what was found when it was checked."""
        self.checked = checked
        self._session = CallSession(partial(_executor, checked))
        weakref.finalize(self, close_garbage, self._session.close).atexit = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in super().__getstate__().items() if name != "_session"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        self._open(self.checked)

    def __deepcopy__(self, memo: Any) -> Self:
        return copy(self)  # what it says never changes, so that copies share it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the models that calls have loaded; those that another graph uses too stay there for it.

        Calls that are under way in other threads end as they would have. The graph may be called again, and then loads its
        models anew. `with graph:` closes it at the end; a graph that is dropped closes itself. Calls of shadows (members with a
        weight of 0) that are under way are waited for, two seconds at most.
        """
        self._session.close(SHADOWS_S)

    @property
    def executor(self) -> Executor:
        """What plays this graph when it is called; its models stay loaded until the graph is closed, or gone."""
        return self._session.executor
