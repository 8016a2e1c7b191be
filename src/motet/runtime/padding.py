"""Rows that differ in shape put into one call by padding, and the padding cut off what comes back.

Which axis of an answer follows which axis of an input is seen from rows that were called without padding: of two shapes
or more, the axis was as long as the input's each time; or it was equally long for rows of which some were several times as
large as others. Until that is known, and where it is not so, rows of equal shape are called together instead, so that no
answer depends on what shares a call. So are rows in which there is nothing, where an axis is constant.

Rows are padded with those that are about as large: sorted by size, and put into parts of which little is padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from motet.batch import Array, Column, Indices, Ragged, equal_shapes, take_rows
from motet.errors import GraphError
from motet.graph.node import Answer
from motet.nodes.merge import merge
from motet.runtime.call_cost import MOST_CELLS
from motet.types import Signature

__all__ = ["Padding", "groups"]

Axis: TypeAlias = tuple[str, int]
"""An axis of the rows of a column."""
MIN_ROWS = 8
"""Rows that are padded together whatever their size; of more rows little is padding."""
SEVERAL = 4
"""How many times as large some rows must be as others before an axis that is equally long for all counts as constant."""
Call: TypeAlias = Callable[[dict[str, Array], int], Answer]


class Padding:
    """How the rows of a model are padded.

    Args:
        pad: the value, or one for each input that varies.
        signature: of the model.
        model: its name, for messages.

    Raises:
        GraphError: when an input that varies has no value, or another one has.
    """

    def __init__(self, pad: float | Mapping[str, float], signature: Signature, model: str) -> None:
        varying = [name for name, kind in signature.inputs.items() if kind.varies or kind.dtype == "any"]
        self._pad = dict(pad) if isinstance(pad, Mapping) else dict.fromkeys(signature.inputs, pad)
        if isinstance(pad, Mapping) and not set(varying) <= set(pad) <= set(signature.inputs):
            hint = f"give a value for each input that varies: {', '.join(varying)}"
            raise GraphError(f"pad has {', '.join(pad)}", where=f"model {model!r}: batch", hint=hint)
        self._ties = {
            (name, axis): _Tie()
            for name, kind in signature.outputs.items()
            for axis, length in enumerate(kind.shape)
            if length is None
        }

    def play(self, columns: Mapping[str, Column], rows: int, call: Call, outputs: Container[str]) -> Answer:
        """Answer rows, some of whose columns are `Ragged`.

        Args:
            columns: by the names of the model's inputs.
            rows: how many.
            call: answers rows of one shape.
            outputs: what it gives; the model's other outputs are left out.
        """
        if not all(tie.known for (name, _), tie in self._ties.items() if name in outputs):
            return self._apart(columns, rows, call)
        shapes = [column.shapes for column in columns.values() if isinstance(column, Ragged)]
        alone = np.zeros(rows, bool)
        if any(tie.constant is not None for tie in self._ties.values()):
            alone = np.any([(each == 0).any(axis=1) for each in shapes], axis=0)
        found = [
            (places[part], play(_taken(columns, places[part]), len(part), call))
            for places, play in ((np.flatnonzero(alone), self._apart), (np.flatnonzero(~alone), self._padded))
            if len(places)
            for part in _of_like_size([each[places] for each in shapes])
        ]
        return merge(found, rows)

    def _apart(self, columns: Mapping[str, Column], rows: int, call: Call) -> Answer:
        """The answer of calls of rows of equal shape, from which it is learned."""
        ragged = [name for name, column in columns.items() if isinstance(column, Ragged)]
        found = [(chosen, self._seen(group, call(group, len(chosen)))) for chosen, group in groups(columns, ragged)]
        return merge(found, rows)

    def _padded(self, columns: Mapping[str, Column], rows: int, call: Call) -> Answer:
        """The answer of calls of padded rows."""
        filled = {
            name: _filled(column, self._pad[name]) if isinstance(column, Ragged) else column
            for name, column in columns.items()
        }
        return self._cut(call(filled, rows), columns, filled) or self._apart(columns, rows, call)

    def _seen(self, columns: Mapping[str, Array], answer: Answer) -> Answer:
        """Learn from the answer of rows that were not padded."""
        given = {
            (name, axis): length for name, column in columns.items() for axis, length in enumerate(column.shape[1:])
        }
        for (name, axis), tie in self._ties.items():
            column = answer.columns.get(name)
            for length in set() if column is None or not len(column) else set(_lengths(column, axis).tolist()):
                tie.saw(length, given)
        return answer

    def _cut(self, answer: Answer, given: Mapping[str, Column], filled: Mapping[str, Array]) -> Answer | None:
        """An answer without what stands in it for padding; None where it cannot be told apart."""
        if answer.kept is not None and not len(answer.kept):
            return answer
        kept = slice(None) if answer.kept is None else answer.kept
        ends: dict[str, dict[int, Indices]] = {}
        for (name, axis), tie in self._ties.items():
            if name not in answer.columns:
                continue
            lengths = _lengths(answer.columns[name], axis)
            if tie.constant is not None:
                if (lengths != tie.constant).any():
                    return None
                continue
            own = [_lengths(given[column], at)[kept] for column, at in tie.follows]
            full = [filled[column].shape[1 + at] for column, at in tie.follows]
            if any((lengths != each).any() for each in full) or any((each != own[0]).any() for each in own):
                return None
            ends.setdefault(name, {})[axis] = own[0]
        for name, axes in ends.items():
            answer.columns[name] = _shortened(answer.columns[name], axes)
        return answer


class _Tie:
    """What an axis of an answer follows, as far as it was seen: axes of inputs, or nothing, so that it is constant."""

    def __init__(self) -> None:
        self.follows: set[Axis] = set()
        self.constant: int | None = None
        self._first: int | None = None
        self._cells: list[int] = []
        self._varied = self._hopeless = False

    @property
    def known(self) -> bool:
        """Whether it follows axes that were seen to vary with it, or none of those that varied."""
        return not self._hopeless and (bool(self.follows) if self._varied else self.constant is not None)

    def saw(self, length: int, given: Mapping[Axis, int]) -> None:
        """Learn from rows of one shape that were not padded."""
        same = {axis for axis, other in given.items() if other == length}
        if cells := math.prod(given.values()):
            self._cells = [min([cells, *self._cells]), max([cells, *self._cells])]
        if self._first is None:
            self._first, self.follows = length, same
            return
        self.follows &= same
        self._varied = self._varied or length != self._first
        if self._varied:
            self.constant, self._hopeless = None, not self.follows
        elif not self.follows and self._cells and self._cells[1] >= SEVERAL * self._cells[0]:
            self.constant = length


def groups(columns: Mapping[str, Column], ragged: Sequence[str]) -> Iterable[tuple[Indices, dict[str, Array]]]:
    """Rows that have the same shape in every ragged column, groups in the order of their first row."""
    shapes = np.concatenate([column.shapes for name in ragged if isinstance(column := columns[name], Ragged)], axis=1)
    for chosen in equal_shapes(shapes):
        taken = _taken(columns, chosen)
        yield chosen, {name: column.dense() if isinstance(column, Ragged) else column for name, column in taken.items()}


def _filled(column: Ragged, value: float) -> Array:
    """Rows made equal: padded behind on every axis with a value."""
    shape = tuple(int(axis) for axis in column.shapes.max(axis=0))
    held = np.full((len(column), *shape), value, dtype=column.dtype)
    for place, row in enumerate(column):
        held[place][tuple(slice(0, axis) for axis in row.shape)] = row
    return held


def _taken(columns: Mapping[str, Column], places: Indices) -> dict[str, Column]:
    return {name: take_rows(column, places) for name, column in columns.items()}


def _of_like_size(shapes: Sequence[npt.NDArray[np.int64]]) -> list[Indices]:
    """The places of rows, each in order, in parts of about equal size: few of the cells of a part are padding, or it has few rows.

    Args:
        shapes: for each column that varies the shapes of its rows, `[rows, axes]`.
    """
    cells = sum(np.prod(each, axis=1) for each in shapes)
    order = np.lexsort((*np.concatenate(shapes, axis=1).T, cells))
    parts: list[Indices] = []
    first, real = 0, 0
    largest = [each[order[0]] for each in shapes]
    for place, row in enumerate(order):
        larger = [np.maximum(most, each[row]) for most, each in zip(largest, shapes, strict=True)]
        count = place - first
        if count >= MIN_ROWS and (count + 1) * _cells(larger) > MOST_CELLS * (real + cells[row]):
            parts.append(np.sort(order[first:place]))
            first, real, larger = place, 0, [each[row] for each in shapes]
        real += cells[row]
        largest = larger
    return [*parts, np.sort(order[first:])]


def _cells(shapes: Sequence[npt.NDArray[np.int64]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def _lengths(column: Column, axis: int) -> npt.NDArray[np.int64]:
    if isinstance(column, Ragged):
        return column.shapes[:, axis]
    return np.full(len(column), column.shape[1 + axis])


def _shortened(column: Column, ends: Mapping[int, Indices]) -> Column:
    """Rows cut behind, on these axes, each to its own length."""
    axes = column.shapes.shape[1] if isinstance(column, Ragged) else column.ndim - 1
    cut = [
        row[tuple(slice(None if axis not in ends else int(ends[axis][place])) for axis in range(axes))]
        for place, row in enumerate(column)
    ]
    return Ragged.from_rows(cut, column.dtype, axes)
