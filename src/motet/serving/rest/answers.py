"""What a request for rows is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motet.errors import Failure, MotetError
from motet.runtime.executor import Call
from motet.runtime.rows import JsonRows, rows_of
from motet.serving.batching.parameters import BY_ERROR, without_folders
from motet.serving.batching.request import Reply
from motet.serving.rest.explain import explained

__all__ = ["RowFailedError", "answer_of", "why"]


class RowFailedError(MotetError):
    """The only row of a request failed."""

    status = 422


def why(failure: Failure) -> str:
    """Why a row failed, without its number."""
    return without_folders(str(failure).partition(": ")[2])


def answer_of(
    rows: JsonRows, reply: Reply | None, calls: Sequence[Sequence[Call]] | None, *, single: bool
) -> dict[str, Any]:
    """The answer: an object a row, in order, its outputs or `error`; where one row was asked for, that object alone.

    Args:
        rows: those that came.
        reply: of those that were played; None where there were none.
        calls: for each row that was played its calls, to be explained; None for none.
        single: whether one row was asked for, not a list.

    Raises:
        RowFailedError, LateRowsError, BusyRowsError: when the only row failed.
    """
    answers: list[dict[str, Any]] = [{} for _ in range(rows.total)]
    for place, message in rows.bad.items():
        answers[place] = {"error": message}
    if reply is not None:
        for failure in reply.failures:
            if single:
                raise BY_ERROR.get(failure.error, RowFailedError)(why(failure))
            answers[rows.places[failure.row]] = {"error": why(failure)}
        kept = range(len(rows.places)) if reply.kept is None else reply.kept.tolist()
        unwritten: dict[int, str] = {}
        answered = rows_of(reply.columns, reply.first, reply.end, unwritten)
        for place, (row, outputs) in enumerate(zip(kept, answered, strict=True)):
            if single and unwritten:
                raise RowFailedError(unwritten[place])
            answers[rows.places[row]] = {"error": unwritten[place]} if place in unwritten else outputs
            if reply.feedback_ids and reply.feedback_ids[place] and place not in unwritten:
                answers[rows.places[row]]["feedback_id"] = reply.feedback_ids[place]
        for row, each in enumerate(calls or ()):
            answers[rows.places[row]]["explain"] = explained(reply, each)
    return answers[0] if single else {"rows": answers}
