"""Drift of the rows of a file against a reference, as text, JSON and a page."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.planning.drift.collect import Collector
from motet.planning.drift.compare import AT_MOST, ColumnDrift, Counted, compare
from motet.planning.drift.reference import DriftReference
from motet.planning.drift.rows import AnsweredRows, played_rows
from motet.planning.wording import plain, table
from motet.runtime.resolve import ModelResolver

__all__ = ["DriftOptions", "DriftReport", "drift_report", "make_reference"]


class DriftOptions(TypedDict, total=False):
    """What `Graph.drift` takes beside a source and a reference."""

    at_most: float
    play: bool | None
    limit: int | None
    reading: Mapping[str, Any] | None


@dataclass(frozen=True, repr=False)
class DriftReport:
    """How far the rows of a source have drifted.

    Attributes:
        graph: its name.
        source: where the rows are from.
        reference: where those of the reference were from; `made` when it was made, in seconds since 1970.
        rows, failed: how many rows there are, and how many of them failed; `reference_rows` of the reference.
        at_most: the population stability index above which a column is said to have drifted.
        columns: how far each has.
        notes: what was not compared.
    """

    graph: str
    source: str
    reference: str
    made: float
    rows: int
    failed: int
    reference_rows: int
    at_most: float
    columns: Sequence[ColumnDrift]
    notes: Sequence[str] = ()

    @property
    def drifted(self) -> list[str]:
        """The names of what has drifted, the farthest first."""
        return [each.name for each in self.by_distance if each.drifted]

    @property
    def by_distance(self) -> list[ColumnDrift]:
        """The columns: those that have drifted first, and the farthest of them."""
        return sorted(self.columns, key=lambda each: (not each.drifted, -each.psi))

    def column(self, name: str) -> ColumnDrift:
        """A column by its name."""
        return next(each for each in self.columns if each.name == name)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(plain({**asdict(self), "drifted": self.drifted}), indent=2)

    def html(self) -> str:
        """The report as a page that needs no other file."""
        from motet.planning.drift.page import page

        return page(self)

    @property
    def summary(self) -> str:
        """What was compared, and what has drifted, in two sentences."""
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))
        of = f"{self.rows:,} rows of {self.source} beside {self.reference_rows:,} of {self.reference}, {day}"
        few = [each for each in self.columns if each.by_chance > self.at_most]
        said = f"{len(self.drifted)} of {len(self.columns)} have drifted: {', '.join(self.drifted)}" if self.drifted else (
            "nothing has drifted beyond chance"
        )  # fmt: skip
        if few and not self.drifted:
            said += f"; {len(few)} of {len(self.columns)} have too few rows to tell an index of {self.at_most:g} from chance"
        return f"{self.graph}: {of}. {said[0].upper()}{said[1:]}."

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The columns as a table: names, and rows of texts."""
        head = ["", "PSI", "by chance", "p", "KS", "moved", "missing", "unseen", "most changed", ""]
        rows = [
            [
                each.name, f"{each.psi:.3f}", f"{each.by_chance:.3f}", shown_p(each.p_value),
                "" if each.ks is None else f"{each.ks:.3f}", f"{each.total_variation:.1%}", _share(each.missing),
                "" if each.unseen is None else _share(each.unseen), each.most_changed, "drifted" if each.drifted else "",
            ]
            for each in self.by_distance
        ]  # fmt: skip
        return head, rows

    def __str__(self) -> str:
        head, rows = self.table()
        notes = ["", *self.notes] if self.notes else []
        return "\n".join([self.summary, "", *(line.rstrip() for line in table(head, rows)), *notes])

    def __repr__(self) -> str:
        return f"<DriftReport of {self.graph!r}: {len(self.drifted)} of {len(self.columns)} have drifted, {self.rows:,} rows>"

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        from motet.system.html import paragraph
        from motet.system.html import table as as_html

        head, rows = self.table()
        return paragraph([self.summary]) + as_html(head, rows)


def shown_p(value: float) -> str:
    """A probability by chance."""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _share(value: float) -> str:
    return f"{value:.1%}" if value else ""


def make_reference(
    checked: CheckedGraph,
    resolver: ModelResolver,
    source: Any,
    *,
    limit: int | None = None,
    reading: Mapping[str, Any] | None = None,
) -> DriftReference:
    """A reference of the rows of a source, each played once; see `Graph.drift_reference`."""
    description, samples = played_rows(checked, resolver, source, limit, reading or {})
    collector = Collector(checked, description)
    for sample in samples:
        collector.add(sample)
    return collector.finish()


def drift_report(
    checked: CheckedGraph,
    resolver: ModelResolver,
    source: Any,
    reference: DriftReference | str | Path,
    *,
    at_most: float = AT_MOST,
    play: bool | None = None,
    limit: int | None = None,
    reading: Mapping[str, Any] | None = None,
) -> DriftReport:
    """How far the rows of a source have drifted; see `Graph.drift`."""
    if not 0 <= at_most < float("inf"):
        raise InputError(f"at_most must be a number from 0; got {at_most!r}", where="at_most")
    where = "reference" if isinstance(reference, DriftReference) else str(reference)
    found = reference if isinstance(reference, DriftReference) else DriftReference.read(reference)
    found = found.fitted(checked, where)
    notes: list[str] = []
    if play is None or not play:
        answered = AnsweredRows(checked, source, limit, reading or {})
        play = not answered.has_outputs if play is None else play
    if not play and not answered.has_any:
        raise _nothing(answered.description)
    if play:
        description, samples = played_rows(checked, resolver, source, limit, reading or {})
    else:
        description, samples, notes = answered.description, answered.samples(), answered.notes
    counted = Counted(found)
    for sample in samples:
        counted.add(sample)
    left = [each.feature.name for each in found.columns if each.feature.name not in counted.counts]
    if left:
        notes.append(f"not in these rows, and not compared: {', '.join(left)}")
    if len(left) == len(found.columns):
        raise _nothing(description)
    return DriftReport(
        checked.graph.name, description, found.of, found.made, counted.rows, counted.failed, found.rows, at_most,
        compare(found, counted.counts, at_most), tuple(notes),
    )  # fmt: skip


def _nothing(where: str) -> InputError:
    hint = "give rows that the graph takes, or its answers as motet run writes them"
    return InputError("nothing of what the reference has is in these rows", where=where, hint=hint)
