"""What a model's signature says, held against the columns that go in and the answers that come out."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from motet.batch import Column, Ragged, column_type
from motet.errors import AnswerError, GraphError
from motet.graph.node import Answer
from motet.nodes.contract import answer_of
from motet.nodes.hold import as_declared, hold
from motet.types import ColumnType, Signature

__all__ = ["SignatureCheck", "check_names"]


class SignatureCheck:
    """What a model takes and gives.

    Args:
        model: its name, for messages.
        signature: what it says of itself.
        version: of the model, for failures.

    Attributes:
        outputs: the types of the outputs that are taken, by name.
    """

    def __init__(self, model: str, signature: Signature, version: str = "") -> None:
        self._version = version
        self._model, self._inputs, self._every = model, signature.inputs, signature.outputs
        self.outputs: Mapping[str, ColumnType] = signature.outputs
        self._names = tuple(signature.inputs)

    def need(self, outputs: Container[str]) -> None:
        """From now on, take only these outputs of what it gives."""
        self.outputs = {name: kind for name, kind in self._every.items() if name in outputs}

    def named(self, columns: Sequence[Column] | Mapping[str, Column]) -> dict[str, Column]:
        """Columns, in order or by name, by the names of the model's inputs.

        Raises:
            GraphError: when there are more or fewer, or others.
        """
        wanted = self._names
        if type(columns) is list and len(columns) == len(wanted):
            return dict(zip(wanted, columns, strict=True))
        if isinstance(columns, Mapping):
            if columns.keys() != self._inputs.keys():
                check_names(self._model, columns, wanted)
            return {name: columns[name] for name in wanted}
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

    def answer(self, given: Mapping[str, Any], rows: int) -> Answer:
        """What the model gave for so many rows, as its signature promises it; rows that do not fit it fail.

        Raises:
            AnswerError: when an output is missing, has another number of rows, or none of the type.
        """
        found: dict[str, Column] = {}
        for name, kind in self.outputs.items():
            value: Any = given.get(name)
            if not as_declared(value, kind, rows):
                return self._held(given, rows)
            found[name] = value
        return Answer(found)

    def _held(self, given: Mapping[str, Any], rows: int) -> Answer:
        missing = next((name for name in self.outputs if name not in given), None)
        if missing is not None:
            raise AnswerError(f"model {self._model!r} gave {', '.join(given)}; its signature promises {missing!r}")
        where = f"model {self._model!r}: output"
        held = {name: hold(given[name], kind, rows, f"{where} {name!r}") for name, kind in self.outputs.items()}
        return answer_of(held, rows, self._model, self._version)


def check_names(model: str, columns: Mapping[str, Column], wanted: Sequence[str]) -> None:
    """Check that columns have the names that a model, or the first function before it, takes.

    Raises:
        GraphError: when they have others.
    """
    if set(columns) != set(wanted):
        raise GraphError(f"model {model!r} takes {', '.join(wanted)}; it was given {', '.join(columns) or 'nothing'}")
