"""The models that a graph calls, and of the graphs inside it: loaded when first called, and what is known of them together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Self

from motet.graph.check import CheckedGraph
from motet.nodes.route import Route
from motet.runtime.host import Host, LazyKey, ModelRuntime
from motet.runtime.overdue import LateCalls
from motet.runtime.plan import plan
from motet.runtime.residency.lazy_models import LazyModels, share_places
from motet.runtime.resolve import is_elsewhere, is_paid
from motet.runtime.shadows import Shadow
from motet.runtime.side_by_side import Members
from motet.runtime.stats import GraphState
from motet.runtime.turns import Calls, NodeStep

if TYPE_CHECKING:
    from motet.runtime.stacks import RouteStack

__all__ = ["GraphModels"]


class GraphModels:
    """What the nodes of a checked graph call.

    Args:
        checked: the graph.
        host: holds its models.
        keep_all: whether columns that nobody needs any more are kept; for explanations.
        calls: how calls are made; None makes them at once, in the thread that plays.
        path: the graphs it stands in, for names in statistics and failures.
        shared: what it shares with that of the graph around it; None where it is the outermost.

    Attributes:
        lazy: its models that come and go.
        shared: what another one of the same graph is given, so that both count together.
        graphs: the same for each graph inside, by name.
    """

    def __init__(
        self: Self,
        checked: CheckedGraph,
        host: Host,
        *,
        keep_all: bool = False,
        calls: Calls | None = None,
        path: str = "",
        shared: GraphState | None = None,
    ) -> None:
        self.checked, self.host, self.calls, self._path = checked, host, calls, path
        if shared is None:
            share_places(checked, host)
        self.lazy = LazyModels(checked, host)
        self.shared = shared or GraphState()
        self.graphs: Mapping[str, Self] = {
            name: type(self)(each, host, calls=calls, path=f"{path}{name}/", shared=self.shared)
            for name, each in checked.graphs.items()
        }
        self._models: dict[str, ModelRuntime] = {}
        self._members: dict[str, Members] = {}
        self._steps = plan(checked, host, self.shared, path, keep_all=keep_all)

    def models(self) -> list[ModelRuntime]:
        """The models that the outputs need and that stay, here and in the graphs inside, loaded."""
        return [owner.model(name) for owner, name in self._needed()]

    @property
    def lazy_keys(self) -> list[LazyKey]:
        """The models that share places, here and in the graphs inside."""
        return [key for owner in self._all() for key in owner.lazy.keys.values()]

    @property
    def num_keyed(self) -> int:
        """The most models that a node chooses from by a key, here and in the graphs inside."""
        found = [
            len({member.uses for member in step.node.members})
            for owner in self._all()
            for step in owner._steps
            if isinstance(step.node, Route) and step.node.key is not None
        ]
        return max(found, default=0)

    def _all(self) -> Iterator[Self]:
        yield self
        for inner in self.graphs.values():
            yield from inner._all()

    def _needed(self, steps: Sequence[NodeStep] | None = None) -> list[tuple[Self, str]]:
        """Every model that is called, by these nodes or all, and stays, each once, with its owner."""
        found: dict[tuple[str, str], tuple[Self, str]] = {}
        for name in dict.fromkeys(member.uses for step in steps or self._steps for member in step.node.members):
            if name in self.graphs:
                inner = self.graphs[name]._needed()
            else:
                inner = [(self, name)] if name not in self.lazy.keys else []
            for owner, model in inner:
                found.setdefault((owner.checked.graph.folder, model), (owner, model))
        return list(found.values())

    @property
    def timed(self) -> bool:
        """Whether a node, here or in the graphs inside, waits for its members only for some time."""
        return any(getattr(step.node, "within_ms", None) for each in self._all() for step in each._steps)

    def load_of(self, step: NodeStep) -> None:
        """Load the models that a node calls and that stay."""
        for owner, name in self._needed([step]):
            owner.model(name)

    def stacks(self, step: NodeStep) -> Sequence[RouteStack]:
        """The models of a route that are played together; made once all of them that stay are loaded."""
        node, stacks = step.played, self.shared.stacks
        if not isinstance(node, Route) or not node.stack:
            return ()
        found = stacks.get(step.path)
        if found is None:
            stay = {member.uses for member in node.members} - self.lazy.keys.keys() - self.graphs.keys()
            if not stay <= self._models.keys():
                return ()
            found = stacks[step.path] = self._make_stacks(node, stay)
        return found

    def _make_stacks(self, node: Route, stay: AbstractSet[str]) -> Sequence[RouteStack]:
        if len(stay) < 2:
            return ()
        from motet.runtime.stacks import make_stacks  # only routes of several models need it

        return make_stacks(node, self.checked, {name: self._models[name] for name in stay})

    @property
    def shadows(self) -> Mapping[tuple[str, str], Shadow]:
        """The members that are played off the way of the answers, by the path of their node and their name."""
        return self.shared.shadows

    def close_shadows(self, seconds: float = 0.0) -> None:
        """Drop what waits for shadows, and wait so long for what is under way."""
        until = time.monotonic() + seconds
        for shadow in self.shadows.values():
            shadow.close(until)

    def settle_shadows(self, seconds: float) -> None:
        """Wait so long for what waits for shadows, and for what is under way there."""
        until = time.monotonic() + seconds
        for shadow in list(self.shadows.values()):
            shadow.settle(until)

    def late(self, step: NodeStep, member: str) -> LateCalls:
        """The calls of a member that are late."""
        return self.shared.late.setdefault((step.path, member), LateCalls())

    def members(self, step: NodeStep) -> Members:
        """Makes calls of a node's members, where none is awaited."""
        found = self._members.get(step.name)
        if found is None:
            waits = [member.uses for member in step.node.members if self.waits(member.uses)]
            found = self._members.setdefault(step.name, Members(waits))
        return found

    def waits(self, name: str) -> bool:
        """Whether calls of a model or graph wait for another process or machine."""
        if name in self.graphs:
            return any(map(self.graphs[name].step_waits, self.graphs[name]._steps))
        if (loaded := self._models.get(name)) is not None:
            return loaded.elsewhere
        model, folder = self.checked.graph.models[name], self.checked.graph.folder
        return is_elsewhere(model, self.host.resolver.locate(model, folder))

    @property
    def paid(self) -> bool:
        """Whether calls of a model, here or in the graphs inside, cost money."""
        locate = self.host.resolver.locate
        return any(
            is_paid(model, locate(model, each.checked.graph.folder))
            for each in self._all()
            for model in each.checked.graph.models.values()
        )

    def step_waits(self, step: NodeStep) -> bool:
        """Whether a node waits for another process or machine."""
        return any(self.waits(member.uses) for member in step.node.members)

    def model(self, name: str) -> ModelRuntime:
        """A model, loaded."""
        found = self._models.get(name)
        if found is None:
            found = self._models[name] = self.host.model(self.checked.graph.models[name], self.checked.graph.folder)
        return found
