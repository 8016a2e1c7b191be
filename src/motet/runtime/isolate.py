"""Finding the rows at fault: a batch that fails is halved until they stand alone."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from motet.errors import (
    GraphError,
    MissingExtraError,
    ModelFailedError,
    ModelLoadError,
    MotetError,
    RequestError,
)
from motet.graph.node import Fault
from motet.runtime.deadline import Halted
from motet.tracebacks import describe, ends_program, said, users_place

__all__ = ["CallHealth", "Tolerance", "is_of_rows", "is_of_service", "isolate", "out_of_memory"]

T = TypeVar("T")

ALONE = 16
"""How many rows must have failed alone, and none succeeded, before a model is said to fail on everything."""
OFTEN = 3
"""How many times in a row calls of more rows must have failed through no row's fault, before it is the number's."""
SPREAD = 8
"""Rows from elsewhere that are tried before that."""
_OF_SERVICE = (401, 402, 403, 408, 425, 429)
_LOST_CALLS = {"ConnectionError", "TimeoutError", "Timeout", "TimeoutException", "TransportError", "URLError"}
"""Classes of errors of what asks over the network: Python's own, and those of requests, httpx and urllib."""
_LOG = logging.getLogger("motet.runtime")
_ENDING = (ModelLoadError, MissingExtraError, Halted)


def is_of_rows(error: BaseException) -> bool:
    """Whether rows may be at fault for an error: for all that users' code can raise, but not for signals and bad graphs."""
    if isinstance(error, (GraphError, ModelFailedError)):
        return bool(users_place(error))  # raised by, or under, users' code, such as a graph that it called
    return not isinstance(error, _ENDING) and not ends_program(error)


class Tolerance:
    """What a bulk run does about a model or function that has failed on all its rows so far; all that it calls share one.

    Args:
        unlimited: whether the run was told to go on: then nothing that rows raise ends it.

    Attributes:
        lost: what failed on all its rows so far, by the error that says so, for as long as somebody has that.
    """

    def __init__(self, *, unlimited: bool = False) -> None:
        self.unlimited, self._trying = unlimited, 0
        self.lost: WeakKeyDictionary[ModelFailedError, CallHealth] = WeakKeyDictionary()

    @property
    def ends(self) -> bool:
        """Whether one that has failed on all rows so far ends the run."""
        return not (self.unlimited or self._trying)

    @contextmanager
    def trying(self) -> Iterator[None]:
        """While rows of elsewhere are tried nothing ends the run."""
        self._trying += 1
        try:
            yield
        finally:
            self._trying -= 1


@dataclass
class CallHealth:
    """What a model or function has done so far: whether any row succeeded, and how many failed alone before that.

    Attributes:
        name: the model or function.
        succeeded: whether any row has.
        failed_alone: rows that failed before that.
        looked: whether it has failed on rows from all over its run, which goes on without it.
        run: the bulk run that all rows belong to. None where they do not belong together: then few rows are never said to
            be all that there is, for what one caller's failed on says nothing of the next one's.
        too_many: the fewest rows that were too many for a call when that was last seen, 0 at first.
        too_often: how many times in a row it was that number.
        paid: whether calls cost money, so that none is made only to see whether other rows are answered.
    """

    name: str
    succeeded: bool = False
    failed_alone: int = 0
    looked: bool = False
    run: Tolerance | None = None
    too_many: int = 0
    too_often: int = 0
    paid: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def failed(self, error: BaseException, rows: int, others_succeed: Callable[[], bool], count: int = 1) -> None:
        """Count a row that failed alone.

        Args:
            error: what it raised.
            rows: how many it was called with at first.
            count: how many rows there are that failed by no fault of theirs.
            others_succeed: tries some rows from elsewhere; asked before all is said to be lost, and not again.

        Raises:
            ModelFailedError: when nothing has ever succeeded and enough rows have failed.
        """
        with self.lock:
            self.failed_alone += count
            several = self.run is not None or (rows >= SPREAD and not self.paid)
            hopeless = not self.succeeded and self.failed_alone >= ALONE and several
        if not hopeless or (self.run is not None and not self.run.ends):
            return
        if not self.paid and others_succeed():
            self.succeeded = True
        else:
            hint = "mend the model or what it is given; try one row with motet explain"
            if self.run is not None:
                hint += "; --max-failures 100% goes on whatever fails (goes_on=True in a pipeline)"
            lost = ModelFailedError(
                f"{self.name} failed on each of the {self.failed_alone} rows it was tried on, alone and together; "
                f"the last error was {type(error).__name__}: {describe(error)}",
                hint=hint,
            )
            if self.run is not None:
                self.run.lost[lost], lost.looked = self, self.looked
            raise lost from error

    def number_at_fault(self, failed: Sequence[int], answered: Sequence[int]) -> bool:
        """Whether it is the number of rows that calls fail for: learned from several batches in which no row was at fault.

        Args:
            failed: how many rows the calls had that failed, though all of their rows were answered when they were halved.
            answered: how many rows those had that were answered.
        """
        if len(failed) < OFTEN or max(answered, default=0) >= min(failed):
            return False  # once may be chance; or as many were answered as well
        with self.lock:
            self.too_often = self.too_often + 1 if self.too_many == min(failed) else 1
            self.too_many = min(failed)
            if self.too_often != OFTEN:
                return False
        most = max(answered, default=1)
        _LOG.warning(
            "%s answers calls of %s, and of no more; say batch: {max_rows: %d}, or export it for any number of rows",
            self.name, "1 row" if most == 1 else f"{most} rows", most,
        )  # fmt: skip
        return True


def isolate(
    run: Callable[[int, int], T],
    rows: int,
    health: CallHealth,
    *,
    model: str = "",
    version: str = "",
    too_big: Callable[[int], None] | None = None,
    known: BaseException | None = None,
    others_succeed: Callable[[], bool] | None = None,
) -> tuple[list[tuple[int, int, T]], list[Fault]]:
    """Run a function of the rows `first` to `end`; where it raises, halve them.

    Args:
        run: answers a stretch of rows.
        rows: how many rows there are.
        health: of what is run; ends a hopeless one.
        model: named in faults; the health's name when empty.
        version: named in faults.
        known: what all rows together have raised already, so that they need not be tried again.
        others_succeed: tries some rows from elsewhere before all is said to be lost; None tries some of these rows.
        too_big: told how many rows were too many for a call: they did not fit into memory, or failed again and again, and
            were answered when they were halved.

    Returns:
        (first, end, result) for each stretch that was answered, in order, and a fault for each row that was not.

    Raises:
        ModelFailedError: when everything fails.
        GraphError, ModelLoadError, MissingExtraError: as raised; no row is at fault for those.
    """
    segments: list[tuple[int, int, T]] = []
    faults: list[Fault] = []
    halves = _Halves(rows)
    failed: list[tuple[int, int]] = []
    out_of_room: list[tuple[int, int]] = []
    while halves.left:
        first, end = halves.next()
        try:
            if known is not None:
                raised, known = known, None
                raise raised
            segments.append((first, end, run(first, end)))
            health.succeeded = True
            halves.answered()
        except BaseException as error:  # (models and users' functions may raise anything)
            if not is_of_rows(error):
                raise
            too_large = out_of_memory(error)
            (out_of_room if too_large else failed).append((first, end))
            if end - first == 1 or (health.paid and is_of_service(error)):
                health.failed(error, rows, others_succeed or partial(any_succeeds, run, rows), end - first)
                faults += [Fault.of(row, error, model or health.name, version) for row in range(first, end)]
            else:
                halves.failed(of_rows=not too_large)
    if too_big is not None and (halved := _without_faults(out_of_room, faults)):
        too_big(min(halved))
    elif too_big is not None and not faults:
        answered = [end - first for first, end, _ in segments]
        if health.number_at_fault(_without_faults(failed, faults), answered):
            too_big(health.too_many)
    return segments, faults


class _Halves:
    """Which stretches of rows are to be asked for next: halves of those that failed, the first one first.

    Where the first half of what failed is answered, the row at fault is in the second, which need not be asked for as a whole: its
    halves are. That is not so where the number of rows was at fault, or nothing is any more; a lone row that is answered
    shows it, and then all are asked for.
    """

    def __init__(self, rows: int) -> None:
        self.left = [(0, rows, False)] if rows else []
        self._at, self._told, self._trusts = (0, 0, False), False, True

    def next(self) -> tuple[int, int]:
        """The next stretch."""
        self._at = self.left.pop()
        return self._at[:2]

    def failed(self, *, of_rows: bool) -> None:
        """It raised; `of_rows` says whether one of its rows may be why."""
        first, end, _ = self._at
        middle = (first + end) // 2
        self.left += [(middle, end, False), (first, middle, of_rows)]
        self._told = False

    def answered(self) -> None:
        """It was answered: where the other half of what failed is behind it, that one has the row at fault."""
        if self._told and self._at[1] - self._at[0] == 1 and not self._at[2]:
            self._trusts = False
        if not (self._at[2] and self._trusts):
            self._told = False
            return
        self._told = True
        first, end, _ = self.left[-1]
        if end - first > 1:
            middle = (first + end) // 2
            self.left[-1:] = [(middle, end, False), (first, middle, True)]


def is_of_service(error: BaseException) -> bool:
    """Whether an error says that a service failed, and nothing of the rows: it is not there, too busy, wants another key, or broke."""
    if isinstance(error, MotetError):
        return error.retryable or (isinstance(error, RequestError) and error.status >= 500)
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    status = status or getattr(error, "code", None)
    if type(status) is int and 400 <= status < 600:
        return status >= 500 or status in _OF_SERVICE
    return not _LOST_CALLS.isdisjoint(each.__name__ for each in type(error).__mro__)


def any_succeeds(run: Callable[[int, int], object], rows: int) -> bool:
    """Whether any of a few rows, spread over all of them, is answered alone.

    Args:
        run: answers a stretch of rows.
        rows: how many rows there are.
    """
    for place in dict.fromkeys(round(step * (rows - 1) / (SPREAD - 1)) for step in range(SPREAD)):
        try:
            run(place, place + 1)
        except BaseException as error:  # (that it fails is the answer)
            if not is_of_rows(error):
                raise
            continue
        return True
    return False


def _without_faults(stretches: list[tuple[int, int]], faults: list[Fault]) -> list[int]:
    """How many rows the stretches have whose rows were all answered in the end: their number was at fault, and no row."""
    positions = [fault.position for fault in faults]
    return [end - first for first, end in stretches if not any(first <= place < end for place in positions)]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the machine or on an accelerator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return (
        isinstance(error, RuntimeError)
        and re.search(r"out of memory|failed to allocate|bad_alloc", said(error), re.IGNORECASE) is not None
    )
