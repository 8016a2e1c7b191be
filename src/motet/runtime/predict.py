"""Rows in, rows out: what `/predict` of a server does, without one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.batch import Batch
from motet.errors import Failure, InputError, RowErrors
from motet.graph.fields import show
from motet.runtime.call import play
from motet.runtime.executor import Executor, Played
from motet.runtime.rows import JsonRows, read_rows, rows_of
from motet.tracebacks import keeping

__all__ = ["answered", "answered_rows", "finite", "predict"]


def predict(executor: Executor, rows: Any) -> Any:
    """Play rows; see `Graph.predict`."""
    if isinstance(rows, Mapping):
        with keeping():
            (answer,), failures, raised = answered_rows(executor, [rows])
        if failures:
            raise RowErrors(failures, {}, [], raised) from raised.get(0)
        return finite(answer)
    if isinstance(rows, (str, bytes)) or not hasattr(rows, "__iter__"):
        raise InputError(f"rows are mappings of inputs by name; got {show(rows)}", hint="graph(columns) takes columns")
    return [finite(answer) for answer in answered_rows(executor, list(rows))[0]]


def answered_rows(
    executor: Executor, rows: list[Any]
) -> tuple[list[dict[str, Any]], list[Failure], Mapping[int, BaseException]]:
    """The answer of each row, its outputs as JSON has them (NaN and infinities are floats) or `error`; the failures; and what
    was raised for them, where that is kept.
    """
    given = read_rows([dict(row) if isinstance(row, Mapping) else row for row in rows], executor.checked, len(rows))
    played = play(executor, Batch.of(dict(given.columns), np.asarray(given.places, dtype=np.int64)))
    return answered(played, given)


def answered(
    played: Played, given: JsonRows
) -> tuple[list[dict[str, Any]], list[Failure], Mapping[int, BaseException]]:
    """What `answered_rows` gives of rows that were played, whose ids are their places among those that came."""
    failures = [Failure(row, "input", "", "", "InputError", message) for row, message in given.bad.items()]
    rows = range(given.total)
    unwritten: dict[int, str] = {}
    listed = rows_of(played.outputs.columns, 0, len(played.outputs), unwritten)
    answers: list[dict[str, Any]] = [{} for _ in rows]
    unread = dict(given.bad)
    for place, (row, outputs) in enumerate(zip(played.outputs.ids.tolist(), listed, strict=True)):
        answers[row] = outputs
        if place in unwritten:
            unread[row] = unwritten[place]
            failures.append(Failure(row, "output", "", "", "InputError", unwritten[place]))
    failures = sorted([*failures, *played.failures], key=lambda failure: failure.row)
    for failure in failures:
        answers[failure.row] = {"error": unread.get(failure.row) or str(failure).partition(": ")[2]}
    return answers, failures, played.exceptions


def finite(value: Any) -> Any:
    """A value of JSON, None for the numbers that it lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list) else value
