"""What a graph is worth, what would be better, and what it takes: verbs over labelled or logged rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from motet.facade.opened import OpenGraph, shared_resolver

if TYPE_CHECKING:
    from motet.planning.capacity.plan import CapacityOptions
    from motet.planning.capacity.result import CapacityPlan
    from motet.planning.drift.reference import DriftReference
    from motet.planning.drift.report import DriftOptions, DriftReport
    from motet.planning.evaluate import EvaluateOptions
    from motet.planning.evaluation import Evaluation
    from motet.planning.experiments.from_file import ExperimentOptions
    from motet.planning.experiments.report import ExperimentReport
    from motet.planning.tune import TuneOptions
    from motet.planning.tuning import Tuning


__all__ = ["PlannedGraph"]


class PlannedGraph(OpenGraph):
    """What is found out of a graph from rows."""

    def evaluate(self, source: Any, *, label: str, **options: Unpack[EvaluateOptions]) -> Evaluation:
        """What the graph and each of its members are worth, on rows whose right answers are known.

        Every member of its cascades and ensembles answers each row once; all else is computed from these answers.

        Args:
            source: what `run` takes.
            label: the column of the right answers: names of classes, their places, or numbers.
            options: `metric`, one or several of `accuracy`, `f1`, `auc`, `log_loss`, `rmse`, `mae` and functions of labels and
                answers (`package.function`), the first of which members are compared by (those that fit); `of`, the output, or
                another column, that labels are for; `by`, a column of the source or the graph whose values are segments; `by_unit`,
                a column whose values are drawn whole for intervals (rows are); `prices`, what a row costs by member or model
                (measured seconds); `limit`, rows that are read (all); `reading`, how the source is read, as `motet run` has it
                (`format`, ...).

        Returns:
            Metrics with intervals, confusions, calibration, agreement, costs and segments; `str`, `to_json()` and `html()`
            show them.

        Raises:
            InputError: when labels and answers cannot be compared.
            UnknownNameError: when a column or output does not exist.
        """
        from motet.planning.evaluate import evaluate

        return evaluate(self.checked, shared_resolver(), source, label, **options)

    def tune(self, source: Any, *, label: str, **options: Unpack[TuneOptions]) -> Tuning:
        """The same graph with better settings: thresholds, order and members of cascades, weights, combiner and members of ensembles.

        Every member answers each row once; each setting is played from these answers. Settings are chosen by one half of the rows,
        and reported on the other.

        Args:
            source, label: as for `evaluate`.
            options: those of `evaluate`, of which the first metric is the one that counts; `at_least`, the metric to reach as
                cheaply as possible (`best`: as good as the best of the single members and the graph as it is); or
                `at_most_cost`, what a row may cost (seconds, or in prices). The best metric is looked for without them.

        Returns:
            What was chosen, how it does, and, as `tuned`, the graph.

        Raises:
            InputError: when there is nothing to choose, or labels and answers cannot be compared.
        """
        from dataclasses import replace

        from motet.planning.tune import tune

        found = tune(self, self.checked, shared_resolver(), source, label, **options)
        return replace(found, tuned=self._opened(self.changed(nodes={**self.nodes, **found.nodes})))

    def drift_reference(
        self, source: Any, *, limit: int | None = None, reading: Mapping[str, Any] | None = None
    ) -> DriftReference:
        """How rows are spread, to see later whether others are: inputs, answers, and how far members agree, as counts in bins.

        Every row is played once. `evaluate` and `tune` write a reference of their rows as well.

        Args:
            source: what `run` takes.
            limit: rows that are read (all).
            reading: how it is read, as `motet run` has it (`format`, ...).

        Returns:
            The reference; `write(path)` keeps it.

        Raises:
            InputError: when there are no rows.
        """
        from motet.planning.drift.report import make_reference

        return make_reference(self.checked, shared_resolver(), source, limit=limit, reading=reading)

    def drift(self, source: Any, reference: DriftReference | str, **options: Unpack[DriftOptions]) -> DriftReport:
        """How far rows, or answers, have drifted from a reference, and whether that is more than chance.

        Args:
            source: what `run` takes, or what it wrote.
            reference: what `drift_reference` gives, or its file.
            options: `at_most`, the population stability index above which a column is said to have drifted (0.2); `play`,
                whether the rows are played (where none of the graph's outputs is among the columns); `limit`, rows that are
                read (all); `reading`, how the source is read.

        Returns:
            Distances by column; `str`, `to_json()` and `html()` show them, `drifted` has the names of what has drifted.

        Raises:
            InputError: when the reference is none, or is of another graph, or there are no rows.
        """
        from motet.planning.drift.report import drift_report

        return drift_report(self.checked, shared_resolver(), source, reference, **options)

    def plan(self, source: Any = None, **options: Unpack[CapacityOptions]) -> CapacityPlan:
        """What machines it should run on: one pool of machines of one shape, or for each stage its own.

        Args:
            source: rows to measure, what `run` takes; None with a `profile`.
            options: `machines`, a catalogue or its file (an example); `rows`, how many there are (those of the source); and one of
                `rows_per_hour`, `deadline` (seconds, or `2h`) and `budget`; `profile`, what was measured before, or its file;
                `seconds`, how long measuring takes about (10); `reading`, how the source is read, as `motet run` has it.

        Returns:
            What rows take, pools and costs, and, as `applied`, the graph with hints; `str`, `to_json()` and `html()` show it.

        Raises:
            InputError: when goals exclude each other, no machine has room for a stage, or a model is paid.
        """
        from dataclasses import replace

        from motet.planning.capacity.applied import hinted
        from motet.planning.capacity.plan import plan_capacity

        found = plan_capacity(self.checked, source, **options)
        return replace(found, applied=self._opened(self.changed(models=hinted(self, found.hints))))

    def experiment(self, source: Any, **options: Unpack[ExperimentOptions]) -> ExperimentReport:
        """What an experiment of the graph comes to: a route by weighted split with a `metric`.

        Its intervals hold at all looks together: it may be asked every day, and the first time that it decides counts.

        Args:
            source: what `run` takes: its answers, or its input, with what came of each row.
            options: `label`, the column of outcomes, true or false or numbers (the metric's name); `node`, which experiment (the
                only one); `unit`, the column that the split goes by (as the graph calls it); `arm`, the column of arms (the output
                of `node.member`, else computed from the unit); `time`, `seconds` and `failed`, columns of when each row was
                answered, how long that took, and whether it failed; `since`, `"7d"`, a date or time, or seconds since 1970;
                `alpha`, the share of experiments without a difference in which one may be found (0.05); `reading`, as for
                `evaluate`.

        Returns:
            Each arm, its difference from the control, the check of the split, guardrails, segments, and a decision; `str`,
            `to_json()` and `html()` show them.

        Raises:
            InputError: when the graph has no experiment, or the source does not say what is needed.
            UnknownNameError: when a column or the node does not exist.
        """
        from motet.planning.experiments.from_file import report_on_file

        return report_on_file(self.checked, source, **options)
