"""What is written of exposures and outcomes: a row each, in two tables of one database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from motet.serving.experiments.answer_ids import AnswerId, Met
from motet.serving.sinks.items import RecordsItem
from motet.serving.sinks.records import ID, JSON, Records

__all__ = ["EXPOSURES", "EXPOSURE_KINDS", "OUTCOMES", "OUTCOME_KINDS", "Exposure", "Outcome", "exposure_id", "item_of"]

EXPOSURES, OUTCOMES = "exposures", "outcomes"
EXPOSURE_KINDS = {
    ID: "string", "time": "float64", "graph": "string", "node": "string", "arm": "string", "unit": "string",
    "seconds": "float64", "failed": "bool", "segments": JSON, "epoch": "string",
}  # fmt: skip
OUTCOME_KINDS = {
    ID: "string", "exposure": "string", "time": "float64", "graph": "string", "node": "string", "arm": "string",
    "unit": "string", "exposed": "float64", "metric": "string", "value": "float64",
}  # fmt: skip
_ROW_BYTES = 300
"""What a row takes in memory, about."""


class Exposure(NamedTuple):
    """A row that met an arm; fields are the columns of the table.

    Attributes:
        id: `KEY:ROW:NODE`.
        time: when it was answered, in seconds since 1970.
        graph, node, arm: where.
        unit: hashes the split's key.
        seconds: that the arm took; None where it was not called, as for an answer that was kept.
        failed: whether the row was not answered.
        segments: values of the columns that the experiment tells units apart by; None for none.
        epoch: the experiment as it was declared then (`Experiment.epoch`); empty where nobody said.
    """

    id: str
    time: float
    graph: str
    node: str
    arm: str
    unit: str
    seconds: float | None
    failed: bool
    segments: dict[str, object] | None
    epoch: str = ""


class Outcome(NamedTuple):
    """What became of a row; fields are the columns of the table.

    Attributes:
        id: `KEY:ROW:NODE:METRIC`; a later one replaces it.
        exposure: the id of the exposure.
        time: when it was told.
        graph, node, arm, unit: of the exposure, which may not be written yet.
        exposed: when the row was answered.
        metric: what is measured.
        value: of it; 0 or 1 for a rate.
    """

    id: str
    exposure: str
    time: float
    graph: str
    node: str
    arm: str
    unit: str
    exposed: float
    metric: str
    value: float


def exposure_id(answer: AnswerId, met: Met) -> str:
    """Names an exposure."""
    return f"{answer.key}:{answer.row}:{met.node}"


def item_of(rows: Sequence[Exposure] | Sequence[Outcome]) -> RecordsItem:
    """What a sink takes of some rows of one kind, at least one."""
    outcomes = isinstance(rows[0], Outcome)
    table, kinds = (OUTCOMES, OUTCOME_KINDS) if outcomes else (EXPOSURES, EXPOSURE_KINDS)
    columns = dict(zip(kinds, zip(*rows, strict=True), strict=True))
    return RecordsItem(Records(table, kinds, columns, latest=outcomes), len(rows), _ROW_BYTES * len(rows))
