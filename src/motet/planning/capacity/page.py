"""A plan as a page: one file with everything in it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from motet.planning.capacity.amounts import shown_each, shown_money, shown_time
from motet.planning.capacity.wording import (
    heading,
    here,
    models_table,
    nodes_table,
    plan_name,
    pools_table,
    total,
    verdict,
)
from motet.planning.charts import shares_chart
from motet.planning.page import header, html_table, section, whole_page
from motet.planning.tuned_file import flow

if TYPE_CHECKING:
    from motet.planning.capacity.pools import PoolPlan
    from motet.planning.capacity.result import CapacityPlan

__all__ = ["page"]


def page(plan: CapacityPlan) -> str:
    """A plan as HTML."""
    parts = [_head(plan), _rows(plan), _models(plan)]
    parts += [
        _pools(plan, name, found) for name, found in (("uniform", plan.uniform), ("right_sized", plan.right_sized))
    ]
    return whole_page(f"Motet: machines for {plan.profile.graph}", [*parts, _hints(plan), _foot(plan)])


def _head(plan: CapacityPlan) -> str:
    chosen, priced = plan.chosen, plan.catalogue.priced
    tiles = [
        (shown_money(chosen.cost, priced=priced), f"for {plan.goal.rows:,} rows"),
        (shown_time(chosen.seconds), f"{chosen.rows_per_second:,.0f} rows a second"),
        (f"{plan.saving:.0%}" if plan.saving is not None else "-", "saved by a pool for each stage"),
        (f"{plan.bottleneck.share:.0%}", f"of a row's time is {plan.bottleneck.name}"),
    ]
    return header(f"Machines for {plan.profile.graph}", verdict(plan), tiles)


def _rows(plan: CapacityPlan) -> str:
    bars = [
        (each.name, each.seconds, shown_each(each.seconds), each.name == plan.bottleneck.name) for each in plan.shares
    ]
    chart = shares_chart(bars, "what a row takes")
    return section("What a row takes", f"{heading(plan)}. {here(plan)}.", chart + html_table(*nodes_table(plan)))


def _models(plan: CapacityPlan) -> str:
    lead = (
        "Memory is by how much that of the process grew while a model was loaded; the first of a framework has what the framework needs. "
        "What the graph says counts where it says it."
    )
    return section("Models", lead, html_table(*models_table(plan)) if plan.profile.models else "")


def _pools(plan: CapacityPlan, name: str, found: PoolPlan | None) -> str:
    if found is None:
        return ""
    bars = [
        (
            pool.work.name,
            pool.cost(found.rows),
            shown_money(pool.cost(found.rows), priced=plan.catalogue.priced),
            pool is found.slowest,
        )
        for pool in found.pools
    ]
    chart = shares_chart(bars, "what stages cost") if len(bars) > 1 else ""
    lead = f"{total(plan, found).strip().capitalize()}. {plan.unmet.get(name, '')}".strip()
    title = plan_name(name)
    return section(title.capitalize(), lead, chart + html_table(*pools_table(plan, found, "stage")))


def _hints(plan: CapacityPlan) -> str:
    rows = [[model, key, flow(value)] for model, each in plan.hints.items() for key, value in each.items()]
    lead = "What motet plan --apply writes into the graph; what it says itself stays."
    return section("Hints", lead, html_table(["model", "key", "value"], rows) if rows else "")


def _foot(plan: CapacityPlan) -> str:
    said = "<br>".join(map(escape, plan.notes))
    return f"<footer><p>{said}</p><p>Made by motet plan.</p></footer>\n"
