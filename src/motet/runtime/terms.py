"""What a model's signature says, held against the columns that go in and the answers that come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Column, Ragged, as_column, column_type, is_exactly
from motet.errors import GraphError, ModelFailedError
from motet.nodes.contract import typed
from motet.types import ColumnType, Signature

__all__ = ["Terms", "check_names"]


class Terms:
    """What a model takes and gives.

    Args:
        model: its name, for messages.
        signature: what it says of itself.
    """

    def __init__(self, model: str, signature: Signature) -> None:
        self._model, self._inputs, self._outputs = model, signature.inputs, signature.outputs
        self._names = tuple(signature.inputs)

    def named(self, columns: Sequence[Column] | Mapping[str, Column]) -> dict[str, Column]:
        """Columns, in order or by name, by the names of the model's inputs.

        Raises:
            GraphError: when there are more or fewer, or others.
        """
        wanted = self._names
        if type(columns) is list and len(columns) == len(wanted):
            return dict(zip(wanted, columns, strict=True))
        if isinstance(columns, Mapping):
            check_names(self._model, columns, wanted)
            return dict(columns)
        if len(columns) != len(wanted):
            raise GraphError(
                f"model {self._model!r} takes {len(wanted)} columns ({', '.join(wanted)}); it was given {len(columns)}"
            )
        return dict(zip(wanted, columns, strict=True))

    def check(self, columns: Mapping[str, Column]) -> None:
        """Check that the model takes columns of these types; of a column of unlike rows, only what they share.

        Raises:
            GraphError: when it does not take one.
        """
        for name, column in columns.items():
            wanted, got = self._inputs[name], column_type(column)
            if isinstance(column, Ragged):
                fits = wanted.dtype == "any" or (wanted.dtype == got.dtype and len(wanted.shape) == len(got.shape))
            elif wanted.is_object:
                fits = wanted.dtype == "any" or column.dtype == object
            else:
                fits = wanted.accepts(got) and (got.dtype != "any" or wanted.dtype == "any")
            if not fits:
                raise GraphError(
                    f"model {self._model!r} takes {name}: {wanted}; it was given {got}",
                    hint="cast or reshape the column in a map node",
                )

    def answer(self, given: Mapping[str, Any], rows: int) -> dict[str, Column]:
        """What the model gave for so many rows, as its signature promises it.

        Raises:
            ModelFailedError: when an output is missing, has another number of rows, or another type.
        """
        found: dict[str, Column] = {}
        for name, kind in self._outputs.items():
            value: Any = given.get(name)
            if is_exactly(value, kind, rows):
                found[name] = value
                continue
            if name not in given:
                raise ModelFailedError(
                    f"model {self._model!r} gave {', '.join(given)}; its signature promises {name!r}"
                )
            column = as_column(value)
            if getattr(column, "ndim", 1) == 0 or len(column) != rows:
                got = "a single value" if getattr(column, "ndim", 1) == 0 else f"{len(column)} rows"
                raise ModelFailedError(f"model {self._model!r} gave {got} of {name!r} for {rows} rows")
            value = value if isinstance(value, (list, tuple)) else column
            found[name] = _as_declared(value, column, kind, f"model {self._model!r}: output {name!r}")
        return found


def _as_declared(value: Any, column: Column, kind: ColumnType, where: str) -> Column:
    if isinstance(column, np.ndarray) and kind.shape == () and column.shape == (len(column), 1):
        column = value = column.reshape(-1)
    held = typed(value, kind)
    if held is None:
        raise ModelFailedError(f"the signature promises {kind}; the model gave {column_type(column)}", where=where)
    return held


def check_names(model: str, columns: Mapping[str, Column], wanted: Sequence[str]) -> None:
    """Check that columns have the names that a model, or the first function before it, takes.

    Raises:
        GraphError: when they have others.
    """
    if set(columns) != set(wanted):
        raise GraphError(f"model {model!r} takes {', '.join(wanted)}; it was given {', '.join(columns) or 'nothing'}")
