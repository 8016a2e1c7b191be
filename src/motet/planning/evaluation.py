"""What an evaluation found, as text and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from motet.planning.calibration import Calibration
from motet.planning.intervals import Interval
from motet.planning.wording import as_lines, plain, shown_interval, standings_table

__all__ = ["Agreement", "Evaluation", "Segment", "Standing"]


@dataclass(frozen=True)
class Standing:
    """How the graph, or one of its members, did.

    Attributes:
        name: the graph's name, or the member's (`node.member` where several nodes have members).
        node: the node that the member is of; empty for the graph.
        model: the model or graph that the member uses; empty for the graph.
        version: that model's version.
        answered: labelled rows that it answered; metrics are of them.
        failed: labelled rows that it did not answer.
        metrics: by name; empty for a member that cannot answer alone.
        difference: the graph's first metric less this one's, each of the rows that it answered, in the same draws.
        calibration: how far its confidence can be trusted; None where that is not known.
        cost: of a row: seconds, or what prices say; None where it was not measured.
        asked: the share of rows that the graph asks it for.
        note: what else there is to say.
    """

    name: str
    node: str = ""
    model: str = ""
    version: str = ""
    answered: int = 0
    failed: int = 0
    metrics: Mapping[str, Interval] = field(default_factory=dict)
    difference: Interval | None = None
    calibration: Calibration | None = None
    cost: float | None = None
    asked: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """Two members beside each other: the share of rows on which they say the same, and on which both are wrong."""

    one: str
    other: str
    same: float
    both_wrong: float


@dataclass(frozen=True)
class Segment:
    """Rows that have one value in a column.

    Attributes:
        value: the value.
        rows: labelled rows.
        failed: those of them that the graph did not answer.
        metric: the first metric, of the graph.
        members: the same, by member.
    """

    value: str
    rows: int
    failed: int
    metric: Interval
    members: Mapping[str, float]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What a graph and each of its members are worth, on rows whose right answers are known.

    Attributes:
        graph: its name.
        source: where the rows are from.
        label: the column of the right answers.
        of: the column of the graph that is compared with them.
        rows: all rows; `unlabelled` ones count for nothing else.
        unlabelled: rows without a label.
        failures: rows that the graph did not answer, by node, model and reason.
        standings: the graph, then its members.
        classes: what answers may be; empty where they are no classes.
        confusion: of the graph `[right, answered]`, by class.
        agreement: of members, two by two.
        by: the column that segments go by.
        segments: by its values, the most frequent first.
        priced: whether costs are prices, and not seconds.
        units: the column whose values were drawn whole for intervals; None where rows were.
        notes: what was not done.
    """

    graph: str
    source: str
    label: str
    of: str
    rows: int
    unlabelled: int
    failures: Mapping[str, int]
    standings: Sequence[Standing]
    classes: Sequence[str] = ()
    confusion: Sequence[Sequence[int]] = ()
    agreement: Sequence[Agreement] = ()
    by: str | None = None
    segments: Sequence[Segment] = ()
    priced: bool = False
    units: str | None = None
    notes: Sequence[str] = ()

    def to_json(self) -> str:
        """The evaluation as JSON; what could not be computed is null."""
        return json.dumps(plain(asdict(self)), indent=2)

    def html(self) -> str:
        """The evaluation as a page that needs no other file."""
        from motet.planning.page import page

        return page(self)

    def __str__(self) -> str:
        return "\n".join(as_lines(self))

    def __repr__(self) -> str:
        first = next(iter(self.standings[0].metrics.items()))
        return f"<Evaluation of {self.graph!r}: {first[0]} {shown_interval(first[1])} on {self.standings[0].answered:,} rows>"

    def _repr_html_(self) -> str:
        """The evaluation as a notebook shows it."""
        from motet.system.html import paragraph, table

        head, rows = standings_table(self)
        return paragraph([self.summary]) + table(head, rows)

    @property
    def summary(self) -> str:
        """How many rows there were, and what became of them, in a sentence."""
        failed = sum(self.failures.values())
        said = [f"{self.rows:,} rows of {self.source}"]
        said += [f"{self.unlabelled:,} without a label"] if self.unlabelled else []
        said += [f"{failed:,} failed"] if failed else []
        return f"{self.graph}: {self.of} against {self.label!r}, {', '.join(said)}"

    def standing(self, name: str) -> Standing:
        """How a member did, by its name."""
        return next(each for each in self.standings if each.name == name)
