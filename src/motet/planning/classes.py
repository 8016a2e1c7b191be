"""Answers and labels as the same classes, whatever each of them calls them: by name, by place, or by its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from motet.batch import Array, Column, Indices, Ragged
from motet.errors import InputError
from motet.types import ColumnType, label_text

__all__ = ["AnswerKind", "AnswerReader", "Judged", "reader_of"]

AnswerKind = Literal["scores", "places", "names", "probability", "numbers", "values"]
"""What an answer is: a score for each class, the place of a class, its name, that of the second of two, a number, or else."""


@dataclass(frozen=True)
class Judged:
    """Answers to some rows, as metrics take them.

    Attributes:
        ids: the rows, ascending.
        values: what was answered.
        classes: the places of the classes that were answered; None where answers are no classes.
        scores: of every class `[rows, classes]`, where they are known.
    """

    ids: Indices
    values: Any
    classes: Indices | None = None
    scores: Array | None = None

    @property
    def confidence(self) -> npt.NDArray[np.float64] | None:
        """The score of the class that was answered."""
        if self.scores is None or self.classes is None:
            return None
        return self.scores[np.arange(len(self.classes)), self.classes].astype(np.float64)


@dataclass(frozen=True)
class AnswerReader:
    """Makes of answers what metrics take.

    Attributes:
        of: the column that is compared with the labels.
        scores: the column of its scores, None where there is none.
        kind: what that column is.
        names: the classes, empty where there are none.
        truth: of each row the place of the right class, -1 where it has no label; or the right number, NaN likewise.
    """

    of: str
    scores: str | None
    kind: AnswerKind
    names: tuple[str, ...]
    truth: Any

    def read(self, columns: Mapping[str, Column], ids: Indices) -> Judged:
        """Answers, as metrics take them.

        Raises:
            InputError: when an answer is no class.
        """
        values = columns[self.of]
        scores: Any = columns[self.scores] if self.scores else None
        if self.kind in ("numbers", "values"):
            return Judged(ids, values)
        array: Any = values
        if self.kind == "probability":
            array = np.asarray(array).reshape(len(ids))
            return Judged(ids, values, (array >= 0.5).astype(np.int64), np.stack([1 - array, array], axis=1))
        if self.kind == "scores":
            return Judged(ids, values, np.asarray(array.argmax(axis=1)), array)
        if self.kind == "places":
            return Judged(ids, values, _within(np.asarray(array, dtype=np.int64), len(self.names), self.of), scores)
        return Judged(ids, values, _places([label_text(each) for each in array], self.names, self.of), scores)


def _within(places: Indices, count: int, of: str) -> Indices:
    if len(places) and not 0 <= places.min() <= places.max() < count:
        raise InputError(f"answers go from {places.min()} to {places.max()}; there are {count} classes", where=of)
    return places


def _places(texts: Sequence[str], names: Sequence[str], of: str) -> Indices:
    index = {name: place for place, name in enumerate(names)}
    unknown = sorted({each for each in texts if each not in index})
    if unknown:
        raise InputError(f"{_listed(unknown)} is none of the classes {_listed(names)}", where=of)
    return np.array([index[each] for each in texts], dtype=np.int64)


def reader_of(
    of: str,
    kind: ColumnType,
    columns: Mapping[str, Column],
    candidates: Mapping[str, ColumnType],
    labels: Sequence[Any],
    ids: Indices,
    label: str,
    *,
    classes: bool | None = None,
) -> AnswerReader:
    """Find out what answers are, and which classes labels name.

    Args:
        of: the column that is compared.
        kind: its type.
        columns: the graph's own answers.
        candidates: columns that may hold its scores.
        labels: of all rows; None where there is none.
        ids: the rows that were answered.
        label: the column of the labels, for messages.
        classes: whether classes are compared; None where that goes by the types.

    Raises:
        InputError: when labels and answers cannot be compared.
    """
    values: Any = columns[of]
    if isinstance(values, Ragged):
        raise InputError("rows differ in shape, so they cannot be compared with labels", where=of)
    texts = [None if each is None else label_text(each) for each in labels]
    if not any(each is not None for each in texts):
        raise InputError(f"column {label!r} has no label in any row", where="label")
    is_float = values.dtype.kind == "f"
    if is_float and values.ndim == 2 and values.shape[1] > 1:
        names = kind.labels or tuple(map(str, range(values.shape[1])))
        return AnswerReader(of, of, "scores", names, _truth(texts, names, label, of))
    if values.ndim > 1 and not (is_float and values[:1].size == 1):
        return AnswerReader(of, None, "values", (), np.array([each is not None for each in labels]))
    if is_float:
        return _numbers(of, texts, label, classes=bool(classes))
    if not len(values):
        raise InputError("no row was answered", where=of)
    said = [label_text(each) for each in values]
    scores, by_place = _scores_of(columns, candidates, values, said)
    if scores is not None:
        width = columns[scores].shape[1]  # type: ignore[union-attr]
        names = candidates[scores].labels or tuple(map(str, range(width)))
        return AnswerReader(of, scores, "places" if by_place else "names", names, _truth(texts, names, label, of))
    known = {each for each in texts if each is not None}
    if values.dtype.kind == "b" and known <= {"0", "1"}:
        texts = [None if each is None else ("false", "true")[int(each)] for each in texts]
        known = {each for each in texts if each is not None}
    if values.dtype.kind in "iu" and all(_is_whole(each) for each in known) and classes is False:
        return _numbers(of, texts, label, classes=False)
    if not known & set(said):
        what = f"labels ({_listed(sorted(known))}) and answers ({_listed(sorted(set(said)))}) have nothing in common"
        raise InputError(
            what, where=f"{label} and {of}", hint="compare scores, whose classes are known (--of), or names"
        )
    every = known | set(said)
    names = tuple(sorted(every, key=int) if all(map(_is_whole, every)) else sorted(every))
    return AnswerReader(of, None, "names", names, _truth(texts, names, label, of))


def _scores_of(
    columns: Mapping[str, Column], candidates: Mapping[str, ColumnType], values: Any, said: Sequence[str]
) -> tuple[str | None, bool]:
    """The column of which each answer is the largest place, and whether answers are places, and not names."""
    for name, kind in candidates.items():
        scores = columns[name]
        if isinstance(scores, Ragged) or scores.ndim != 2 or not scores.shape[1]:
            continue
        largest = scores.argmax(axis=1)
        if values.dtype.kind in "iu" and np.array_equal(largest, values):
            return name, True
        names = kind.labels if len(kind.labels) == scores.shape[1] else ()
        if names and [names[place] for place in largest] == list(said):
            return name, False
    return None, False


def _truth(texts: Sequence[str | None], names: Sequence[str], label: str, of: str) -> Indices:
    """The places of the right classes: by name, or, where no label is a name, by place."""
    index = {name: place for place, name in enumerate(names)}
    known = {each for each in texts if each is not None}
    strange = sorted(known - set(index))
    places = all(map(_is_whole, known)) and all(0 <= int(each) < len(names) for each in known)
    if places and known.isdisjoint(index):
        return np.array([-1 if each is None else int(each) for each in texts], dtype=np.int64)
    if strange:
        what = f"column {label!r} has labels that are no classes: {_listed(strange)}; the classes of {of!r} are {_listed(names)}"
        raise InputError(
            what, where="label", hint="declare labels: [...] for the models, or choose another output (--of)"
        )
    return np.array([-1 if each is None else index[each] for each in texts], dtype=np.int64)


def _numbers(of: str, texts: Sequence[str | None], label: str, *, classes: bool) -> AnswerReader:
    if classes:
        known = sorted({each for each in texts if each is not None})
        names = ("false", "true") if set(known) <= {"false", "true"} else ("0", "1")
        if not set(known) <= set(names):
            what = f"{of!r} is one number, which says how likely the second of two classes is; the labels are {_listed(known)}"
            raise InputError(
                what, where="label", hint="choose an output of classes or scores (--of), or a metric of numbers (rmse)"
            )
        return AnswerReader(of, None, "probability", names, _truth(texts, names, label, of))
    try:
        numbers = [
            float("nan") if each is None else float({"true": "1", "false": "0"}.get(each, each)) for each in texts
        ]
    except ValueError:
        strange = [each for each in texts if each is not None and not _is_number(each)]
        what = f"{of!r} is a number; column {label!r} has {_listed(strange)}"
        raise InputError(what, where="label", hint="choose an output of classes (--of)") from None
    return AnswerReader(of, None, "numbers", (), np.array(numbers, dtype=np.float64))


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 8} more" if len(texts) > 8 else ""
    return ", ".join(map(repr, texts[:8])) + more
