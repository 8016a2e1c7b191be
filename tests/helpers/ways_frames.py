"""Cases as data frames of Spark and data sets of Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import motet as mt
from helpers.engine_cases import Case, Outcome, Row
from helpers.ways import PLACE, SMALL, Graphs, placed, shaped, told

Answered = tuple[list[Row], list[Row], list[Row]]
"""Rows as they were given, answers, and failures."""


def on_spark(session: Any, cases: Sequence[Case], graphs: Graphs, folder: Path) -> dict[str, Outcome]:
    """By `Graph.on_spark`; of each case two partitions."""
    return _played(cases, graphs, partial(_on_spark, session, folder))


def _on_spark(session: Any, folder: Path, case: Case, graph: mt.Graph, rows: pa.Table) -> Answered:
    (folder / case.name).mkdir()
    half = len(rows) // 2
    for place, part in enumerate((rows.slice(0, half), rows.slice(half))):
        pq.write_table(part, folder / case.name / f"{place}.parquet", row_group_size=SMALL, coerce_timestamps="us")
    frame = session.read.parquet(str(folder / case.name))
    with graph.on_spark(frame, keep=[PLACE, *case.kept], batch_rows=SMALL) as played:
        answers, failures = (each.toArrow().to_pylist() for each in (played.answers, played.failures))
    return frame.toArrow().to_pylist() if case.kept else [], answers, failures


def on_ray(cases: Sequence[Case], graphs: Graphs) -> dict[str, Outcome]:
    """By `Graph.on_ray`; of each case two blocks."""
    return _played(cases, graphs, _on_ray)


def _on_ray(case: Case, graph: mt.Graph, rows: pa.Table) -> Answered:
    import ray.data

    half = len(rows) // 2
    given = ray.data.from_arrow([rows.slice(0, half), rows.slice(half)])
    played = graph.on_ray(given, keep=[PLACE, *case.kept], batch_rows=SMALL)
    answers, failures = (
        [row for table in ray.get(each.to_arrow_refs()) for row in table.to_pylist()]
        for each in (played.answers, played.failures)
    )
    return rows.to_pylist(), answers, failures


def _played(
    cases: Sequence[Case], graphs: Graphs, play: Callable[[Case, mt.Graph, pa.Table], Answered]
) -> dict[str, Outcome]:
    def outcome(case: Case) -> Outcome:
        try:
            return _outcome(case, graphs[case.name], *play(case, graphs[case.name], placed(case)))
        except Exception as error:  # noqa: BLE001 (of Spark or Ray, whose kinds are many)
            return Outcome(error=str(error))

    with ThreadPoolExecutor(4) as pool:
        return dict(zip([case.name for case in cases], pool.map(outcome, cases), strict=True))


def _outcome(case: Case, graph: mt.Graph, rows: list[Row], answers: list[Row], failures: list[Row]) -> Outcome:
    assert len(answers) + len(failures) == len(case.rows), f"{len(answers)} answers, {len(failures)} failures"
    return Outcome(
        {row[PLACE]: shaped({name: row[name] for name in graph.outputs}, graph) for row in answers},
        {failure["row"][PLACE]: told(failure) for failure in failures},
        {row[PLACE]: {name: row[name] for name in case.kept} for row in answers},
        given={row[PLACE]: row for row in rows},
    )
