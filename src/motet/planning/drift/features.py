"""Features: what is told of columns and members, one number or text a row, of which drift is looked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from motet.batch import Batch, Column, Indices, Ragged, concat_columns, objects, take_rows
from motet.graph.check import CheckedGraph
from motet.nodes.cascade import Cascade
from motet.nodes.ensemble import Ensemble
from motet.types import ColumnType, label_text

__all__ = ["DriftSample", "Feature", "MemberRows", "Side", "Values", "View", "features_of"]

Side = Literal["input", "output", "members", "rows"]
View = Literal["value", "length", "mean", "spread", "class", "confidence", "agree", "difference", "answered"]
Values = npt.NDArray[Any]
"""One value a row: float64 with NaN for missing ones, or objects: texts, None for missing ones."""
MOST_PAIRS = 28
MOST_CLASSES = 10_000
FEW = 16
"""An array of no more numbers is looked at number by number."""
TEXT = 100
"""Characters of a text that its category goes by."""
SLACK = 1e-3


@dataclass(frozen=True)
class MemberRows:
    """What a member answered: `ids` of the rows, each once and ascending, and its columns by its own names."""

    ids: Indices
    columns: Mapping[str, Column]

    @classmethod
    def of_calls(cls, calls: Sequence[tuple[Indices, Mapping[str, Column]]]) -> MemberRows:
        """What calls answered, at least one: of each the ids and the columns. Of a row that was asked again the first answer counts."""
        ids, first = np.unique(np.concatenate([each for each, _ in calls]), return_index=True)
        names = [name for name in calls[0][1] if all(name in columns for _, columns in calls)]
        return cls(ids, {name: take_rows(concat_columns([each[name] for _, each in calls]), first) for name in names})


@dataclass
class DriftSample:
    """Rows, as far as they are known.

    Attributes:
        inputs: columns that the graph was given, with the rows' ids.
        outputs: columns that it answered, of those rows that did not fail.
        members: by node and member.
        answered, failed: how many rows were answered, and how many failed.
    """

    inputs: Batch | None = None
    outputs: Batch | None = None
    members: Mapping[tuple[str, str], MemberRows] = field(default_factory=dict)
    answered: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Feature:
    """One number or text a row.

    Attributes:
        name: what people call it; no two of a graph are called alike.
        side: whether it is of an input, an output, two members of a node, or the rows themselves.
        of: the input, output or node.
        view: what is told of it.
        members: the two members, of `members`.
        labels: what the places of classes stand for, where that is known; of `members` for each of the two.
        outputs: of `members`, for each of the two the output that is compared.
        place: the place of a number in a short array; -1 where it is of the whole.
    """

    name: str
    side: Side
    of: str
    view: View
    members: tuple[str, ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()
    outputs: tuple[str, ...] = ()
    place: int = -1

    def values(self, sample: DriftSample) -> tuple[Values, Indices] | None:
        """What is told of the rows of a sample, and their ids; None where it has nothing of that."""
        with np.errstate(invalid="ignore", over="ignore"):  # of what is infinite nothing is told
            return self._values(sample)

    def _values(self, sample: DriftSample) -> tuple[Values, Indices] | None:
        if self.side == "rows":
            told = objects(["answered"] * sample.answered + ["failed"] * sample.failed)
            return told, np.arange(len(told))
        if self.side == "members":
            return self._of_members(sample)
        batch = sample.inputs if self.side == "input" else sample.outputs
        if batch is None or self.of not in batch.columns:
            return None
        column: Any = batch.columns[self.of]
        if self.place >= 0:
            column = column[:, self.place]
        return _VIEWS[self.view](column, self.labels[0] if self.labels else ()), batch.ids

    def _of_members(self, sample: DriftSample) -> tuple[Values, Indices] | None:
        found = [sample.members.get((self.of, member)) for member in self.members]
        one, other = found
        if one is None or other is None:
            return None
        both, at, also = np.intersect1d(one.ids, other.ids, assume_unique=True, return_indices=True)
        columns = [each.columns.get(name) for each, name in zip((one, other), self.outputs, strict=True)]
        if not len(both) or columns[0] is None or columns[1] is None:
            return None
        if self.view == "difference":
            first, second = (_numbers(column, ()) for column in columns)
            return np.abs(first[at] - second[also]), both
        said, says = (_classes(column, labels) for column, labels in zip(columns, self.labels, strict=True))
        same = said[at] == says[also]
        return objects(["agree" if each else "differ" for each in same.tolist()]), both


def features_of(checked: CheckedGraph) -> Iterator[Feature]:
    """What can be told of a graph's rows, inputs first, then outputs, then members two by two."""
    for name, each in checked.graph.inputs.items():
        twice = name in checked.signature.outputs
        yield from _of_column("input", name, each.type, f"{name} (input)" if twice else name)
    for name, kind in checked.signature.outputs.items():
        yield from _of_column("output", name, kind, name)
    for path in checked.order:
        node = checked.graph.nodes[path]
        if isinstance(node, Cascade | Ensemble):
            yield from _of_node(checked, path, node)
    yield Feature("rows that fail", "rows", "", "answered")


def _of_column(side: Side, name: str, kind: ColumnType, shown: str) -> Iterator[Feature]:
    def feature(view: View, *, labels: tuple[str, ...] = ()) -> Feature:
        said = shown if view == "value" else f"{view} of {shown}"
        return Feature(said, side, name, view, (), (labels,) if labels else ())

    if kind.dtype == "any":
        return
    if not kind.shape:
        if kind.dtype != "bytes":
            yield feature("value")
        if kind.dtype in ("string", "bytes"):
            yield feature("length")
        return
    if kind.dtype in ("string", "bytes"):
        yield feature("length")
        return
    axis = kind.shape[0]
    if side == "output" and _is_classes(kind):
        yield feature("class", labels=kind.labels)
        yield feature("confidence")
    if kind.varies:
        yield feature("length")
    elif len(kind.shape) == 1 and axis and axis <= FEW:
        yield from (Feature(f"{shown}[{place}]", side, name, "value", place=place) for place in range(axis))
        return
    yield feature("mean")
    yield feature("spread")


def _of_node(checked: CheckedGraph, path: str, node: Cascade | Ensemble) -> Iterator[Feature]:
    """Members two by two, where both answer classes, or both numbers."""
    found: dict[str, tuple[str, ColumnType]] = {}
    for member in node.members:
        inside = checked.graphs.get(member.uses)
        outputs = (inside.signature if inside is not None else checked.signatures[member.uses]).outputs
        named = [member.output, getattr(node, "output", None), getattr(node, "of", None), *outputs]
        chosen = next((each for each in named if each in outputs), None)
        if chosen is not None:
            found[member.name] = chosen, outputs[chosen]
    pairs = list(combinations(found, 2))[:MOST_PAIRS]
    for one, other in pairs:
        kinds = [found[each][1] for each in (one, other)]
        outputs_of = tuple(found[each][0] for each in (one, other))
        if all(_is_classes(kind) for kind in kinds):
            labels = tuple(kind.labels for kind in kinds)
            if bool(labels[0]) != bool(labels[1]):
                labels = ((), ())  # as the node itself takes them: in one order
            yield Feature(f"{path}: {one} = {other}", "members", path, "agree", (one, other), labels, outputs_of)
        elif all(not kind.shape and kind.dtype.startswith("float") for kind in kinds):
            name = f"{path}: {one} - {other}"
            yield Feature(name, "members", path, "difference", (one, other), ((), ()), outputs_of)


def _is_classes(kind: ColumnType) -> bool:
    if not kind.shape:
        return kind.dtype == "string" or kind.dtype == "bool" or kind.dtype.startswith(("int", "uint"))
    return kind.dtype.startswith("float") and len(kind.shape) == 1 and 1 < (kind.shape[0] or 0) <= MOST_CLASSES


def _value(column: Any, labels: tuple[str, ...]) -> Values:
    if column.dtype == object:
        return objects([None if each is None else str(each)[:TEXT] for each in column])
    if column.dtype == bool:
        return objects(["true" if each else "false" for each in column.tolist()])
    return _numbers(column, labels)


def _numbers(column: Any, labels: tuple[str, ...]) -> Values:
    return np.asarray(column, dtype=np.float64).reshape(len(column))


def _length(column: Any, labels: tuple[str, ...]) -> Values:
    if isinstance(column, Ragged):
        return np.asarray(column.shapes.prod(axis=1), dtype=np.float64)
    sizes = [np.nan if each is None else float(len(each)) for each in column]
    return np.array(sizes, dtype=np.float64)


def _moment(column: Any, *, spread: bool) -> Values:
    if isinstance(column, Ragged):
        rows = [column[row] for row in range(len(column))]
        return np.array([_of_row(np.asarray(row), spread=spread) for row in rows], dtype=np.float64)
    flat = column.reshape(len(column), -1)
    if not flat.shape[1]:
        return np.full(len(column), np.nan)
    return np.asarray(flat.std(axis=1, dtype=np.float64) if spread else flat.mean(axis=1, dtype=np.float64))


def _of_row(row: Any, *, spread: bool) -> float:
    if not row.size:
        return float("nan")
    return float(row.std(dtype=np.float64) if spread else row.mean(dtype=np.float64))


def _mean(column: Any, labels: tuple[str, ...]) -> Values:
    return _moment(column, spread=False)


def _spread(column: Any, labels: tuple[str, ...]) -> Values:
    return _moment(column, spread=True)


def _classes(column: Any, labels: tuple[str, ...]) -> Values:
    if column.ndim == 1:
        return objects([label_text(each) for each in column])
    places = np.nan_to_num(column, nan=-np.inf).argmax(axis=1).tolist() if len(column) else []
    return objects([labels[each] if each < len(labels) else str(each) for each in places])


def _confidence(column: Any, labels: tuple[str, ...]) -> Values:
    return np.asarray(column.max(axis=1), dtype=np.float64) if len(column) else np.empty(0)


_VIEWS: Mapping[str, Any] = {
    "value": _value, "length": _length, "mean": _mean, "spread": _spread, "class": _classes, "confidence": _confidence,
}  # fmt: skip


def are_probabilities(column: Any) -> bool:
    """Whether the rows of an array are probabilities of classes: from 0, and 1 in all."""
    if not len(column):
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(column.sum(axis=1, dtype=np.float64) - 1) < SLACK).all() and column.min() > -SLACK)
