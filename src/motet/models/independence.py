"""A few made-up rows, alone and together: whether rows that share a call change each other's answers."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, cast

import numpy as np

from motet.batch import Array
from motet.errors import MissingExtraError, ModelLoadError
from motet.models.handler import LoadedModel
from motet.tracebacks import ends_program
from motet.types import ColumnType, Signature

__all__ = ["RowByRow", "one_row_a_call_if_needed"]

_LOG = logging.getLogger("motet.models")
_ROWS = 4
_LARGE = 100.0
"""The last row's numbers are this much larger than the others', as those of an outlier are; the row before has the opposite
ones, so that what asks whether a number is small does not find all rows alike."""
_VARYING = 3
"""How long an axis is made that varies from row to row."""
_MOST_BYTES = 64 << 20
_DIFFERENT = 1e-3
"""Of the largest answer. What adds in another order is off by far less, and a scale taken from an outlier by far more."""


class Finding(Enum):
    """What a trial found."""

    APART = "apart"
    """Rows answer alike alone and together, or no rows could be made up that are answered."""
    TOGETHER = "together"
    """Rows answer otherwise together than alone."""
    ALONE = "alone"
    """Rows are answered alone, and not together."""


_WHY = {
    Finding.TOGETHER: ("rows that share a call change each other's answers", "Export the model so that they do not."),
    Finding.ALONE: (
        "it answers one row a call only: the number of rows is fixed inside",
        "Export the model with a first axis of any length, or with one of 1.",
    ),
}


def one_row_a_call_if_needed(model: LoadedModel, signature: Signature, where: str) -> LoadedModel:
    """The model, or one that makes each row a call of its own, where rows that share a call would answer otherwise.

    Args:
        model: the model.
        signature: what it takes and gives.
        where: names it in a warning.
    """
    finding = try_rows(model, signature)
    if finding is Finding.APART:
        return model
    _LOG.warning("%s: %s; each row is a call of its own. %s", where, *_WHY[finding])
    return RowByRow(model, signature.fixed_rows or 1)


class RowByRow:
    """A model whose every row is a call of its own. A row that raises fails alone, where others are answered.

    Args:
        model: the model.
        rows: how many rows its calls have: each is filled up with copies of its row.
    """

    batch_invariant = True

    def __init__(self, model: LoadedModel, rows: int = 1) -> None:
        self._model, self._rows = model, rows

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`."""
        count = len(next(iter(columns.values())))
        calls = (
            {name: np.repeat(column[row : row + 1], self._rows, axis=0) for name, column in columns.items()}
            for row in range(count)
        )
        answers = [self._row(call) for call in calls]
        good = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not good and answers:
            raise cast(BaseException, answers[0])
        if len(good) == len(answers):
            return {name: _joined([answer[name] for answer in good]) for name in good[0]}
        return {name: [e if isinstance(e, BaseException) else e[name][0] for e in answers] for name in good[0]}

    def _row(self, call: Mapping[str, Array]) -> Mapping[str, Any] | BaseException:
        """The answer of a row, or what it raised."""
        try:
            return {name: answer[:1] for name, answer in self._model(call).items()}
        except BaseException as error:  # (frameworks may raise anything)
            if ends_program(error) or isinstance(error, (ModelLoadError, MissingExtraError)):
                raise
            return error

    def close(self) -> None:
        """Give the model's memory back."""
        self._model.close()


def _joined(parts: list[Any]) -> Any:
    """The rows of several answers: an array, or a list where they differ in shape."""
    alike = all(isinstance(part, np.ndarray) and part.shape == parts[0].shape for part in parts)
    return np.concatenate(parts) if alike else [row for part in parts for row in part]


def try_rows(model: LoadedModel, signature: Signature) -> Finding:
    """Ask for a few made-up rows alone and together."""
    fixed = signature.fixed_rows
    columns = {name: _column(kind, fixed or _ROWS) for name, kind in signature.inputs.items()}
    if fixed == 1 or any(column is None for column in columns.values()):
        return Finding.APART
    given = {name: column for name, column in columns.items() if column is not None}
    alone = _tried(RowByRow(model, fixed or 1), given)
    if alone is None:  # whole numbers may be places among the rows, and the first one is there in every call
        given = {name: np.zeros_like(column) if column.dtype.kind in "iu" else column for name, column in given.items()}
        alone = _tried(RowByRow(model, fixed or 1), given)
    if alone is None:
        return Finding.APART
    together = _tried(model, given)
    if together is None:
        return Finding.ALONE
    alike = all(_alike(alone[name], together[name]) for name in alone)
    return Finding.APART if alike else Finding.TOGETHER


def _tried(
    model: Callable[[dict[str, Array]], Mapping[str, Any]], columns: dict[str, Array]
) -> Mapping[str, Any] | None:
    try:
        found = model(columns)
        if any(isinstance(row, BaseException) for answer in found.values() for row in answer):
            return None
        return {name: np.asarray(answer) for name, answer in found.items()}
    except Exception:  # noqa: BLE001 (that it fails is the finding)
        return None


def _alike(alone: Array, together: Array) -> bool:
    if alone.shape != together.shape:
        return False
    if alone.dtype.kind != "f":
        return bool(np.array_equal(alone, together))
    finite = np.abs(alone[np.isfinite(alone)])
    return np.allclose(alone, together, rtol=_DIFFERENT, atol=_DIFFERENT * finite.max(initial=0.0), equal_nan=True)


def _column(kind: ColumnType, rows: int) -> Array | None:
    """Rows of a type; None where none can be made up."""
    shape = (rows, *(axis or _VARYING for axis in kind.shape))
    if kind.dtype in ("any", "bytes") or math.prod(shape) * kind.numpy_dtype.itemsize > _MOST_BYTES:
        return None
    if kind.dtype == "string":
        return np.array(["a", "b c", "d"], object).take(_made_up(shape) % 3)
    if kind.numpy_dtype.kind != "f":
        return (_made_up(shape) % 2).astype(kind.numpy_dtype)
    values = np.sum(_made_up((*shape, 3)) / (1 << 15), axis=-1) - 3.0  # nearly normal ones, around 0 and of variance 1
    values[-1] *= _LARGE
    values[-2:-1] = -values[-1]
    return np.asarray(values, kind.numpy_dtype)


def _made_up(shape: tuple[int, ...]) -> Array:
    """Numbers below 65,536, the same ones always. NumPy's own generators take 10 ms to import."""
    made = random.Random(0).randbytes(2 * math.prod(shape))
    return np.frombuffer(made, np.uint16).reshape(shape)
