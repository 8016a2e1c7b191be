"""What a database has of an experiment, as columns for its report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from motet.batch import Array
from motet.planning.experiments.experiment import Experiment
from motet.planning.experiments.exposures import Exposures
from motet.serving.experiments.database import Epoch, ExperimentDatabase, SeenRow, begun

__all__ = ["kept_exposures"]


def kept_exposures(
    database: ExperimentDatabase,
    experiment: Experiment,
    since: float = 0.0,
    most: int | None = None,
    *,
    every: bool = False,
    epochs: Sequence[Epoch] = (),
) -> Exposures:
    """The exposures of an experiment with their outcomes. Reads all of them: of a million rows that takes seconds.

    Args:
        database: where servers keep them.
        experiment: which one.
        since: exposures from then on, in seconds since 1970.
        most: only the last so many of them; None for all.
        every: also those of the experiment as it was declared before.
        epochs: how it was declared since then, where that was looked up; tells which are meant of those that say nothing of it.
    """
    places = {arm: place for place, arm in enumerate(experiment.arms)}
    segments = experiment.metric.segments
    epoch = None if every else experiment.epoch
    asked = experiment.graph, experiment.node, experiment.metric.name, since, most, epoch
    chunks = [_chunk(rows, places, segments) for rows in database.seen(*asked, begun(epochs, experiment.epoch))] or [
        _chunk((), places, segments)
    ]
    unit, arm, time, outcome, seconds, failed, *more = (np.concatenate(each) for each in zip(*chunks, strict=True))
    return Exposures(
        experiment.arms, unit, arm, time, outcome, seconds, failed, dict(zip(segments, more, strict=True))
    )  # fmt: skip


def _chunk(rows: Sequence[SeenRow], places: dict[str, int], segments: Sequence[str]) -> list[Array]:
    unit, arm, time, outcome, seconds, failed, said = zip(*rows, strict=True) if rows else ((),) * 7
    columns: list[Array] = [
        np.array([int(each, 16) for each in unit], dtype=np.uint64),
        np.array([places.get(each, -1) for each in arm], dtype=np.int64),
        np.array(time, dtype=np.float64),
        np.array(outcome, dtype=np.float64),
        np.array(seconds, dtype=np.float64),
        np.array(failed, dtype=bool),
    ]
    if segments:
        read: list[dict[str, Any]] = [{} if each is None else _mapping(each) for each in said]
        columns += [_objects([row.get(name) for row in read]) for name in segments]
    return columns


def _mapping(said: Any) -> dict[str, Any]:
    found = said if isinstance(said, dict) else json.loads(said)
    return found if isinstance(found, dict) else {}


def _objects(values: Sequence[Any]) -> Array:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made
