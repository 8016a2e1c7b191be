"""Evaluate: one pass over labelled rows, and what the graph and each of its members are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypedDict

import numpy as np

from motet.batch import Indices
from motet.errors import GraphError, InputError, UnknownNameError
from motet.graph.check import CheckedGraph, check
from motet.nodes.ensemble import Ensemble
from motet.planning.classes import AnswerReader, reader_of
from motet.planning.drift.evidence import DriftOfEvidence
from motet.planning.evaluation import Agreement, Evaluation, Segment, Standing
from motet.planning.labelled import LabelledRows
from motet.planning.metrics import METRICS, QualityMetric, confusion, metric_named
from motet.planning.parts import column_named, output_named, replay_parts, score_columns
from motet.planning.recording import Recorder, Recording
from motet.planning.replay import Replayed, Replayer, alone
from motet.planning.standings import Assessor, Marked
from motet.runtime.resolve import ModelResolver

__all__ = ["EvaluateOptions", "Evidence", "evaluate", "gather"]

MOST_SEGMENTS = 50


class EvaluateOptions(TypedDict, total=False):
    """What `Graph.evaluate` and `Graph.tune` take beside a source and its label."""

    metric: str | Sequence[str] | None
    of: str | None
    by: str | None
    by_unit: str | None
    prices: Mapping[str, float] | None
    limit: int | None
    reading: Mapping[str, Any] | None
    reference: str | None


@dataclass(frozen=True)
class Evidence:
    """What was seen in a pass over labelled rows.

    Attributes:
        recording: every member's answers.
        replayer: plays them again.
        assessor: compares answers with labels.
        rows: the source, and the columns that were read beside inputs.
        base: what the graph itself came to.
        costs: by node and member what a row costs it.
        fixed_cost: what each row costs besides.
        priced: whether costs are prices.
    """

    recording: Recording
    replayer: Replayer
    assessor: Assessor
    rows: LabelledRows
    base: Replayed
    costs: Mapping[str, Mapping[str, float]]
    fixed_cost: float
    priced: bool

    @property
    def reader(self) -> AnswerReader:
        """Makes of answers what metrics take."""
        return self.assessor.reader

    def mark(self, played: Replayed) -> Marked:
        """Put what a setting came to beside the labels."""
        return self.assessor.mark(self.reader.read(played.outputs.columns, played.outputs.ids))

    def cost(self, played: Replayed) -> float:
        """What a row costs with a setting."""
        rows = len(played.outputs) + len(played.failures)
        spent = (n * self.costs[node][member] for node, each in played.asked.items() for member, n in each.items())
        return self.fixed_cost + sum(spent) / max(1, rows)


def gather(
    checked: CheckedGraph,
    resolver: ModelResolver,
    source: Any,
    label: str,
    *,
    metric: str | Sequence[str] | None = None,
    of: str | None = None,
    by: str | None = None,
    by_unit: str | None = None,
    prices: Mapping[str, float] | None = None,
    limit: int | None = None,
    reading: Mapping[str, Any] | None = None,
    reference: str | None = None,
) -> Evidence:
    """Play labelled rows once, every member on each of them; arguments are those of `evaluate`."""
    own = checked
    checked = _with_shadows(checked, resolver)
    column = column_named(checked, output_named(checked, of, label), "of")
    candidates = score_columns(checked, column)
    names = [label] if by_unit is None else [label, by_unit]
    asked = [metric_named(each) for each in ([metric] if isinstance(metric, str) else metric or ())]
    rows = LabelledRows.open(checked, source, names, [by] if by else [], limit, reading or {})
    told = (
        [column_named(checked, by, f"by, which is no column of {rows.description}")]
        if by and by not in rows.columns
        else []
    )
    spread = None if reference is None else DriftOfEvidence(own, rows.description)
    also = [] if spread is None else spread.outputs
    parts = replay_parts(checked, list(dict.fromkeys([column, *candidates, *told, *also])))
    with Recorder(checked, parts, resolver) as recorder:
        for batch, failures, count in rows.batches():
            recorder.add(batch, failures, count)
            if spread is not None:
                spread.add(batch)
    recording = recorder.finish()
    replayer = Replayer(recording, resolver)
    base = replayer.play(_base(recording))
    if spread is not None and reference is not None:
        spread.finish(recording, base).write(reference)
    kind = checked.columns[column]
    wants = {each.takes for each in asked}
    classes = True if wants & {"classes", "scores"} else False if "numbers" in wants else None
    reader = reader_of(
        column, kind, base.outputs.columns, candidates, rows.columns[label], base.outputs.ids, label, classes=classes
    )
    metrics = _metrics(asked, reader)
    units = (
        None if by_unit is None else np.unique([str(each) for each in rows.columns[by_unit]], return_inverse=True)[1]
    )
    assessor = Assessor(reader, rows.columns[label], metrics, units)
    costs, fixed = _costs(recording, base, prices)
    return Evidence(recording, replayer, assessor, rows, base, costs, fixed, prices is not None)


def evaluate(checked: CheckedGraph, resolver: ModelResolver, source: Any, label: str, **options: Any) -> Evaluation:
    """Evaluate a graph on labelled rows.

    Args:
        checked: the graph.
        resolver: finds its models.
        source: what `motet.io.open_source` takes.
        label: the column of the right answers: names of classes, their places, or numbers.
        options: `metric`, names or `package.function`, the first of which members are compared by; `of`, the output, or
            another column, that is compared with labels; `by`, a column whose values are segments; `by_unit`, a column whose
            values are drawn whole for intervals; `prices`, what a row costs by member or model; `limit`, rows that are read;
            `reading`, how the source is read; `reference`, a file to write that drift is seen by.

    Raises:
        InputError: when labels and answers cannot be compared, or there are none.
        UnknownNameError: when a column, output or metric does not exist.
    """
    seen = gather(checked, resolver, source, label, **options)
    try:
        return _evaluation(seen, checked, label, options)
    finally:
        seen.replayer.close()


def _evaluation(seen: Evidence, checked: CheckedGraph, label: str, options: Mapping[str, Any]) -> Evaluation:
    graph = Standing(checked.graph.name, cost=seen.cost(seen.base))
    marked, standings = [seen.mark(seen.base)], [graph]
    silent: list[Standing] = []
    for standing, each in _members(seen):
        if each is None:
            silent.append(standing)
        else:
            standings.append(standing)
            marked.append(each)
    total = len(seen.assessor.labelled)
    measured = seen.assessor.measure(marked)
    done = [
        replace(
            standing, answered=each.answered, failed=total - each.answered, metrics=metrics,
            difference=less if place else None, calibration=seen.assessor.calibration(each),
        )
        for place, (standing, each, (metrics, less)) in enumerate(zip(standings, marked, measured, strict=True))
    ]  # fmt: skip
    reader, by = seen.reader, options.get("by")
    segments, num_values = _segments(seen, done, marked, by) if by else ([], 0)
    notes = [*_notes(seen)]
    if num_values > len(segments):
        notes.append(f"of the {num_values:,} values of {by!r} the {len(segments)} most frequent are shown")
    failed = Counter(
        f"{each.node}{f' in {each.model}' if each.model else ''}: {each.error}: {each.message[:200]}"
        for each in (*seen.recording.failures, *seen.base.failures)
    )
    return Evaluation(
        checked.graph.name, seen.rows.description, label, reader.of, seen.recording.num_rows,
        seen.recording.num_rows - total, dict(failed.most_common(20)), (*done, *silent), reader.names,
        _confusion(seen, marked[0]), list(_agreement(seen, done[1:], marked[1:])), by,
        segments, seen.priced, options.get("by_unit"), tuple(notes),
    )  # fmt: skip


def _members(seen: Evidence) -> Iterator[tuple[Standing, Marked | None]]:
    """Each member, and its answers; None where it cannot answer alone."""
    parts, recording = seen.recording.parts, seen.recording
    several = len(parts.kept) > 1
    base = _base(recording)
    for node in parts.kept:
        for member in parts.kept[node].members:
            said = recording.answers[node][member.name]
            name = f"{node}.{member.name}" if several else member.name
            share = seen.base.asked[node].get(member.name, 0) / max(1, len(recording.ids))
            cost = seen.costs[node].get(member.name)
            standing = Standing(name, node, member.uses, said.version, cost=cost, asked=share)
            single = alone(parts.kept[node], member.name)
            if single is None:
                yield replace(standing, note=f"{node!r} combines members by a function, so none answers alone"), None
                continue
            yield standing, seen.mark(seen.replayer.play({**base, node: single}))


def _confusion(seen: Evidence, graph: Marked) -> list[list[int]]:
    classes, names = graph.judged.classes, seen.reader.names
    if classes is None:
        return []
    there = graph.places >= 0
    truth = seen.reader.truth[seen.assessor.labelled][there]
    found: list[list[int]] = confusion(truth, classes[graph.places[there]], len(names)).tolist()
    return found


def _agreement(seen: Evidence, standings: Sequence[Standing], marked: Sequence[Marked]) -> Iterator[Agreement]:
    """Of members that answer classes, two by two, on rows that both answered."""
    truth = seen.reader.truth[seen.assessor.labelled]
    for (one, first), (other, second) in combinations(zip(standings, marked, strict=True), 2):
        both = (first.places >= 0) & (second.places >= 0)
        if first.judged.classes is None or second.judged.classes is None or not both.any():
            continue
        said, also = first.judged.classes[first.places[both]], second.judged.classes[second.places[both]]
        wrong = (said != truth[both]) & (also != truth[both])
        yield Agreement(one.name, other.name, float((said == also).mean()), float(wrong.mean()))


def _segments(
    seen: Evidence, standings: Sequence[Standing], marked: Sequence[Marked], by: str
) -> tuple[list[Segment], int]:
    """The most frequent values of a column, and how many there are."""
    assessor, metric = seen.assessor, seen.assessor.metrics[0]
    values = _values(seen, by)
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(assessor.labelled.tolist()):
        value = values.get(row)
        groups.setdefault("(missing)" if value is None else str(value), []).append(place)
    first = replace(assessor, metrics=[metric])
    found = list[Segment]()
    for value, places in sorted(groups.items(), key=lambda each: (-len(each[1]), each[0]))[:MOST_SEGMENTS]:
        rows: Indices = np.array(places)
        (metrics, _), *_ = first.measure(marked[:1], rows)
        members = {s.name: first.value(metric, m, rows) for s, m in zip(standings[1:], marked[1:], strict=True)}
        failed = int((marked[0].places[rows] < 0).sum())
        found.append(Segment(value, len(rows), failed, metrics[metric.name], members))
    return found, len(groups)


def _values(seen: Evidence, by: str) -> Mapping[int, Any]:
    """By row the value of a column of the source, or of the graph, where it was answered."""
    if by in seen.rows.columns:
        return dict(enumerate(seen.rows.columns[by]))
    column = seen.base.outputs.columns[column_named(seen.recording.checked, by, "by")]
    return dict(zip(seen.base.outputs.ids.tolist(), column, strict=True))


def _notes(seen: Evidence) -> Iterator[str]:
    behind = [name for name in seen.recording.parts.after if seen.recording.checked.graph.nodes[name].members]
    if behind:
        yield f"models of {', '.join(behind)} stand behind other members, and were called for each setting"
    if seen.recording.num_rows > len(seen.assessor.labelled):
        yield "rows without a label are in no number but that of all rows"


def _metrics(asked: Sequence[QualityMetric], reader: AnswerReader) -> list[QualityMetric]:
    """The metrics: those that were asked for, or those that fit."""
    if not asked:
        fitting = {"numbers": ["rmse", "mae"], "values": []}.get(reader.kind, ["accuracy", "f1"])
        if reader.kind in ("scores", "probability") or reader.scores is not None:
            fitting = [*fitting, "auc", "log_loss"]
        if not fitting:
            raise InputError(
                f"{reader.of!r} is neither classes nor numbers",
                where="metric",
                hint="name a function: package.function",
            )
        return [METRICS[name] for name in fitting]
    for each in asked:
        has_scores = reader.kind in ("scores", "probability") or reader.scores is not None
        has = {"classes": bool(reader.names), "scores": has_scores, "numbers": reader.kind == "numbers", "values": True}
        if not has[each.takes]:
            hint = (
                "name an output, or a column, of scores: --of"
                if each.takes == "scores"
                else "choose another output: --of"
            )
            raise InputError(
                f"{each.name} takes {each.takes}, which {reader.of!r} does not tell", where="metric", hint=hint
            )
    return list(asked)


def _with_shadows(checked: CheckedGraph, resolver: ModelResolver) -> CheckedGraph:
    """The graph checked as if members that do not count did, so that their classes are placed, too, where that changes no type."""
    nodes = {
        name: replace(node, weights=(1.0,) * len(node.players))
        for name, node in checked.graph.nodes.items()
        if isinstance(node, Ensemble) and 0 in node.weights and node.combine != "union"
    }
    if not nodes:
        return checked
    try:
        counted = check(checked.graph.changed(nodes={**checked.graph.nodes, **nodes}), resolver)
    except GraphError:
        return checked
    same = all(counted.columns[name] == kind for name, kind in checked.columns.items() if name in counted.columns)
    return replace(checked, places=counted.places) if same else checked


def _base(recording: Recording) -> dict[str, Any]:
    """The kept nodes as the graph has them."""
    return dict(recording.parts.kept)


def _costs(
    recording: Recording, base: Replayed, prices: Mapping[str, float] | None
) -> tuple[dict[str, dict[str, float]], float]:
    """By node and member what a row costs it; and what each row costs besides."""
    found: dict[str, dict[str, float]] = {}
    known = {
        name for answers in recording.answers.values() for said in answers.values() for name in (said.member, said.uses)
    }
    for name in prices or ():
        if name not in known:
            raise UnknownNameError("member or model", name, sorted(known), where="prices")
    for node, answers in recording.answers.items():
        found[node] = {}
        for member, said in answers.items():
            if prices is None:
                found[node][member] = said.seconds / max(1, said.asked)
                continue
            price = prices.get(member, prices.get(said.uses))
            if price is None:
                raise InputError(f"no price is given for {member!r}", where="prices", hint=f"--prices {member}=1")
            if not 0 <= price < float("inf"):
                raise InputError(f"the price of {member!r} must be a number from 0; got {price}", where="prices")
            found[node][member] = float(price)
    rows = max(1, recording.num_rows)
    fixed = 0.0 if prices is not None else (recording.seconds_before + base.seconds_after) / rows
    return found, fixed
