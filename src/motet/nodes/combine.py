"""Combiners: how an ensemble makes one answer of its members' answers, output by output.

A combiner takes the members' columns for some rows, in the order of the members, and their weights. Every one works on
each row alone, and adds in the order of the members, so that a row's answer does not depend on what shares its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from motet.batch import Array, Indices
from motet.errors import AnswerError, GraphError, TypeMismatchError
from motet.graph.function import Function
from motet.nodes.classes import Rule, placed
from motet.nodes.contract import as_given, conform, whole
from motet.nodes.gate import gate_of
from motet.types import ANY, ColumnType

__all__ = ["COMBINERS", "Combiner", "Custom", "MemberShare", "part_of"]


class MemberShare(NamedTuple):
    """A member's share in an answer.

    Attributes:
        column: its answers, shape `[rows, ...]`, the classes in the order of the combined answer.
        weight: how much it counts, more than 0.
        known: which of the classes it knows; None for all.
    """

    column: Any
    weight: float
    known: Array | None = None


def part_of(column: Any, weight: float, index: Indices | None) -> MemberShare:
    """A member's share, of what it gave; `index` says where each place of the answer is in it, None as they are."""
    if index is None:
        return MemberShare(column, weight)
    return MemberShare(placed(column, index), weight, None if (index >= 0).all() else index >= 0)


class Combiner(Protocol):
    """How an ensemble makes one answer of several."""

    @property
    def classes(self) -> Rule:
        """Which classes members may have; what they give is placed accordingly before it is combined."""
        ...

    def infer(self, kinds: Sequence[ColumnType], where: str) -> ColumnType:
        """The type of the answer for members' outputs of these types.

        Raises:
            GraphError: when they cannot be combined.
        """
        ...

    def combine(self, parts: Sequence[MemberShare]) -> Any:
        """The answers, shape `[rows, ...]`."""
        ...


_FLOATS = ("float16", "float32", "float64")


def _same(kinds: Sequence[ColumnType], what: str, where: str, *, numeric: bool = True) -> ColumnType:
    known = [kind for kind in kinds if kind != ANY]
    if not known:
        return kinds[0]
    floats = [kind for kind in known if kind.dtype in _FLOATS]
    if len(floats) == len(known):  # narrower ones widen, which loses nothing
        widest = max((kind.dtype for kind in floats), key=_FLOATS.index)
        known = [kind.with_dtype(widest) for kind in known]
    for kind in known:
        if kind != known[0]:
            raise TypeMismatchError(
                f"{what} needs members of one type; got {', '.join(map(str, kinds))}",
                where=where,
                hint="cast or reshape one of them with the model's after:, declare another dtype of its own numbers in its outputs:, "
                "or, for classes that differ, say combine: union",
            )
        if kind.varies:
            raise TypeMismatchError(f"{what} needs rows of one shape; got {kind}", where=where)
        if numeric and (kind.is_object or kind.dtype == "bool"):
            raise TypeMismatchError(f"{what} needs numbers; got {kind}", where=where, hint="use majority_vote or stack")
    return known[0]


def _float(kind: ColumnType) -> ColumnType:
    return (
        kind
        if kind.dtype in ("float32", "float64", "any")
        else kind.with_dtype("float32" if kind.dtype == "float16" else "float64")
    )


def _as_float(column: Array) -> Array:
    if column.dtype.char in "fd":
        return column
    return column.astype(np.float32 if column.dtype == np.float16 else np.float64)


class WeightedAverage:
    """The average, weighted; float32 stays float32, whole numbers become float64."""

    classes: Rule = "same"

    def infer(self, kinds: Sequence[ColumnType], where: str) -> ColumnType:
        """The members' type, as a floating-point one."""
        return _float(_same(kinds, "weighted_average", where))

    def combine(self, parts: Sequence[MemberShare]) -> Any:
        """Sum of weight times answer, over the sum of weights."""
        total = sum([part.weight for part in parts])
        columns = [_as_float(part.column) for part in parts]
        if len({column.dtype for column in columns}) > 1:
            columns = [column.astype(np.float64, copy=False) for column in columns]
        scale = columns[0].dtype.type
        sum_ = columns[0] * scale(parts[0].weight / total)
        for column, part in zip(columns[1:], parts[1:], strict=True):
            sum_ += column * scale(part.weight / total)
        return sum_


class _Elementwise:
    """A statistic over the members, place by place; weights other than 0 and 1 have no meaning."""

    classes: Rule = "same"

    def __init__(self, name: str, reduce: Callable[[Array], Array], *, floats: bool) -> None:
        self._name, self._reduce, self._floats = name, reduce, floats

    def infer(self, kinds: Sequence[ColumnType], where: str) -> ColumnType:
        """The members' type."""
        kind = _same(kinds, self._name, where)
        return _float(kind) if self._floats else kind

    def combine(self, parts: Sequence[MemberShare]) -> Any:
        """The statistic of each place."""
        return self._reduce(np.stack([_as_float(part.column) if self._floats else part.column for part in parts]))


class MajorityVote:
    """Each member votes, with its weight; a tie goes to the place, or the value, that is first.

    Of scores `[places]` a member votes for its largest place, and the answer is the share of votes of each place. Of a
    single value (a label: text, whole number, true or false) the answer is the value with the most votes.
    """

    classes: Rule = "same"

    def infer(self, kinds: Sequence[ColumnType], where: str) -> ColumnType:
        """float32 shares for scores, the members' type for single values."""
        kind = _same(kinds, "majority_vote", where, numeric=False)
        if len(kind.shape) > 1:
            raise TypeMismatchError(f"majority_vote needs one value or one row of scores; got {kind}", where=where)
        return kind.with_dtype("float32") if kind.shape else kind

    def combine(self, parts: Sequence[MemberShare]) -> Any:
        """Shares of votes, or the winning values."""
        total = sum([part.weight for part in parts])
        if parts[0].column.ndim == 1:
            return _vote_values(parts)
        rows, places = parts[0].column.shape
        shares = np.zeros((rows, places), dtype=np.float64)
        for part in parts:
            shares[np.arange(rows), part.column.argmax(axis=1)] += part.weight / total
        return shares.astype(np.float32)


def _vote_values(parts: Sequence[MemberShare]) -> Array:
    """The value with the most weight of each row; of several the one that the earliest member gave."""
    votes = np.stack([[(one.column == other.column) * other.weight for other in parts] for one in parts]).sum(axis=1)
    winner = votes.astype(np.float64).round(12).argmax(axis=0)
    stacked = np.stack([part.column for part in parts])
    return np.asarray(stacked[winner, np.arange(stacked.shape[1])])


class Union:
    """Members with different label sets: one score for each label that any of them knows.

    The score of a label is the weighted average over the members that know it. Labels are in the order in which the
    members say them; a label that none of the members present knows scores 0.
    """

    classes: Rule = "union"

    def infer(self, kinds: Sequence[ColumnType], where: str) -> ColumnType:
        """float32 scores, one a label."""
        for kind in kinds:
            if not kind.labels:
                hint = "declare labels: [...] for each model, or choose the output that has them: output: NAME"
                raise GraphError("union needs the labels of every member", where=where, hint=hint)
            if kind != ANY and (
                len(kind.shape) != 1 or kind.is_object or kind.shape[0] not in (None, len(kind.labels))
            ):
                raise TypeMismatchError(
                    f"union needs one score for each of the {len(kind.labels)} labels; got {kind}", where=where
                )
        return ColumnType("float32", (len(kinds[0].labels),), kinds[0].labels)

    def combine(self, parts: Sequence[MemberShare]) -> Any:
        """Scores `[rows, labels]`."""
        sums = np.zeros(parts[0].column.shape, dtype=np.float32)
        weights = np.zeros(sums.shape[1], dtype=np.float64)
        for part in parts:
            known = slice(None) if part.known is None else part.known
            sums[:, known] += part.column[:, known].astype(np.float32) * np.float32(part.weight)
            weights[known] += part.weight
        return sums / np.where(weights > 0, weights, 1).astype(np.float32)


class Stack:
    """All members side by side: the first axis of a row is the member, in the order of the graph."""

    classes: Rule = "own"

    def infer(self, kinds: Sequence[ColumnType], where: str) -> ColumnType:
        """The members' type with the members as a first axis."""
        kind = _same(kinds, "stack", where, numeric=False)
        return kind if kind == ANY else ColumnType(kind.dtype, (len(kinds), *kind.shape), kinds[0].labels)

    def combine(self, parts: Sequence[MemberShare]) -> Any:
        """Answers `[rows, members, ...]`."""
        return np.stack([part.column for part in parts], axis=1)


@dataclass(frozen=True)
class Custom:
    """Any function: called with the members' columns in order, and its keywords, for each output.

    Where a member's answer is missing (`require`), it is called without it.
    """

    function: Function
    classes: Rule = "own"

    def infer(self, kinds: Sequence[ColumnType], where: str) -> ColumnType:
        """What the function declares."""
        outputs = self.function.infer(kinds, where)
        if not isinstance(outputs, ColumnType):
            raise GraphError(
                f"a combiner returns one array; {self.function} declares {', '.join(outputs)}", where=where
            )
        return outputs

    def combine(self, parts: Sequence[MemberShare]) -> Any:
        """What the function returns."""
        columns = [as_given(part.column) for part in parts]
        rows, function = len(columns[0]), self.function.resolve()
        combined = gate_of(function)(function, columns, self.function.keywords, rows=rows)
        if isinstance(combined, Mapping) or hasattr(combined, "_asdict"):
            raise AnswerError(f"a combiner returns one array; {self.function} returned columns by name")
        return whole(conform(combined, rows, self.function.declared, str(self.function)))[""]


COMBINERS: dict[str, Combiner] = {
    "average": WeightedAverage(),
    "weighted_average": WeightedAverage(),
    "majority_vote": MajorityVote(),
    "max": _Elementwise("max", lambda stacked: stacked.max(axis=0), floats=False),
    "median": _Elementwise("median", lambda stacked: np.median(stacked, axis=0).astype(stacked.dtype), floats=True),
    "union": Union(),
    "stack": Stack(),
}
"""The combiners by the names that graphs use."""
