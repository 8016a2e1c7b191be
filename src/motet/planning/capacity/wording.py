"""A plan as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from motet.planning.capacity.amounts import shown_each, shown_money, shown_size, shown_time
from motet.planning.capacity.pools import PoolPlan, StagePool
from motet.planning.tuned_file import flow
from motet.planning.wording import table

if TYPE_CHECKING:
    from motet.planning.capacity.result import CapacityPlan

__all__ = [
    "as_lines",
    "heading",
    "here",
    "models_table",
    "nodes_table",
    "plan_name",
    "pools_table",
    "shown_hints",
    "total",
    "verdict",
]

MOST_MODELS = 12
"""Models that are shown; all are in the JSON."""


def as_lines(plan: CapacityPlan) -> list[str]:
    """A plan as lines."""
    lines = [heading(plan), "", *table(*nodes_table(plan))]
    if plan.profile.models:
        lines += ["", *table(*models_table(plan))]
    lines += ["", here(plan), ""]
    for name, found in (("uniform", plan.uniform), ("right_sized", plan.right_sized)):
        if found is not None:
            lines += [*table(*pools_table(plan, found, plan_name(name))), total(plan, found), ""]
    lines.append(verdict(plan))
    lines += [f"{plan_name(name)}: cannot be reached: {said}" for name, said in plan.unmet.items() if said]
    lines += [f"hint: {model}: {key}: {flow(said)}" for model, each in shown_hints(plan) for key, said in each.items()]
    return [line.rstrip() for line in lines + [f"note: {note}" for note in plan.notes]]


def shown_hints(plan: CapacityPlan) -> list[tuple[str, Mapping[str, Any]]]:
    """What `--apply` writes, of a dozen models."""
    return list(plan.hints.items())[:MOST_MODELS]


def plan_name(name: str) -> str:
    """What people call `uniform` and `right_sized`."""
    return "one pool for all" if name == "uniform" else "a pool for each stage"


def heading(plan: CapacityPlan) -> str:
    """What was measured where, and what is planned for."""
    profile, goal = plan.profile, plan.goal
    what = f"{goal.rows:,} rows"
    if goal.hourly:
        what += " every hour"
    elif goal.deadline_s is not None:
        what += f" within {shown_time(goal.deadline_s)}"
    elif goal.budget is not None:
        what += f" for at most {shown_money(goal.budget, priced=plan.catalogue.priced)}"
    return f"{profile.graph}: {what}; by {profile.played:,} rows played of {profile.source}, on {profile.machine}"


def nodes_table(plan: CapacityPlan) -> tuple[list[str], list[list[str]]]:
    """What a row takes where, and in batches of which size."""
    sizes = sorted({rows for node in plan.profile.nodes for rows in node.by_rows})
    nodes = {node.name: node for node in plan.profile.nodes}
    head = ["node", "kind", "time a row", "share", *(f"batch of {rows:,}" for rows in sizes), "best batch"]
    rows = []
    for each in plan.shares:
        node = nodes.get(each.name)
        by = [shown_each(node.by_rows[size]) if node and size in node.by_rows else "" for size in sizes]
        best = f"{node.best_rows:,}" if node and node.best_rows else ""
        rows.append([each.name, node.kind if node else "", shown_each(each.seconds), f"{each.share:.0%}", *by, best])
    return head, rows


def models_table(plan: CapacityPlan) -> tuple[list[str], list[list[str]]]:
    """What models take, beside what the graph says they need."""
    rows = []
    models = sorted(plan.profile.models, key=lambda each: -each.memory_bytes)
    for each in models[:MOST_MODELS]:
        said = each.declared
        declared = [f"{said[name]:g} {name}" for name in ("cpu", "accelerator") if name in said]
        declared += [shown_size(said["memory"])] if "memory" in said else []
        seen = "elsewhere" if each.elsewhere else shown_size(each.memory_bytes) if each.memory_bytes else "-"
        loading = shown_time(each.load_seconds) if each.load_seconds else "-"
        rows.append(
            [each.name, f"{each.call_rows:,}" if each.call_rows else "-", loading, seen, ", ".join(declared) or "-"]
        )
    if len(models) > MOST_MODELS:
        rows.append([f"and {len(models) - MOST_MODELS:,} more", "", "", "", ""])
    return ["model", "rows a call", "loading", "memory grew by", "the graph says"], rows


def here(plan: CapacityPlan) -> str:
    """What the machine that measured does alone, and why no more."""
    profile, worst = plan.profile, plan.bottleneck
    shared = (
        "" if profile.contention < 1.2 else f"; threads side by side take {profile.contention:.2f} times as long a row"
    )
    return (
        f"motet run there: about {profile.rows_per_second():,.0f} rows/s on {profile.cores} cores; most of it is {worst.name} "
        f"({worst.share:.0%}){shared}"
    )


def pools_table(plan: CapacityPlan, found: PoolPlan, title: str) -> tuple[list[str], list[list[str]]]:
    """The stages of a plan."""
    priced = plan.catalogue.priced
    head = [title, "machine", "machines", "processes each", "rows a batch", "rows/s", "time", "cost", "bound by"]
    return head, [_stage(pool, found, priced=priced) for pool in found.pools]


def _stage(pool: StagePool, found: PoolPlan, *, priced: bool) -> list[str]:
    work = pool.work
    parts = [*(["reading"] if work.name[:2] in ("wh", "1 ") else []), *work.nodes]
    names = ", ".join(parts if len(parts) <= 4 else [*parts[:3], f"{len(parts) - 3} more"])
    threads = f" of {pool.threads} threads" if pool.threads > 1 else ""
    return [
        f"{work.name}: {names}", f"{pool.machine.name}", f"{pool.count:,}", f"{pool.tasks}{threads}", f"{work.batch_rows:,}",
        f"{pool.count * pool.rate:,.0f}", shown_time(pool.seconds(found.rows)), shown_money(pool.cost(found.rows), priced=priced),
        pool.bound_by,
    ]  # fmt: skip


def total(plan: CapacityPlan, found: PoolPlan) -> str:
    """What a plan comes to."""
    priced = plan.catalogue.priced
    hours = ", ".join(f"{value:,.3g} of {name}" for name, value in found.hours().items() if value)
    cost = shown_money(found.cost, priced=priced)
    return f"  in all {shown_time(found.seconds)}, {found.rows_per_second:,.0f} rows/s, {cost}; hours: {hours}"


def verdict(plan: CapacityPlan) -> str:
    """Which plan to go by, and why."""
    if plan.uniform is None:
        return "no machine has the most of everything, so one pool cannot play it: take a pool for each stage"
    if plan.right_sized is None:
        return "it is one stage: there is nothing to size apart"
    saving, priced = plan.saving or 0.0, plan.catalogue.priced
    costs = (
        f"{shown_money(plan.right_sized.cost, priced=priced)} against {shown_money(plan.uniform.cost, priced=priced)}"
    )
    if plan.pays:
        return f"a pool for each stage saves {saving:.0%}: {costs}"
    why = "".join(_why(plan))
    return f"a pool for each stage does not pay: {costs}{why}"


def _why(plan: CapacityPlan) -> Iterator[str]:
    assert plan.right_sized is not None
    passing = sum(p.work.read_seconds for p in plan.right_sized.pools[1:])
    passing += sum(p.work.write_seconds for p in plan.right_sized.pools[:-1])
    whole = sum(p.work.all_seconds for p in plan.right_sized.pools)
    if whole and passing > 0.05 * whole:
        yield f"; handing rows from stage to stage is {passing / whole:.0%} of what they take"
