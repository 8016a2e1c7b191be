"""A hosted model: puts rows together for its calls, hands them to its replicas, and finds the rows at fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from motet.batch import Array, Column, Indices, Ragged, column_type, empty_column, equal_shapes, is_exactly, take_rows
from motet.errors import GraphError, InputError
from motet.graph.check import outer_outputs
from motet.graph.function import chain_each
from motet.graph.model import Model, Replicas
from motet.graph.node import Answer, Fault
from motet.nodes.merge import faults_at, first_rows, kept_rows, merge
from motet.runtime.call_cost import call_cost
from motet.runtime.deadline import go_on, going_on
from motet.runtime.functions import FunctionRunner, chain
from motet.runtime.isolate import CallHealth, Tolerance, any_succeeds, is_of_rows, isolate
from motet.runtime.padding import Padding, groups
from motet.runtime.replicas.balancer import rendezvous
from motet.runtime.replicas.make import replica_set
from motet.runtime.resolve import ResolvedModel, is_elsewhere, is_paid, is_remote, model_key
from motet.runtime.signature import SignatureCheck, check_names
from motet.runtime.sizes import MOST, BatchSize, CallTime
from motet.runtime.stats import ModelStats
from motet.runtime.trial import Trials, try_sizes
from motet.runtime.widen import widened
from motet.threads import side_by_side
from motet.types import Signature

__all__ = ["ModelRuntime", "ModelStats"]

FEW_ROWS, WORTH_S = 1024, 0.5
"""Before it is known how many rows a call should have, so few rows are called together until calls have taken so many seconds;
with more it is looked for."""

PAID_ROWS = 256
"""Rows of a call of a paid model, where the graph says nothing: no call is made to find a better number."""


class ModelRuntime:
    """A loaded model: its replicas, the functions around it, and how many rows its calls have.

    Args:
        model: what the graph says of it.
        located: its handler and file.
        signature: what it takes and gives itself.
        size: how many rows a call has, where that is known.
        addresses: the servers that have it too, or alone, by URI.

    Attributes:
        size: how many rows a call has.
        cost: what rows cost, and which of them share a call; None where the graph does not say that it matters.
        paid: whether its calls cost money, so that none is made which need not be.
        signature_check: checks what it is given and gives.
        named: gives columns, in order or by name, by the names of the model's inputs.
        trials: what may be tried to find that before rows are answered, where the answers depend on it, as in a run that may
            be resumed; None learns it from the calls that are made. May be set.

    Raises:
        ModelLoadError: when it cannot be loaded.
    """

    def __init__(
        self,
        model: Model,
        located: ResolvedModel,
        signature: Signature,
        size: int | None,
        addresses: Mapping[str, ResolvedModel] | None = None,
    ) -> None:
        self.model, self.located, self.signature = model, located, signature
        self.stats = ModelStats()
        self.paid = is_paid(model, located)
        unsought = (model.batch.max_cost and MOST) or (self.paid and PAID_ROWS)
        said = signature.fixed_rows or model.batch.rows or (unsought and (model.batch.max_rows or unsought))
        self.size = BatchSize(said or size, said or model.batch.max_rows)
        self.cost = call_cost(model, signature, remote=is_remote(located))
        self.trials: Trials | None = None
        self._settling = threading.Lock()
        self.health = CallHealth(f"model {model.name!r}", paid=self.paid)
        self.outputs = outer_outputs(model, signature)
        self._before = [FunctionRunner(function, function.declared) for function in model.before]
        after = chain_each(model.after, list(signature.outputs.values()), f"after of {model.name!r}")
        self._after = [FunctionRunner(function, kinds) for function, kinds in zip(model.after, after, strict=True)]
        self._by = model.balance_by
        self._inputs = list(signature.inputs.items())
        self.signature_check = check = SignatureCheck(model.name, signature, located.version)
        self.named, self._check, self._answer = check.named, check.check, check.answer
        self._plain = not self._by and not signature.fixed_rows
        self._bare = not (self._before or self._after or self.cost)
        pad = model.batch.pad
        self._padding = None if pad is None else Padding(pad, signature, model.name)
        self.replicas = replica_set(model, located, addresses or {}, signature, self._answer, self.stats.spend)
        self.replicas.start()

    @property
    def key(self) -> str:
        """What the model is remembered under."""
        return model_key(self.model, self.located)

    @property
    def batch_invariant(self) -> bool:
        """Whether a row's answer has the same bits whatever shares its call."""
        said = self.replicas.says("batch_invariant")
        loaded = self.located.handler.batch_invariant if said is None else said
        return bool(loaded) and self.model.device == "cpu" and self.model.batch.pad is None and not self.model.uris

    @property
    def placement(self) -> str | None:
        """Where it is called, as the graph says; a call that may have to wait for another one never is in the loop."""
        return self.model.placement or (None if self.model.concurrent is None else "thread")

    @property
    def elsewhere(self) -> bool:
        """Whether its calls wait for another process or another machine."""
        return is_elsewhere(self.model, self.located)

    def scale(self, count: int) -> None:
        """Have so many local replicas, from now on; see `ReplicaSet.scale`.

        Raises:
            InputError: when it cannot have so many.
        """
        where = f"model {self.model.name!r}"
        if is_remote(self.located):
            raise InputError("its replicas are its addresses", where=where, hint="change its uris in the graph's file")
        if isinstance(self.model.replicas, Replicas) and count > self.model.max_replicas:
            hint = "change replicas: {max: ...} in the graph's file"
            raise InputError(f"it may have {self.model.max_replicas} replicas; got {count}", where=where, hint=hint)
        self.replicas.scale(count)

    def need(self, outputs: frozenset[str] | None) -> None:
        """Give only these outputs from now on, None for all; a model that can leaves the others out."""
        wanted = frozenset(self.signature.outputs) if outputs is None or self.model.after else outputs
        self.signature_check.need(wanted)
        self.outputs = {
            name: kind
            for name, kind in outer_outputs(self.model, self.signature).items()
            if self.model.after or name in wanted
        }
        tell = getattr(self.replicas.direct, "need", None)
        if tell is not None:
            tell(wanted)

    def in_one_run(self, run: Tolerance) -> None:
        """All rows from now on are of one run: what fails on everything is found out over all of them."""
        for health in (self.health, *(runner.health for runner in (*self._before, *self._after))):
            health.run = run

    def close(self) -> None:
        """Give the replicas' memory back."""
        self.replicas.close()

    def play(self, columns: Sequence[Column] | Mapping[str, Column], rows: int, replica: str = "") -> Answer:
        """Answer rows: functions before, the model, functions after.

        Args:
            columns: in order, or by name.
            rows: how many.
            replica: the name of the one that is to answer where it is ready; empty lets the balancer choose.
        """
        if not rows:
            return Answer(self._nothing())
        if self._bare:
            named = self.named(columns)
            for name, kind in self._inputs:
                if not is_exactly(named[name], kind, rows):
                    return self._model(named, rows, replica)
            direct = self.replicas.direct
            if (
                direct is not None
                and self._plain
                and rows <= self.size.best
                and (self.size.settled or rows != self.size.rows)
            ):
                return self._at_once(direct, named, rows)  # type: ignore[arg-type]
            return self._dense(named, rows, replica)  # type: ignore[arg-type]
        if not self._before:
            return self._then(Answer(self.named(columns)), rows, replica)
        return self._then(chain(self._before, self._first(columns), rows), rows, replica)

    def _at_once(
        self, direct: Callable[[Mapping[str, Array]], Mapping[str, Any]], columns: dict[str, Array], rows: int
    ) -> Answer:
        """One call of the only copy, from which nothing is to be learned, as most calls are."""
        started = time.perf_counter()
        try:
            answer = self._answer(direct(columns), rows)
        except BaseException as error:  # noqa: BLE001 (isolate sorts the errors)
            return self._halved(columns, rows, error, started)
        self.health.succeeded = True
        self.stats.add(rows, 1, time.perf_counter() - started, len(answer.faults))
        return answer

    def _then(self, before: Answer, rows: int, replica: str) -> Answer:
        """The model, and the functions after it, on the rows that the functions before left."""
        kept = np.arange(rows) if before.kept is None else before.kept
        faults = list(before.faults)
        answer = before
        if len(kept):
            behind = self._behind(before.columns) if self._before else before.columns
            answer = self._model(behind, len(kept), replica)
            faults += faults_at(answer, kept)
            kept = kept if answer.kept is None else kept[answer.kept]
        if self._after and len(kept):
            answer = chain(self._after, list(answer.columns.values()), len(kept))
            answer.columns = {name or "output": column for name, column in answer.columns.items()}
            faults += faults_at(answer, kept)
            kept = kept if answer.kept is None else kept[answer.kept]
        faults.sort(key=lambda fault: fault.position)
        columns = answer.columns if len(kept) else self._nothing()
        return Answer(columns, tuple(faults), kept if faults else None)

    def _first(self, columns: Sequence[Column] | Mapping[str, Column]) -> list[Column]:
        """What the first function before the model is given."""
        if isinstance(columns, Mapping):
            check_names(self.model.name, columns, self.model.before[0].parameters())
        return self.model.before_values(columns)

    def _behind(self, columns: dict[str, Column]) -> dict[str, Column]:
        """What the functions before gave, under the names of the model's inputs."""
        if set(columns) == set(self.signature.inputs):
            return columns
        if len(columns) != len(self.signature.inputs):
            raise GraphError(
                f"before of {self.model.name!r} gave {len(columns)} columns; the model takes {len(self.signature.inputs)}"
            )
        return dict(zip(self.signature.inputs, columns.values(), strict=True))

    def _nothing(self) -> dict[str, Column]:
        """What it gives for no rows."""
        return {name: empty_column(kind) for name, kind in self.outputs.items()}

    def _model(self, columns: dict[str, Column], rows: int, replica: str) -> Answer:
        """The model itself: rows of equal shape together, narrower numbers as those that it takes."""
        columns, faults = widened(columns, self.signature.inputs, self.model.name, self.located.version)
        if faults:
            kept = kept_rows(faults, rows)
            if not len(kept):
                return Answer(self._nothing(), tuple(faults), kept)
            good = {name: take_rows(column, kept) for name, column in columns.items()}
            return merge([(kept, self._model(good, len(kept), replica))], rows, faults)
        self._check(columns)
        if self.cost is not None and (rows > 1 or self.cost.may_be_unknown):
            return self._costed(columns, rows, replica)
        return self._together(columns, rows, replica)

    def _costed(self, columns: dict[str, Column], rows: int, replica: str) -> Answer:
        """Rows that cost about as much together, and no more of them than a call may cost."""
        assert self.cost is not None
        costs, faults = self.cost.of(columns, rows)
        kept = kept_rows(faults, rows)
        alike = [kept]
        if self._padding is None and (ragged := [each for each in columns.values() if isinstance(each, Ragged)]):
            shapes = np.concatenate([column.shapes for column in ragged], axis=1)
            alike = [kept[places] for places in equal_shapes(shapes[kept])]
        most = self.size.rows if self.size.settled else rows
        parts = [places[chosen] for places in alike for chosen in self.cost.calls(costs[places], most)]
        if len(parts) == 1 and not faults:
            return self._together(columns, rows, replica)
        check = going_on()

        def call(places: Indices) -> Answer:
            if check is not None:
                check()
            return self._together({n: take_rows(c, places) for n, c in columns.items()}, len(places), replica)

        at_once = self.replicas.at_once if self.elsewhere and not replica else 1
        return merge(list(zip(parts, side_by_side(call, parts, at_once), strict=True)), rows, faults)

    def _together(self, columns: dict[str, Column], rows: int, replica: str) -> Answer:
        """Rows of equal shape together, or padded."""
        ragged = [name for name, column in columns.items() if isinstance(column, Ragged)]
        if not ragged:
            return self._dense(columns, rows, replica)  # type: ignore[arg-type]
        if self._padding is not None:
            call = partial(self._fitting, replica=replica)
            return self._padding.play(columns, rows, call, self.signature_check.outputs)
        found = [(chosen, self._fitting(group, len(chosen), replica)) for chosen, group in groups(columns, ragged)]
        return merge(found, rows)

    def _fitting(self, columns: dict[str, Array], rows: int, replica: str) -> Answer:
        """Rows of one shape, which fail where the model does not take it."""
        for name, column in columns.items():
            wanted, got = self.signature.inputs[name], column_type(column)
            if not wanted.accepts(got):
                message = f"the model takes {name}: {wanted}; the row is {got}"
                place = (self.model.name, self.located.version)
                faults = tuple(Fault(row, "TypeMismatchError", message, *place) for row in range(rows))
                return Answer(self._nothing(), faults, np.arange(0))
        return self._dense(columns, rows, replica)

    def _dense(self, columns: dict[str, Array], rows: int, replica: str) -> Answer:
        """Rows of equal shape; where a column says which replica answers which row, each its own."""
        if replica or not self._by:
            return self._calls(columns, rows, replica)
        names = self.replicas.names
        if len(names) < 2:
            return self._calls(columns, rows)
        chosen = rendezvous(columns[self._by], names, self.model.name)
        shares = [(place, np.flatnonzero(chosen == place)) for place in np.unique(chosen)]
        parts = [
            (share, {name: column[share] for name, column in columns.items()}, names[place] if place >= 0 else "")
            for place, share in shares
        ]
        answers = side_by_side(lambda part: self._calls(part[1], len(part[0]), part[2]), parts, len(parts))
        return merge([(part[0], answer) for part, answer in zip(parts, answers, strict=True)], rows)

    def _calls(self, columns: dict[str, Array], rows: int, replica: str = "") -> Answer:
        """Calls of the best number of rows."""
        together = not self.size.settled and not self._finds_size(columns, rows)
        started, first = time.perf_counter(), 0
        if rows <= (self.size.limit or rows if together else self.size.rows_of(rows)):
            try:
                answer = self._timed_call(columns, rows, replica)
            except BaseException as error:  # noqa: BLE001 (isolate sorts the errors)
                return self._halved(columns, rows, error, started)
            self.stats.add(rows, 1, time.perf_counter() - started, len(answer.faults))
            return answer
        if self.elsewhere and self.size.settled and not replica:
            size = self.size.rows
            spans = [(first, min(rows, first + size)) for first in range(0, rows, size)]
            parts = side_by_side(partial(self._part, columns, rows, replica), spans, self.replicas.at_once)
        else:
            parts, check = [], going_on()
            while first < rows:
                if check is not None:
                    check()
                end = min(rows, first + self.size.rows_of(rows - first))
                parts.append(self._part(columns, rows, replica, (first, end)))
                first = end
        answer = merge(
            [part for found, _, _ in parts for part in found], rows, [fault for _, bad, _ in parts for fault in bad]
        )
        self.stats.add(rows, sum(made for _, _, made in parts), time.perf_counter() - started, len(answer.faults))
        return self._filled(answer)

    def _finds_size(self, columns: dict[str, Array], rows: int) -> bool:
        """Whether the number of rows of a call is known, or learned from the calls that are made now.

        Few rows are called together until it is worth to look for it. Where answers depend on it, calls are tried before
        those that count, but none that may cost money, or be noticed.
        """
        if rows <= FEW_ROWS and self.stats.seconds < WORTH_S:
            return False
        trials = self.trials
        if trials is None or self.elsewhere or self.batch_invariant or not self.located.handler.has_file:
            return True
        if trials.seconds <= 0 and self.stats.seconds < WORTH_S:
            return False
        with self._settling:
            if not self.size.settled:
                started = time.perf_counter()
                if not try_sizes(self.size, self._call, columns):
                    self.trials = None  # then it is learned
                trials.seconds -= time.perf_counter() - started
        return True

    def _part(
        self, columns: dict[str, Array], rows: int, replica: str, span: tuple[int, int]
    ) -> tuple[list[tuple[Indices, Answer]], list[Fault], int]:
        """One call of the rows from one place to another, and those that find the rows at fault; the number is how many."""
        first, end = span
        part = {name: column[first:end] for name, column in columns.items()}
        try:
            return [(np.arange(first, end), self._timed_call(part, end - first, replica))], [], 1
        except BaseException as error:  # noqa: BLE001 (isolate sorts the errors)
            found, bad, made = self._isolate(part, end - first, error, partial(self._any_succeeds, columns, rows))
            moved = [(first + places, answer) for places, answer in found]
            return moved, [fault.at(first + fault.position) for fault in bad], made

    def _halved(self, columns: dict[str, Array], rows: int, error: BaseException, started: float) -> Answer:
        """The rows that can be answered of one call that raised."""
        found, faults, calls = self._isolate(columns, rows, error, partial(self._any_succeeds, columns, rows))
        answer = merge(found, rows, faults)
        self.stats.add(rows, calls, time.perf_counter() - started, len(answer.faults))
        return self._filled(answer)

    def _filled(self, answer: Answer) -> Answer:
        """An answer of no rows has the model's columns all the same."""
        if not answer.columns:
            answer.columns = {name: empty_column(kind) for name, kind in self.signature_check.outputs.items()}
        return answer

    def _isolate(
        self, columns: dict[str, Array], rows: int, known: BaseException, others_succeed: Callable[[], bool]
    ) -> tuple[list[tuple[Indices, Answer]], list[Fault], int]:
        """The calls that find the rows at fault, once all together have raised; the last number is how many in all."""
        if not is_of_rows(known):
            raise known
        calls = 1

        def run(first: int, end: int) -> Answer:
            nonlocal calls
            calls += 1
            go_on()
            return self._timed_call({name: column[first:end] for name, column in columns.items()}, end - first)

        place = {"model": self.model.name, "version": self.located.version}
        segments, faults = isolate(
            run, rows, self.health, **place, too_big=self.size.too_big, known=known, others_succeed=others_succeed
        )
        return [(np.arange(first, end), answer) for first, end, answer in segments], faults, calls

    def _any_succeeds(self, columns: dict[str, Array], rows: int) -> bool:
        return any_succeeds(lambda first, end: self._call({n: c[first:end] for n, c in columns.items()}, 1), rows)

    def _timed_call(self, columns: dict[str, Array], rows: int, replica: str = "") -> Answer:
        """One call, from which the number of rows of the next ones is learned."""
        if self.size.settled or rows != self.size.rows:
            answer = self._call(columns, rows, replica)
        else:
            begun = CallTime()
            answer = self._call(columns, rows, replica)
            self.size.took(rows, begun.seconds())
        self.health.succeeded = True
        return answer

    def _call(self, columns: dict[str, Array], rows: int, replica: str = "") -> Answer:
        """One call of a replica."""
        fixed = self.signature.fixed_rows
        if fixed and rows < fixed:
            columns = {
                name: np.concatenate([column, np.repeat(column[-1:], fixed - rows, axis=0)])
                for name, column in columns.items()
            }
        direct = self.replicas.direct
        if direct is not None:
            answer = self._answer(direct(columns), fixed or rows)
        else:
            answer = self.replicas.call(columns, fixed or rows, replica)
        return first_rows(answer, rows) if fixed and rows < fixed else answer
