"""Feedback: what became of answers, taken row by row; what is refused is said, and counted."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from motet.errors import InputError, OverloadedError, RequestError, TooLargeError
from motet.planning.experiments.experiment import Experiment
from motet.serving.experiments.answer_ids import AnswerId, BadIdError, IdSigner
from motet.serving.experiments.tables import Outcome, exposure_id

__all__ = ["REASONS", "Feedback", "FeedbackRefusedError", "FeedbackResult", "rows_of"]

REASONS = ("malformed", "forged", "other_graph", "late", "no_experiment", "unknown_metric", "bad_value")
"""Why a row may be refused: no id and outcome; an id of nobody here; one of another graph; after the window; of what is no
experiment any more; an outcome of a metric that it does not have; a value that is none."""
IN_THREAD_ROWS = 32
"""More rows than this are read in a thread."""
UNDER_WAY = 64
"""Requests of feedback that may be under way at the same time in a process."""
CLOCKS_S = 300.0
"""By how much the clock of the machine that has answered may be before this one's."""
Keep = Callable[[Sequence[Outcome]], Awaitable[bool]]


class FeedbackRefusedError(RequestError):
    """The only row of a request was refused."""

    status = 422


class _Refused(Exception):
    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


@dataclass(slots=True)
class FeedbackResult:
    """What became of the rows of a request.

    Attributes:
        accepted: how many were taken.
        refused: the others: `row`, `reason` (one of `REASONS`), `error`.
    """

    accepted: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)


class Feedback:
    """Takes outcomes. All is for the thread of the event loop.

    Args:
        signer: reads ids.
        window_s: how long after its answer feedback is taken.
        keep: writes outcomes; gives whether they are safe.

    Attributes:
        refused: how many rows were, by graph and reason.
        taken: how many outcomes were, by graph, node and arm.
    """

    def __init__(self, signer: IdSigner, window_s: float, keep: Keep) -> None:
        self._signer, self._window_s, self._keep = signer, window_s, keep
        self._under_way = 0
        self.refused: Counter[tuple[str, str]] = Counter()
        self.taken: Counter[tuple[str, str, str]] = Counter()

    async def take(
        self, graph: str, rows: Sequence[object], experiments: Sequence[Experiment], max_rows: int
    ) -> FeedbackResult:
        """Take the rows of a request; when this returns, what was accepted is on disk.

        Args:
            graph: that answered.
            rows: each `{"id": ..., "outcome": ...}`.
            experiments: of the graph.
            max_rows: how many a request may have.

        Raises:
            TooLargeError: when there are more.
            OverloadedError: when too much feedback is under way, or it cannot be kept now.
        """
        if len(rows) > max_rows:
            raise TooLargeError(f"{len(rows)} rows of feedback; at most {max_rows} a request", hint="send several")
        if self._under_way >= UNDER_WAY:
            raise OverloadedError("too much feedback is under way", retry_after_s=1)
        self._under_way += 1
        try:
            read = self._read
            given = graph, rows, {each.node: each for each in experiments}
            result, outcomes = await asyncio.to_thread(read, *given) if len(rows) > IN_THREAD_ROWS else read(*given)
            if outcomes and not await self._keep(outcomes):
                raise OverloadedError("feedback cannot be kept now", retry_after_s=1)
        finally:
            self._under_way -= 1
        self.refused.update((graph, each["reason"]) for each in result.refused)
        self.taken.update((graph, each.node, each.arm) for each in outcomes)
        return result

    def _read(
        self, graph: str, rows: Sequence[object], experiments: Mapping[str, Experiment]
    ) -> tuple[FeedbackResult, list[Outcome]]:
        result, outcomes, now = FeedbackResult(), list[Outcome](), time.time()
        for place, row in enumerate(rows):
            try:
                outcomes += self._row(graph, row, experiments, now)
                result.accepted += 1
            except _Refused as refused:
                result.refused.append({"row": place, "reason": refused.reason, "error": str(refused)})
        return result, outcomes

    def _row(self, graph: str, row: object, experiments: Mapping[str, Experiment], now: float) -> list[Outcome]:
        if not isinstance(row, dict) or set(row) != {"id", "outcome"} or not isinstance(row["id"], str):
            raise _Refused("malformed", 'expected {"id": ID, "outcome": VALUE}')
        try:
            answer = self._signer.read(row["id"])
        except BadIdError as error:
            raise _Refused("forged", str(error)) from None
        if answer.graph != graph:
            raise _Refused("other_graph", f"the id is of an answer of graph {answer.graph!r}")
        age_s = now - answer.time_ms / 1000
        if not -CLOCKS_S <= age_s <= self._window_s:
            raise _Refused("late", f"the answer is {age_s:.0f} s old; feedback is taken for {self._window_s:.0f} s")
        found = list(_outcomes(answer, row["outcome"], experiments, now))
        if not found:
            raise _Refused("no_experiment", "the arms that the row met are compared no more")
        return found


def _outcomes(
    answer: AnswerId, outcome: object, experiments: Mapping[str, Experiment], now: float
) -> Iterator[Outcome]:
    """What an outcome says of each experiment that a row was in."""
    met = [each for each in answer.met if each.node in experiments and each.arm in experiments[each.node].arms]
    metrics = {experiments[each.node].metric.name for each in met}
    if not isinstance(outcome, dict):
        if len(metrics) > 1:
            names = ", ".join(sorted(metrics))
            raise _Refused("malformed", f"the row was in experiments of {names}: name the metric")
        outcome = dict.fromkeys(metrics, outcome)
    elif not outcome:
        raise _Refused("malformed", "the outcome names no metric")
    for name in outcome:
        if met and name not in metrics:
            raise _Refused("unknown_metric", f"{name!r} is no metric of it; known: {', '.join(sorted(metrics))}")
    for each in met:
        metric = experiments[each.node].metric
        if metric.name in outcome:
            value = _value(outcome[metric.name], metric.name, metric.kind)
            exposure = exposure_id(answer, each)
            exposed = answer.time_ms / 1000
            name = f"{exposure}:{metric.name}"
            yield Outcome(name, exposure, now, answer.graph, *each, exposed, metric.name, value)


def _value(value: object, name: str, kind: str) -> float:
    if isinstance(value, (bool, int, float)):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and (kind != "rate" or 0 <= number <= 1):
            return number
    expected = "true or false, or a number from 0 to 1" if kind == "rate" else "a finite number"
    raise _Refused("bad_value", f"{name} must be {expected}")


def rows_of(body: object) -> tuple[list[object], bool]:
    """The rows of a body of JSON, and whether it was one alone.

    Raises:
        InputError: when it holds no feedback.
    """
    if isinstance(body, list):
        return body, False
    if isinstance(body, dict) and set(body) == {"rows"} and isinstance(body["rows"], list):
        return body["rows"], False
    if isinstance(body, dict):
        return [body], True
    raise InputError("no feedback", hint='send {"id": ID, "outcome": VALUE}, or a list of them')
