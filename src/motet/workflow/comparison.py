"""Two runs side by side: parameters, steps, what changed in their code and inputs, results and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from motet.metrics_log import MetricSeries, in_json
from motet.workflow.memo.cache import Cache, home_folder
from motet.workflow.memo.key import Key, differences
from motet.workflow.record.metrics import RunMetrics, seen_run
from motet.workflow.record.runs import RunRecord, StepRow

__all__ = ["ComparedMetric", "ComparedStep", "RunComparison", "compare", "metrics"]

_UNKNOWN = "its code or what it takes has changed; what exactly is not known any more"


@dataclass(frozen=True, slots=True)
class ComparedStep:
    """A step of two runs.

    Attributes:
        id: the step.
        states: what became of it; empty where a run has no such step.
        seconds: how long it ran.
        sizes: bytes of its result.
        formats: formats of its result.
        digests: of its result; empty where that is not known, as of steps without `cache=`.
        changes: what differs in its code and what it took; empty where nothing does.
    """

    id: str
    states: tuple[str, str]
    seconds: tuple[float, float]
    sizes: tuple[int, int]
    formats: tuple[tuple[str, ...], tuple[str, ...]]
    digests: tuple[str, str]
    changes: tuple[str, ...]

    def line(self) -> tuple[str, str, str]:
        """What became of it in both, and whether the results are the same."""
        known = all(self.digests)
        same = known and self.digests[0] == self.digests[1]
        told = []
        for state, seconds, size, formats in zip(self.states, self.seconds, self.sizes, self.formats, strict=True):
            result = f", {' '.join([f'{size:,} B', *formats])}" if size else ""
            told.append(f"{state}, {seconds:.2f} s{result}" if state else None)
        second = f"{told[1]}, the same result" if same else told[1]
        return _marked(self.id, told[0], second, bool(self.changes) or not all(self.states) or (known and not same))


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """A metric of a step in two runs; None where a run has it not."""

    step: str
    name: str
    series: tuple[MetricSeries | None, MetricSeries | None]

    def line(self) -> tuple[str, str, str]:
        """The last value in both."""
        one, two = self.series
        return _marked(f"{self.step} {self.name}", one, two, _points(one) != _points(two))


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side. `str` of it is for people, `to_json` for programs.

    Attributes:
        runs: their ids.
        workflows: of which workflow each is.
        parameters: by name the values in both, in short; None where a run has it not.
        steps: the steps of both.
        metrics: the metrics of both.
    """

    runs: tuple[str, str]
    workflows: tuple[str, str]
    states: tuple[str, str]
    started: tuple[float, float]
    seconds: tuple[float, float]
    parameters: Mapping[str, tuple[str | None, str | None]]
    steps: Sequence[ComparedStep]
    metrics: Sequence[ComparedMetric]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it; NaN and infinity as the texts `NaN`, `Infinity` and `-Infinity`."""
        found: dict[str, Any] = in_json(asdict(self))
        return found

    def __str__(self) -> str:
        first: list[tuple[str, ...]] = [("run", *self.runs), ("workflow", *self.workflows), ("state", *self.states)]
        first.append(("took", *(f"{each:.2f} s" for each in self.seconds)))
        changed = [(each.id, change) for each in self.steps for change in each.changes]
        parts = [
            _columns(first),
            _columns(
                [_marked(name, *pair, pair[0] != pair[1]) for name, pair in self.parameters.items()], "parameters"
            ),
            _columns([each.line() for each in self.metrics], "metrics"),
            _columns([each.line() for each in self.steps], "steps"),
            _columns(changed, "changes"),
        ]
        return "\n\n".join(part for part in parts if part)


def compare(run: str, other: str) -> RunComparison:
    """Compare two runs of this machine.

    Args:
        run, other: their ids, the beginning of one, or `last`.

    Raises:
        UnknownNameError: when there is no such run.
    """
    (one, first, logged), (two, second, logged_too) = (seen_run(home_folder(), name) for name in (run, other))
    steps = [{each.id: each for each in own} for own in (first, second)]
    with closing(RunRecord.of(home_folder())) as record:
        keys = record.keys_of(one.id), record.keys_of(two.id)
    caches = Cache(Path(one.cache)), Cache(Path(two.cache))
    values, names = (json.loads(one.parameters), json.loads(two.parameters)), {**steps[0], **steps[1]}
    return RunComparison(
        (one.id, two.id),
        (one.workflow, two.workflow),
        (one.state, two.state),
        (one.started, two.started),
        (one.seconds, two.seconds),
        {name: (values[0].get(name), values[1].get(name)) for name in {**values[0], **values[1]}},
        [_step(name, (steps[0].get(name), steps[1].get(name)), caches, keys) for name in names],
        [*_metrics(logged, logged_too)],
    )


def metrics(run: str = "last") -> RunMetrics:
    """The metrics of a run of this machine, by step and by name; see `mt.log`.

    Args:
        run: its id, the beginning of it, or `last`.

    Raises:
        UnknownNameError: when there is no such run.
    """
    return seen_run(home_folder(), run)[2]


def _step(
    name: str,
    pair: tuple[StepRow | None, StepRow | None],
    caches: tuple[Cache, Cache],
    uncached: tuple[Mapping[str, Key], Mapping[str, Key]],
) -> ComparedStep:
    entries = [cache.peek(each.key) if each and each.key else None for each, cache in zip(pair, caches, strict=True)]
    then, now = (entry.key if entry else own.get(name) for entry, own in zip(entries, uncached, strict=True))
    changes: Sequence[str] = ()
    one, two = pair
    if one and two and one.key != two.key and one.key and two.key:
        codes = {key.code: cache.code(key.code) for key, cache in zip((then, now), caches, strict=True) if key}
        changes = differences(then, now, lambda digest: codes[digest]) if then and now else [_UNKNOWN]
    return ComparedStep(
        name,
        _pair(pair, "state", ""),
        _pair(pair, "seconds", 0.0),
        _pair(pair, "size_bytes", 0),
        _pair(pair, "formats", ()),
        (entries[0].kept.digest if entries[0] else "", entries[1].kept.digest if entries[1] else ""),
        tuple(changes),
    )


def _pair(pair: tuple[Any, Any], name: str, missing: Any) -> tuple[Any, Any]:
    return getattr(pair[0], name, missing), getattr(pair[1], name, missing)


def _metrics(one: RunMetrics, two: RunMetrics) -> Iterable[ComparedMetric]:
    for step in {**one, **two}:
        pair = one.get(step, {}), two.get(step, {})
        for name in {**pair[0], **pair[1]}:
            yield ComparedMetric(step, name, (pair[0].get(name), pair[1].get(name)))


def _points(series: MetricSeries | None) -> str:
    return "" if series is None else repr((series.numbers, series.values))  # NaN is NaN here


def _marked(name: str, one: Any, two: Any, differs: bool) -> tuple[str, str, str]:
    """A line of a table, with a star where the two differ."""
    told = ("-" if each is None else str(each) for each in (one, two))
    return (f"{'*' if differs else ' '} {name}", *told)  # type: ignore[return-value]  # a pair


def _columns(rows: Sequence[Sequence[str]], title: str = "") -> str:
    """Rows as columns of text."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = ["  ".join(f"{each:{width}}" for each, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join([title, *lines] if title and lines else lines)
