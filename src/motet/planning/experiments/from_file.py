"""Exposures out of a labelled file: answers of a bulk run, or its input, beside what came of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pyarrow as pa

from motet.errors import InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.io import arrow_type, open_source
from motet.io.source import Source
from motet.nodes.split import choose_arms
from motet.planning.experiments.experiment import Experiment, experiment_of
from motet.planning.experiments.exposures import ExposureColumns, Exposures, cast_column
from motet.planning.experiments.report import ALPHA, ExperimentReport, report_of
from motet.planning.experiments.since import read_since
from motet.types import ColumnType

__all__ = ["ExperimentOptions", "report_on_file"]

_MORE: tuple[Literal["time", "seconds", "failed"], ...] = ("time", "seconds", "failed")
ROWS = 65_536
"""Rows that are read at a time."""


class ExperimentOptions(TypedDict, total=False):
    """What `Graph.experiment` takes beside a source."""

    label: str | None
    node: str | None
    unit: str | None
    arm: str | None
    time: str | None
    seconds: str | None
    failed: str | None
    since: str | float | datetime | None
    alpha: float
    reading: Mapping[str, Any] | None


def report_on_file(checked: CheckedGraph, source: Any, **options: Unpack[ExperimentOptions]) -> ExperimentReport:
    """Say what an experiment came to in a labelled file; arguments are those of `Graph.experiment`.

    Raises:
        InputError: when the graph has no experiment, or the file does not say what is needed.
        UnknownNameError: when a column, or the node, does not exist.
    """
    experiment = experiment_of(checked, options.get("node"))
    opened = open_source(source, wanted=_wanted(checked, experiment, options), **(options.get("reading") or {}))
    columns = _Columns.of(checked, experiment, opened, options)
    try:
        exposures = columns.read(opened)
    except InputError as error:
        raise error.located(opened.description) from None
    since = options.get("since")
    if since is not None:
        if columns.named.time is None:
            raise InputError("since needs a column of times", where="since", hint="say time: --time COLUMN")
        exposures = exposures.since(read_since(since, time.time()))
    notes = (
        []
        if columns.named.arm
        else [f"no column says the arm; it was computed from {columns.named.unit!r} by the split"]
    )
    knows = columns.named.failed is not None
    alpha = options.get("alpha", ALPHA)
    return report_of(experiment, exposures, alpha=alpha, knows_failures=knows, notes=notes)


def _wanted(checked: CheckedGraph, experiment: Experiment, options: ExperimentOptions) -> dict[str, ColumnType]:
    """The types of columns: a column of units that is named has the input's, so that the text 007 stays what it is."""
    unit, kind = options.get("unit"), _unit_type(checked, experiment, "")
    told = {} if unit is None or kind is None else {unit: kind}
    return {**checked.graph.stored_types, **told}


def _unit_type(checked: CheckedGraph, experiment: Experiment, column: str) -> ColumnType | None:
    """What units are where the graph takes them; of a graph inside what the column of the file is taken as; None where that is not told."""
    if experiment.node not in checked.order:
        return checked.graph.stored_types.get(column)
    declared = checked.graph.inputs.get(experiment.unit)
    return None if declared is None else declared.type


@dataclass(frozen=True)
class _Columns:
    """Where a file says what.

    Attributes:
        experiment: what it is of.
        named: the columns; an empty `arm` is computed.
        unit_type: what the column of units is to be where the arm is computed; None as it is.
    """

    experiment: Experiment
    named: ExposureColumns
    unit_type: pa.DataType | None

    @classmethod
    def of(cls, checked: CheckedGraph, experiment: Experiment, source: Source, options: ExperimentOptions) -> _Columns:
        """The columns that options name, and those that the graph tells of."""
        names, where = source.schema.names, source.description

        def known(name: str | None) -> str | None:
            if name is not None and name not in names:
                raise UnknownNameError("column", name, names, where=where)
            return name

        unit = known(options.get("unit"))
        if unit is None and experiment.node not in checked.order:
            what = f"{experiment.node!r} is in a graph inside, whose {experiment.unit!r} may be another column here"
            raise InputError(what, where=where, hint="name the column of units: --unit COLUMN")
        unit = unit or _column_of(checked, experiment.unit, names)
        if unit is None:
            what = f"no column has {experiment.unit!r}, by which the split goes; there are {', '.join(names)}"
            raise InputError(what, where=where, hint="name it: --unit COLUMN")
        arm = known(options.get("arm")) or _column_of(checked, f"{experiment.node}.member", names) or ""
        label = options.get("label")
        outcome = known(experiment.metric.name if label is None else label)
        times, seconds, failed = (known(options.get(name)) for name in _MORE)
        segments = [name for name in experiment.metric.segments if name in names]
        declared = None if arm else _unit_type(checked, experiment, unit)
        kind = None if declared is None else arrow_type(declared)
        return cls(experiment, ExposureColumns(unit, arm, outcome, times, seconds, failed, segments), kind)

    def read(self, source: Source) -> Exposures:
        """All rows of them."""
        named = self.named
        wanted = [named.unit, named.arm, named.outcome, named.time, named.seconds, named.failed, *named.segments]
        read = list(dict.fromkeys(name for name in wanted if name))
        parts = [part.select(read) for part in source.batches(ROWS, read)]
        table = pa.Table.from_batches(parts) if parts else source.schema.empty_table().select(read)
        arms = self.experiment.arms
        return Exposures.from_table(table if named.arm else self._with_arm(table), arms, self._all_named())

    def _all_named(self) -> ExposureColumns:
        named = self.named
        return ExposureColumns(
            named.unit, named.arm or _COMPUTED, named.outcome, named.time, named.seconds, named.failed, named.segments
        )

    def _with_arm(self, table: pa.Table) -> pa.Table:
        """The table with the arm that the split gives each unit."""
        column = table.column(self.named.unit)
        if self.unit_type is not None and column.type != self.unit_type:
            what = f"the column {self.named.unit!r} is {column.type}; the graph takes {self.unit_type}"
            column = cast_column(column, self.unit_type, what, hint="name the column of arms: --arm COLUMN")
        units = np.array([*column.to_pylist(), None], dtype=object)[:-1]
        chosen = choose_arms(units, self.experiment.weights, self.experiment.salt)
        return table.append_column(_COMPUTED, pa.array(chosen))


_COMPUTED = "__motet_arm__"
"""The column of arms that are computed."""


def _column_of(checked: CheckedGraph, reference: str, names: Sequence[str]) -> str | None:
    """The column of a file that has what a column of the graph has: an input as it is stored, an output, or its own name."""
    graph = checked.graph
    shown = [name for name, column in graph.outputs.items() if column == reference]
    return next((name for name in (graph.stored.get(reference), *shown, reference) if name in names), None)
