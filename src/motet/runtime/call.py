"""Calling a graph: arrays in, arrays out; and explaining one row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from motet.batch import Batch, Column, Ragged, take_rows
from motet.errors import Failure, InputError, RowErrors
from motet.nodes.owned import apart
from motet.runtime.executor import Call, Executor, Played, drive, joined
from motet.runtime.explanation import Explanation
from motet.system.limits import num_cores
from motet.threads import side_by_side
from motet.tracebacks import keeping

__all__ = ["answer", "check_failures", "explain", "play"]

BATCH_ROWS = 2048
"""Rows that are played together."""


def answer(executor: Executor, batch: Batch, bad: Sequence[Failure], failures: str = "raise") -> Any:
    """Play a batch through a graph.

    Args:
        executor: plays the graph.
        batch: the rows that fit.
        bad: why the others do not.
        failures: `raise`, or `return` to get the failures beside the answers.

    Returns:
        Arrays by the names of the outputs, whose first axis is the row (lists of arrays where rows differ in shape). They are
        the caller's: none shares memory with an input or another output, and all can be written. With `return`, these for the
        rows that were answered, and the failures.

    Raises:
        RowErrors: when rows failed; carries the answers of the others.
    """
    check_failures(failures)
    with keeping() if failures == "raise" else nullcontext():
        played = play(executor, batch)
    every = sorted([*bad, *played.failures], key=lambda failure: failure.row)
    own = apart(played.outputs.columns, batch.columns.values())
    answers = {name: plain(column) for name, column in own.items()}
    if failures == "return":
        return answers, every
    if every:
        raised = played.exceptions
        raise RowErrors(every, answers, played.outputs.ids.tolist(), raised) from raised.get(min(raised, default=-1))
    return answers


def check_failures(failures: str) -> None:
    """See that what is to become of failures is a known word.

    Raises:
        InputError: when it is not.
    """
    if failures not in ("raise", "return"):
        raise InputError(f"failures must be 'raise' or 'return'; got {failures!r}")


def play(executor: Executor, batch: Batch) -> Played:
    """Batches of a bounded number of rows, on all cores where there are several."""
    if len(batch) <= BATCH_ROWS:
        return drive(executor.play(batch)) if len(batch) else executor.nothing([])
    spans = [slice(start, start + BATCH_ROWS) for start in range(0, len(batch), BATCH_ROWS)]

    def play_span(span: slice) -> Played:
        part = {name: take_rows(column, span) for name, column in batch.columns.items()}
        return drive(executor.play(Batch.of(part, batch.ids[span])))

    cores = num_cores()
    return joined(side_by_side(play_span, spans, cores, most=cores))


def plain(column: Column) -> Any:
    """A column as users get it: an array, or a list of arrays where rows differ in shape."""
    return column.rows() if isinstance(column, Ragged) else column


def explain(executor: Executor, batch: Batch) -> Explanation:
    """Play a batch of one row, keeping everything."""
    tracing = executor.looking_on()
    trace: list[Call] = []
    columns: dict[str, Column] = {}
    if not tracing.paid:
        drive(tracing.play(batch))  # the first call of a model is not like the others: it warms caches
    played = drive(tracing.play(batch, trace, columns))
    first = {name: column[0] for name, column in columns.items() if len(column)}
    outputs = {name: column[0] for name, column in played.outputs.columns.items() if len(column)}
    return Explanation(int(batch.ids[0]), outputs, trace, first, played.failures)
