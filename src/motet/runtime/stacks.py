"""Models of a route that have one structure, played as one call: their weights are stacked, and rows are put together by model.

Only where nothing but the weights differs, in the file and in what the graph says of the models, and only where the stack
answers made-up rows as each of them does. Rows that hold no finite numbers go through their own model, which knows what becomes of them.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from motet.batch import Array, Column, Indices, is_exactly
from motet.graph.capacity import Batching
from motet.graph.check import CheckedGraph
from motet.graph.model import Model
from motet.graph.node import Answer, Inputs, Member
from motet.models.stacking.program import Program, Unstackable
from motet.models.stacking.stacked import StackedProgram
from motet.nodes.route import Route
from motet.runtime.model_runtime import ModelRuntime
from motet.runtime.resolve import ResolvedModel, is_elsewhere, is_paid
from motet.runtime.widen import widened
from motet.tracebacks import describe
from motet.types import Signature

__all__ = ["RouteStack", "StackPlan", "StackedModels", "make_stacks", "stack_plan"]

_LOG = logging.getLogger("motet.runtime")

MODEL_BYTES: Final = 1 << 22
"""Most bytes of the weights of a model: one call of a larger one takes so long that putting calls together gains nothing."""
STACK_BYTES: Final = 1 << 28
"""Most bytes of the weights of a stack, which are held beside the models themselves."""
LEAST_MODELS: Final = 3
"""Where rows of fewer models come, calls of each are as quick."""
MOST_ROWS: Final = 512
"""With more rows for each model than these, calls of each are as quick."""
TOLERANCE: Final = 1e-5
"""How far an answer may be off, as a part of it where it is above 1."""


@dataclass(frozen=True)
class StackPlan:
    """Which models of a route are played together, and why others are not.

    Attributes:
        groups: names of models of one structure, two or more each.
        reasons: for each other model why it is called by itself.
    """

    groups: Sequence[Sequence[str]]
    reasons: Mapping[str, str]


def stack_plan(
    node: Route, checked: CheckedGraph, located: Callable[[str], ResolvedModel | None]
) -> tuple[StackPlan, Mapping[str, Program]]:
    """Which models of a route have one structure, as their files say, and what they compute.

    Args:
        node: the route.
        checked: its graph.
        located: where a model is, by its name; None where it comes and goes.
    """
    programs: dict[str, Program] = {}
    reasons: dict[str, str] = {}
    alike: defaultdict[Hashable, list[str]] = defaultdict(list)
    arms: defaultdict[str, list[Member]] = defaultdict(list)
    for member in node.members:
        arms[member.uses].append(member)
    for uses, same in arms.items():
        try:
            found = programs[uses] = _program(node, same, checked, located)
        except Unstackable as error:
            reasons[uses] = str(error)
        else:
            kinds = checked.signatures[uses]
            signature = tuple(kinds.inputs.items()), tuple(kinds.outputs.items())
            alike[same[0].inputs, same[0].output, signature, found.structure].append(uses)
    groups: list[list[str]] = []
    for names in alike.values():
        most = max(1, STACK_BYTES // max(1, programs[names[0]].num_bytes))
        groups.append(names[:most])
        reasons |= dict.fromkeys(names[most:], f"comes after others whose weights take {STACK_BYTES >> 20} MiB")
    reasons |= {group[0]: "has a structure that no other has" for group in groups if len(group) == 1}
    return StackPlan([group for group in groups if len(group) > 1], reasons), programs


def _program(
    node: Route, arms: Sequence[Member], checked: CheckedGraph, located: Callable[[str], ResolvedModel | None]
) -> Program:
    """What the model of some arms computes.

    Raises:
        Unstackable: when it is called by itself.
    """
    uses = arms[0].uses
    if uses in checked.graphs:
        raise Unstackable("is a graph")
    if len({(arm.inputs, arm.output) for arm in arms}) > 1:
        raise Unstackable("is given other columns by several members")
    placed = checked.places.get(node.name, {})
    if any(placed.get(arm.name) for arm in arms):
        raise Unstackable("has its classes in another order")
    where = located(uses)
    if where is None:
        raise Unstackable("comes and goes, as max_loaded or pool says")
    if own_way := _own_way(checked.graph.models[uses], where):
        raise Unstackable(own_way)
    if checked.signatures[uses].fixed_rows:
        raise Unstackable("takes a fixed number of rows")
    describe_program = getattr(where.handler, "program", None)
    if describe_program is None:
        raise Unstackable(f"is a model of {where.handler.name}")
    try:
        program: Program = describe_program(where.source, MODEL_BYTES)
    except Unstackable:
        raise
    except Exception as error:  # whatever a file holds: the model itself is what says that it cannot be loaded
        raise Unstackable(f"cannot be read: {describe(error)}") from error
    return program


def _own_way(model: Model, located: ResolvedModel) -> str:
    """What is said of a model that its calls must be its own for; empty where nothing is."""
    said = {
        "is elsewhere": is_elsewhere(model, located),
        "has functions before or after it": model.before or model.after,
        "says how its rows are put together": model.batch != Batching(),
        "has replicas": model.replicas != 1,
        "says where it is called": model.placement,
        "says how many calls it bears": model.concurrent,
        "is not on the processor": model.device != "cpu",
        "has options of its own": model.options,
        "costs money": is_paid(model, located),
    }
    return next((reason for reason, holds in said.items() if holds), "")


class StackedModels:
    """Loaded models of one structure. Several threads may call it.

    Args:
        models: the models.
        programs: what each of them computes.
    """

    def __init__(self, models: Sequence[ModelRuntime], programs: Sequence[Program]) -> None:
        self.models = models
        self._program = StackedProgram(programs)
        self._inputs = models[0].signature.inputs

    def named(self, columns: Sequence[Column] | Mapping[str, Column]) -> list[Column]:
        """The columns that the models take, in the order of their inputs, of those that are given in order or by name."""
        found = self.models[0].named(columns)
        return [found[name] for name in self._inputs]

    def __call__(self, columns: Sequence[Column], rows: int) -> Answer:
        """Answer rows.

        Args:
            columns: for each row the place of its model, and then the columns that the models take, in order.
            rows: how many.

        Returns:
            The rows that could be answered, in their order: the others are their models'.
        """
        which: Any = columns[0]
        found = self._answer(which, columns[1:], rows)
        return Answer({}, (), np.empty(0, dtype=np.int64)) if found is None else found

    def _answer(self, which: Array, given: Sequence[Column], rows: int) -> Answer | None:
        started, first = time.perf_counter(), self.models[0]
        columns, faults = widened(first.named(given), self._inputs, first.model.name)
        if faults or not all(is_exactly(columns[name], kind, rows) for name, kind in self._inputs.items()):
            return None
        arrays: dict[str, Array] = columns  # type: ignore[assignment]
        kept = _finite(arrays.values(), rows)
        if kept is not None:
            which, rows = which[kept], len(kept)
            if not rows:
                return None
        order = np.argsort(which, kind="stable")
        taken = order if kept is None else kept[order]
        counts = np.bincount(which, minlength=len(self.models))
        present = np.flatnonzero(counts)
        try:
            sorted_answer = self._program(
                {name: column[taken] for name, column in arrays.items()}, present, counts[present]
            )
        except Exception as error:  # noqa: BLE001 (a row, or the memory: their models tell which row it is)
            _LOG.debug("model %s and others of its structure: %s", first.model.name, describe(error))
            return None
        answer = {name: _unsorted(column, order) for name, column in sorted_answer.items()}
        finite = _finite(answer.values(), rows)
        if finite is not None:
            answer = {name: column[finite] for name, column in answer.items()}
            kept = finite if kept is None else kept[finite]
            counts = np.bincount(which[finite], minlength=len(self.models))
        self._count(counts, time.perf_counter() - started)
        return Answer(dict(answer), (), kept)

    def _count(self, counts: Indices, seconds: float) -> None:
        """Note what each model did: a call with its share of the time."""
        rows = int(counts.sum())
        for place in np.flatnonzero(counts).tolist():
            model, count = self.models[place], int(counts[place])
            model.stats.add(count, 1, seconds * count / rows, 0)
            model.health.succeeded = True


def _finite(columns: Any, rows: int) -> Indices | None:
    """The places of the rows whose numbers are all finite; None for all of them. What is not shows in the sum."""
    bad: Array | None = None
    with np.errstate(all="ignore"):
        for column in columns:
            if column.dtype.kind == "f" and not np.isfinite(column.sum(dtype=np.float64)):
                lost = ~np.isfinite(column).reshape(rows, -1).all(axis=1)
                bad = lost if bad is None else bad | lost
    return None if bad is None or not bad.any() else np.flatnonzero(~bad)


def _unsorted(column: Array, order: Indices) -> Array:
    found = np.empty_like(column)
    found[order] = column
    return found


@dataclass(frozen=True)
class RouteStack:
    """Some members of a route, which are played together.

    Attributes:
        models: what plays them.
        inputs: what each of them takes.
        slots: for each member of the node the place of its model in the stack, and last that of no member; -1 where it has none.
    """

    models: StackedModels
    inputs: Inputs
    slots: Indices

    def rows_of(self, chosen: Indices) -> tuple[Indices, Indices] | None:
        """The rows that it may answer, and the place of the model of each; None where it is not worth while.

        Args:
            chosen: for each row the place of its member, -1 for none.
        """
        which = self.slots[chosen]
        rows = np.flatnonzero(which >= 0)
        which = which[rows]
        if len(rows) < LEAST_MODELS:
            return None
        models = np.count_nonzero(np.bincount(which))
        return (rows, which) if models >= LEAST_MODELS and len(rows) <= MOST_ROWS * models else None


def make_stacks(node: Route, checked: CheckedGraph, models: Mapping[str, ModelRuntime]) -> tuple[RouteStack, ...]:
    """The stacks of a route whose models are loaded.

    Args:
        node: the route.
        checked: its graph.
        models: its models, by name; those that come and go are not among them.
    """
    plan, programs = stack_plan(node, checked, lambda uses: models[uses].located if uses in models else None)
    found = []
    for group in plan.groups:
        right = list(_right(list(_loaded_alike(group, models)), models, programs))
        if len(right) > 1:
            stacked = StackedModels([models[name] for name in right], [programs[name] for name in right])
            places = {name: place for place, name in enumerate(right)}
            inputs = next(member.inputs for member in node.members if member.uses == right[0]) or node.inputs
            slots = [places.get(member.uses, -1) for member in node.members]
            found.append(
                RouteStack(stacked, inputs, np.array([*slots, -1], dtype=np.int16 if len(right) < 2**15 else np.int64))
            )
    return tuple(found)


def _loaded_alike(group: Sequence[str], models: Mapping[str, ModelRuntime]) -> Iterator[str]:
    """Those that are loaded here, and take and give the same."""
    wanted = None
    for name in group:
        model = models.get(name)
        if model is None or model.replicas.direct is None:
            continue
        kinds = list(model.signature.inputs.items()), list(model.signature.outputs)
        wanted = wanted or kinds
        if kinds == wanted:
            yield name


def _right(names: Sequence[str], models: Mapping[str, ModelRuntime], programs: Mapping[str, Program]) -> Iterator[str]:
    """Those whose answers to made-up rows the stack gives, too."""
    if len(names) < 2:
        return
    try:
        sample = _sample(models[names[0]].signature)
        rows = len(next(iter(sample.values())))
        every = StackedProgram([programs[name] for name in names])
        counts = np.full(len(names), rows)
        repeated = {name: np.tile(column, (len(names), *[1] * (column.ndim - 1))) for name, column in sample.items()}
        answers = every(repeated, np.arange(len(names)), counts)
    except Exception as error:  # noqa: BLE001 (what a file says need not fit together)
        _LOG.warning("models %s and %d more are not played together: %s", names[0], len(names) - 1, describe(error))
        return
    for place, name in enumerate(names):
        part = slice(place * rows, (place + 1) * rows)
        wrong = _wrong(models[name], sample, {output: answer[part] for output, answer in answers.items()})
        if wrong:
            _LOG.warning("model %r is not played together with those of its structure: %s", name, wrong)
        else:
            yield name


def _wrong(model: ModelRuntime, sample: dict[str, Array], got: Mapping[str, Array]) -> str:
    """Why what a stack answers is not what the model does; empty where it is."""
    direct = model.replicas.direct
    if direct is None:
        return "it is not loaded"
    rows = len(next(iter(sample.values())))
    try:
        answer = model.signature_check.answer(direct(sample), rows)
    except Exception as error:  # noqa: BLE001 (a model may raise anything)
        return f"made-up rows fail: {describe(error)}"
    if answer.faults:
        return f"made-up rows fail: {answer.faults[0].message}"
    for name, wanted in answer.columns.items():
        if not isinstance(wanted, np.ndarray) or not _same(got[name], wanted):
            return f"it answers made-up rows otherwise ({name})"
    return ""


def _same(got: Array, wanted: Array) -> bool:
    """Whether decisions are the same, and numbers nearly."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    if wanted.dtype.kind != "f":
        return bool((got == wanted).all())
    with np.errstate(all="ignore"):
        near = np.abs(got - wanted) <= TOLERANCE * np.maximum(1, np.abs(wanted))
    return bool((near | (np.isnan(got) & np.isnan(wanted)) | (got == wanted)).all())


def _sample(signature: Signature) -> dict[str, Array]:
    """Rows to compare answers with: zeros, ones, and normally distributed ones of two widths, the same each time."""
    random = np.random.default_rng(0)
    found = {}
    for name, kind in signature.inputs.items():
        shape = tuple(axis or 1 for axis in kind.shape)
        rows = [
            np.zeros((1, *shape)),
            np.ones((1, *shape)),
            random.normal(size=(8, *shape)),
            random.normal(0, 10, (4, *shape)),
        ]
        found[name] = np.concatenate(rows).astype(kind.numpy_dtype)
    return found
