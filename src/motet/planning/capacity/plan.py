"""From a graph, its profile and a catalogue to a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from motet.errors import InputError
from motet.graph.capacity import Resources
from motet.graph.check import CheckedGraph
from motet.planning.capacity.amounts import shown_size
from motet.planning.capacity.applied import hints_of
from motet.planning.capacity.catalogue import EXAMPLE, MachineCatalogue
from motet.planning.capacity.goal import PlanGoal
from motet.planning.capacity.pools import PoolPlan, counted, own_pools, placed, shared_pools
from motet.planning.capacity.profile import GraphProfile
from motet.planning.capacity.profiler import profiled
from motet.planning.capacity.result import CapacityPlan
from motet.planning.capacity.works import StageWork, memory_hints, with_hints, works_of

__all__ = ["CapacityOptions", "plan_capacity"]

SECONDS = 10.0
"""What measuring takes about, beside loading models."""


FEW_BATCHES = 8
"""Of fewer batches it is said that what they took is no sure number."""
MOST_NAMED = 4
"""Models that a note names."""


class CapacityOptions(TypedDict, total=False):
    """What `Graph.plan` takes beside a source."""

    machines: str | MachineCatalogue | None
    rows: int | None
    rows_per_hour: float | None
    deadline: float | str | None
    budget: float | None
    profile: str | GraphProfile | None
    seconds: float
    reading: Mapping[str, Any] | None


def plan_capacity(
    checked: CheckedGraph,
    source: Any = None,
    *,
    machines: str | MachineCatalogue | None = None,
    rows: int | None = None,
    rows_per_hour: float | None = None,
    deadline: float | str | None = None,
    budget: float | None = None,
    profile: str | GraphProfile | None = None,
    seconds: float = SECONDS,
    reading: Mapping[str, Any] | None = None,
) -> CapacityPlan:
    """Plan machines for a graph.

    Args:
        checked: the graph.
        source: rows to measure; None where there is a profile.
        machines: a catalogue, or its file; None is an example.
        rows, rows_per_hour, deadline, budget: the goal; a deadline in seconds, or such as `2h`.
        profile: what was measured before, or its file; None measures.
        seconds: how long measuring takes about.
        reading: how the source is read.

    Raises:
        InputError: when goals exclude each other, or no machine has room for a stage.
    """
    catalogue = MachineCatalogue.load(machines) if isinstance(machines, str) else machines or EXAMPLE
    deadline_s = _seconds(deadline)
    PlanGoal.of(1, rows, rows_per_hour, deadline_s, budget)
    if not 0 < seconds < float("inf"):
        raise InputError(f"seconds must be a number above 0; got {seconds:g}", where="plan")
    if profile is None:
        if source is None:
            raise InputError(
                "neither a source nor a profile is given", where="plan", hint="name rows to measure: --input SAMPLE"
            )
        profile = profiled(checked, source, seconds, reading or {})
    found = GraphProfile.load(profile) if isinstance(profile, str) else profile
    _check_same(checked, found)
    goal = PlanGoal.of(found.rows or found.played, rows, rows_per_hour, deadline_s, budget)
    return _Planning(checked, found, catalogue, goal).plan()


def _seconds(deadline: float | str | None) -> float | None:
    if deadline is None:
        return None
    from motet.workflow.options import read_duration_s

    return read_duration_s(deadline, "deadline")


def _check_same(checked: CheckedGraph, profile: GraphProfile) -> None:
    """See that a profile is of the graph.

    Raises:
        InputError: when nodes differ.
    """
    known, names = {node.name for node in profile.nodes}, set(checked.order)
    if known != names:
        differing = ", ".join(sorted(known ^ names))
        what = f"the profile is of another graph, {profile.graph!r}: {differing} are not in both"
        raise InputError(what, where="profile", hint="measure anew: --input SAMPLE")


class _Planning:
    """Ways to cut a graph, and the cheapest of them."""

    def __init__(
        self, checked: CheckedGraph, profile: GraphProfile, catalogue: MachineCatalogue, goal: PlanGoal
    ) -> None:
        self._checked, self._profile, self._catalogue, self._goal = checked, profile, catalogue, goal

    def plan(self) -> CapacityPlan:
        """The plan.

        Raises:
            InputError: when no machine has room for some stage, however the graph is cut.
        """
        whole = works_of(self._checked, self._profile, one=True)
        cuts = list(self._cuts())
        machines, rows = self._catalogue.machines, self._goal.rows
        one = [
            plan for works in (whole, *(works for works, _ in cuts)) if (plan := shared_pools(works, machines, rows))
        ]
        apart = [(plan, hints) for works, hints in cuts if (plan := own_pools(works, machines, rows))]
        if not one and not apart:
            raise InputError(self._no_room(whole), where="machines", hint="add a machine that has more")
        uniform, unmet_one = self._best([(plan, {}) for plan in one])[:2]
        right, unmet_right, hints = self._best(apart)
        pays = self._pays(uniform, unmet_one, right, unmet_right)
        chosen = right if pays else uniform
        return CapacityPlan(
            self._profile, self._catalogue, self._goal, uniform, right, pays,
            hints={} if chosen is None else hints_of(self._checked.graph, chosen, hints if pays else {}),
            unmet={name: said for name, said in (("uniform", unmet_one), ("right_sized", unmet_right)) if said},
            notes=list(self._notes(chosen)),
        )  # fmt: skip

    def _cuts(self) -> Iterator[tuple[list[StageWork], Mapping[str, Resources]]]:
        """The graph as its hints cut it, and as hints by what was measured would, where that is more than one stage."""
        hints = memory_hints(self._checked, self._profile)
        for each in ({}, hints) if hints else ({},):
            works = works_of(with_hints(self._checked, each), self._profile)
            if len(works) > 1:
                yield works, each

    def _best(
        self, plans: Sequence[tuple[PoolPlan, Mapping[str, Resources]]]
    ) -> tuple[PoolPlan | None, str, Mapping[str, Resources]]:
        """The cheapest that reaches the goal; else the one that comes nearest."""
        found = [(*counted(plan, self._goal), hints) for plan, hints in plans]
        if not found:
            return None, "", {}
        met = [each for each in found if not each[1]]
        if met and self._goal.budget is not None:
            return min(met, key=lambda each: each[0].seconds)
        if met:
            return min(met, key=lambda each: each[0].cost)
        return min(found, key=lambda each: each[0].cost if self._goal.budget is not None else each[0].seconds)

    def _pays(self, uniform: PoolPlan | None, unmet_one: str, right: PoolPlan | None, unmet_right: str) -> bool:
        if uniform is None or right is None:
            return right is not None
        if bool(unmet_one) != bool(unmet_right):
            return bool(unmet_one)
        if self._goal.budget is not None and not unmet_one:
            return right.seconds < uniform.seconds
        return right.cost < 0.999 * uniform.cost

    def _no_room(self, whole: Sequence[StageWork]) -> str:
        machines = self._catalogue.machines
        works = next((works for works, _ in self._cuts()), whole)
        stuck = next((work for work in works if not any(placed(work, machine) for machine in machines)), works[0])
        need = stuck.need
        said = f"{need.cpu:g} cores, {shown_size(need.memory_bytes + stuck.batch_bytes)}, {need.accelerator:g} accelerators"
        return f"no machine has room for {', '.join(stuck.nodes[:3]) or 'reading'}, which needs {said}"

    def _notes(self, plan: PoolPlan | None) -> Iterator[str]:
        profile = self._profile
        if self._catalogue.is_example:
            yield "machines and prices are an example; name your own: --machines FILE"
        elif not self._catalogue.priced:
            yield "no machine has a price, so costs are machine hours, and machines are chosen by what they leave unused"
        wanting = [node.name for node in profile.nodes if node.accelerator_seconds]
        if wanting and not profile.accelerated:
            what = f"{', '.join(wanting)} ask for an accelerator and were timed on a core: "
            yield what + "say how many times as fast it is by accelerator_speed of a machine"
        yield from self._differences()
        if profile.played < FEW_BATCHES * profile.batch_rows:
            what = f"only {profile.played:,} rows were timed, in batches of {profile.batch_rows:,}: numbers are rough"
            yield what + "; more of --seconds make them surer"
        if profile.failed:
            yield f"{profile.failed:,} of {profile.played:,} rows failed while they were timed"
        if plan is not None and any(pool.threads > profile.cores and profile.contention > 1.05 for pool in plan.pools):
            yield f"how threads disturb each other was seen with {profile.cores}, and is thought to go on so beyond"
        if profile.rows is None:
            yield f"nobody knows how many rows there are; planned for {self._goal.rows:,}"

    def _differences(self) -> Iterator[str]:
        """Models whose declared memory is far from what was seen; what is declared counts."""
        found: dict[str, list[str]] = {"more than": [], "less than half of": []}
        for each in self._profile.models:
            model = self._checked.graph.models.get(each.name)
            said = 0 if model is None else model.resources.memory_bytes
            if said and each.memory_bytes and not 0.5 <= each.memory_bytes / said <= 1.0:
                more = "more than" if each.memory_bytes > said else "less than half of"
                found[more].append(f"{each.name} {shown_size(each.memory_bytes)} ({shown_size(said)})")
        for more, models in found.items():
            if models:
                others = f" and {len(models) - MOST_NAMED:,} others" if len(models) > MOST_NAMED else ""
                named = ", ".join(models[:MOST_NAMED]) + others
                yield f"memory grew by {more} what the graph says, in brackets, which counts: {named}"
