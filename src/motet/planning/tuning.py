"""What tuning found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from motet.planning.intervals import Interval
from motet.planning.wording import plain, shown_cost, shown_interval, shown_number, table

__all__ = ["FrontPoint", "TunedStanding", "Tuning"]


@dataclass(frozen=True)
class TunedStanding:
    """How the graph before, after, or a member did on the rows that nothing was chosen by.

    Attributes:
        name: `before`, `after`, or the member.
        metric: on held-out rows.
        cost: of a row.
        failed: held-out rows that were not answered.
    """

    name: str
    metric: Interval
    cost: float
    failed: int = 0


@dataclass(frozen=True)
class FrontPoint:
    """A setting that no other one beats in both metric and cost.

    Attributes:
        said: the setting, as a graph file has it.
        cost: of a row, on the rows that settings are chosen by.
        chosen_by: the metric on these rows.
        held_out: on the others.
    """

    said: str
    cost: float
    chosen_by: float
    held_out: float


@dataclass(frozen=True, repr=False)
class Tuning:
    """A graph with other settings, and how it does.

    Attributes:
        graph: its name.
        source, label, of, metric: what was compared.
        rows: labelled rows that settings were chosen by, and rows that are reported on.
        goal: what was wanted.
        before, after: the graph on the rows that are reported on.
        gain: the metric after less that before, on the same rows.
        members: each alone.
        changes: by node the settings that are others now, as a graph file has them.
        nodes: by name the nodes that are others now.
        front: settings from the cheapest to the best.
        priced: whether costs are prices, and not seconds.
        lower_is_better: whether less of the metric is better.
        warnings: what is not as it was wanted.
        tuned: the graph with these settings, where `Graph.tune` made it.
    """

    graph: str
    source: str
    label: str
    of: str
    metric: str
    rows: tuple[int, int]
    goal: str
    before: TunedStanding
    after: TunedStanding
    gain: Interval
    members: Sequence[TunedStanding]
    changes: Mapping[str, Mapping[str, Any]]
    nodes: Mapping[str, Any]
    front: Sequence[FrontPoint]
    priced: bool
    lower_is_better: bool
    warnings: Sequence[str] = ()
    tuned: Any = field(default=None, compare=False)

    @property
    def comment(self) -> str:
        """Where the settings are from, in a line."""
        cost = " to ".join(shown_cost(each.cost, priced=self.priced) for each in (self.before, self.after))
        numbers = " to ".join(shown_number(each.metric.value) for each in (self.before, self.after))
        return (
            f"Tuned by motet tune for {self.goal}, by {self.rows[0]:,} rows of {self.source}; on {self.rows[1]:,} others "
            f"{self.metric} {numbers}, cost a row {cost}."
        )

    def to_json(self) -> str:
        """All that was found, as JSON."""
        found = {name: value for name, value in vars(self).items() if name not in ("nodes", "tuned")}
        return json.dumps(plain({name: _as_dict(value) for name, value in found.items()}), indent=2)

    def html(self) -> str:
        """What was found, as a page that needs no other file."""
        from motet.planning.tuning_page import page

        return page(self)

    def __repr__(self) -> str:
        return f"<Tuning of {self.graph!r}: {self.metric} {shown_interval(self.after.metric)} on {self.rows[1]:,} held-out rows>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def standings_table(self) -> tuple[list[str], list[list[str]]]:
        """The table of the graph before and after, and its members: names of columns, and rows of texts."""
        rows = [
            [each.name, shown_interval(each.metric), shown_cost(each.cost, priced=self.priced), f"{each.failed:,}"]
            for each in (self.before, self.after, *self.members)
        ]
        return [f"on {self.rows[1]:,} held-out rows", self.metric, "cost a row", "failed"], rows

    def front_table(self) -> tuple[list[str], list[list[str]]]:
        """The table of settings that no other one beats."""
        rows = [
            [e.said, shown_cost(e.cost, priced=self.priced), shown_number(e.chosen_by), shown_number(e.held_out)]
            for e in self.front
        ]
        return ["settings from cheap to good", "cost a row", f"{self.metric}, chosen by", "held out"], rows

    def _lines(self) -> list[str]:
        said = f"{self.graph}: {self.of} against {self.label!r}, for {self.goal}; {self.rows[0]:,} rows of {self.source} to choose by"
        lines = [said, "", *table(*self.standings_table())]
        lines.append(f"after less before: {shown_interval(self.gain)}")
        if self.after.cost:
            lines.append(f"cost before over cost after: {self.before.cost / self.after.cost:.2f}")
        lines += ["", *table(*self.front_table()), ""] if self.front else [""]
        lines += [f"{node}: {key}: {value}" for node, each in self.changes.items() for key, value in each.items()]
        lines += [] if self.changes else ["nothing is better than what it has"]
        return lines + [f"warning: {each}" for each in self.warnings]


def _as_dict(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_dict(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
