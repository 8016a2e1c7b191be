"""A plan: what rows take, and what pools of machines come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from motet.planning.capacity.amounts import shown_money
from motet.planning.capacity.catalogue import MachineCatalogue
from motet.planning.capacity.goal import PlanGoal
from motet.planning.capacity.pools import PoolPlan
from motet.planning.capacity.profile import GraphProfile
from motet.planning.wording import plain

__all__ = ["CapacityPlan", "NodeShare"]


@dataclass(frozen=True)
class NodeShare:
    """A part of what a row takes: `reading`, `converting`, a node, or `writing`."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, repr=False)
class CapacityPlan:
    """What machines a graph should run on.

    Attributes:
        profile: what its rows take.
        catalogue: machines that there are.
        goal: what is to be reached.
        uniform: one pool of machines of one shape that plays all stages; None where no machine has the most of everything.
        right_sized: for each stage a pool of its own; None where the graph has one stage.
        pays: whether that costs less.
        hints: by model the keys of a graph file that are to be set.
        unmet: by plan why the goal cannot be reached, and what can.
        notes: what else should be known.
        applied: the graph with the hints, where `Graph.plan` made it.
    """

    profile: GraphProfile
    catalogue: MachineCatalogue
    goal: PlanGoal
    uniform: PoolPlan | None
    right_sized: PoolPlan | None
    pays: bool
    hints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unmet: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    applied: Any = field(default=None, compare=False)

    @property
    def chosen(self) -> PoolPlan:
        """The plan to go by."""
        found = self.right_sized if self.pays else self.uniform
        assert found is not None
        return found

    @property
    def is_met(self) -> bool:
        """Whether the plan to go by reaches the goal."""
        return not self.unmet.get("right_sized" if self.pays else "uniform")

    @property
    def saving(self) -> float | None:
        """The part of the uniform pool's cost that right-sized pools save, less than 0 where they cost more; None without both."""
        if self.uniform is None or self.right_sized is None:
            return None
        return 1 - self.right_sized.cost / self.uniform.cost

    @property
    def shares(self) -> list[NodeShare]:
        """Where the time of a row goes, on the machine where it was measured."""
        profile = self.profile
        parts = {"(reading)": profile.read_seconds, "(converting)": profile.convert_seconds}
        parts |= {node.name: node.seconds for node in profile.nodes}
        parts["(writing)"] = profile.write_seconds
        whole = sum(parts.values())
        return [NodeShare(name, seconds, seconds / whole) for name, seconds in parts.items()]

    @property
    def bottleneck(self) -> NodeShare:
        """Where most of it goes."""
        return max(self.shares, key=lambda each: each.seconds)

    @property
    def rows_per_second_here(self) -> float:
        """What `motet run` answers on the machine where it was measured."""
        return self.profile.rows_per_second()

    @property
    def comment(self) -> str:
        """Where the hints are from, in a line."""
        cost = shown_money(self.chosen.cost, priced=self.catalogue.priced)
        pools = "a pool for each stage" if self.pays else "one pool"
        return f" for {self.goal.rows:,} rows by {pools}, {cost}; measured on {self.profile.machine}."

    def submitted(self, engine: str, graph: str, inputs: Sequence[str] = ()) -> list[str]:
        """Commands that have the plan played.

        Args:
            engine: `beam`, `ray`, `spark`, or `kubernetes`, where the graph is served.
            graph: the file of the graph with the hints.
            inputs: what is read.

        Raises:
            UnknownNameError: when there is no such engine.
        """
        from motet.planning.capacity.submit import commands

        return commands(self.chosen, engine, graph, inputs)

    def to_json(self, **others: Any) -> str:
        """The plan as JSON, with other keys beside."""
        found = {
            "graph": self.profile.graph,
            "rows": self.goal.rows,
            "goal": asdict(self.goal),
            "here": {"machine": self.profile.machine, "rows_per_second": self.rows_per_second_here},
            "bottleneck": asdict(self.bottleneck),
            "uniform": _pools(self.uniform),
            "right_sized": _pools(self.right_sized),
            "saving": self.saving,
            "pays": self.pays,
            "unit": "money" if self.catalogue.priced else "machine hours",
            "met": self.is_met,
            "unmet": self.unmet,
            "hints": self.hints,
            "notes": list(self.notes),
            **others,
            "profile": json.loads(self.profile.to_json()),
        }
        return json.dumps(plain(found), indent=2)

    def html(self) -> str:
        """The plan as a page that needs no other file."""
        from motet.planning.capacity.page import page

        return page(self)

    def __repr__(self) -> str:
        return f"<CapacityPlan of {self.profile.graph!r}: {self.goal.rows:,} rows for {self.chosen.cost:.4g}>"

    def __str__(self) -> str:
        from motet.planning.capacity.wording import as_lines

        return "\n".join(as_lines(self))


def _pools(plan: PoolPlan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    stages = [
        {
            "stage": pool.work.name,
            "nodes": list(pool.work.nodes),
            "machine": pool.machine.name,
            "machines": pool.count,
            "processes": pool.tasks,
            "threads": pool.threads,
            "replicas": pool.count * pool.tasks,
            "batch_rows": pool.work.batch_rows,
            "need": {name: value for name, value in pool.need.amounts().items() if value},
            "rows_per_second": pool.count * pool.rate,
            "bound_by": pool.bound_by,
            "seconds": pool.seconds(plan.rows),
            "cost": pool.cost(plan.rows),
        }
        for pool in plan.pools
    ]
    return {
        "stages": stages, "seconds": plan.seconds, "cost": plan.cost, "rows_per_second": plan.rows_per_second,
        "hours": plan.hours(),
    }  # fmt: skip
