"""The metrics of a run: its own, and for results that were kept, those of the run that made them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from motet.errors import UnknownNameError
from motet.metrics_log import MetricSeries, metrics_file, read_series
from motet.workflow.memo.cache import Cache
from motet.workflow.record.runs import RunRecord, RunRow, StepRow

__all__ = ["RunMetrics", "metrics_of", "seen_run", "seen_steps"]

RunMetrics = dict[str, dict[str, MetricSeries]]
"""Metrics by step and by name."""


def seen_run(home: Path, name: str) -> tuple[RunRow, list[StepRow], RunMetrics]:
    """A run of a home folder as it is, by its id, the beginning of it, or `last`; its steps; its metrics.

    Raises:
        UnknownNameError: when there is no such run.
    """
    run, steps = seen_steps(home, name)
    with closing(RunRecord.of(home)) as record:
        return run, steps, metrics_of(record, run, steps)


def seen_steps(home: Path, name: str) -> tuple[RunRow, list[StepRow]]:
    """Likewise, without the metrics, which may be long."""
    with closing(RunRecord.of(home)) as record:
        run = record.as_it_is(record.run(name))
        return run, record.steps_of(run.id)


def metrics_of(record: RunRecord, run: RunRow, steps: Sequence[StepRow]) -> RunMetrics:
    """The metrics of a run, by step and by name; steps without any are left out."""
    found: RunMetrics = {}
    own = _by_step(record, run.id)
    cache, makers = Cache(Path(run.cache)), dict[str, RunMetrics]()
    for step in steps:
        series = own.get(step.id, {})
        entry = cache.peek(step.key) if step.state == "hit" else None
        if entry is not None and entry.run != run.id:
            if entry.run not in makers:
                makers[entry.run] = _by_key(record, entry.run)
            series = makers[entry.run].get(step.key, {})
        if series:
            found[step.id] = series
    return found


def _by_step(record: RunRecord, run: str) -> RunMetrics:
    found: RunMetrics = {}
    for each in read_series(metrics_file(record.folder(run))):
        found.setdefault(each.step, {})[each.name] = each
    return found


def _by_key(record: RunRecord, run: str) -> RunMetrics:
    """The metrics that a run itself has, by the keys of its steps."""
    own = _by_step(record, run)
    if not own:
        return {}
    try:
        steps = record.steps_of(record.run(run).id)
    except UnknownNameError:
        return {}  # forgotten since
    return {step.key: own[step.id] for step in steps if step.id in own}
