"""The contract of users' functions: as many rows as they were given, and of the types that they declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.batch import Column, Indices, Ragged, as_named, read_only, take_rows
from motet.errors import AnswerError
from motet.graph.node import Answer, Fault
from motet.nodes.hold import HeldColumn, as_declared, hold
from motet.nodes.merge import kept_rows
from motet.nodes.owned import own_objects
from motet.types import ColumnType, Outputs

__all__ = ["answer_of", "as_given", "conform", "whole"]


def as_given(column: Column) -> Any:
    """A column as functions get it: a list of arrays where rows differ in shape, else an array; nobody can change them."""
    if type(column) is not np.ndarray and isinstance(column, Ragged):
        return Ragged(read_only(column.values), column.offsets, column.shapes).rows()
    return read_only(own_objects(column) if column.dtype == object else column)


def conform(result: Any, rows: int, outputs: Outputs | None, name: str) -> Answer:
    """What a function returned as columns by name, checked against what it declared; one array alone is `""`.

    Rows whose value is an exception, or does not fit what is declared, fail; they need not be asked for again.

    Args:
        result: one column, or a dict or named tuple of columns; what is in arrays is ours (see `motet.nodes.owned`).
        rows: how many rows it was given.
        outputs: what it declared; None where it does not say.
        name: the function, for messages.

    Raises:
        AnswerError: when there are not as many rows, or columns, or no row can be of the type declared.
    """
    if isinstance(outputs, ColumnType) and as_declared(result, outputs, rows):
        return Answer({"": result})
    if type(outputs) is dict and getattr(result, "_fields", None) == tuple(outputs):
        for column, kind in zip(result, outputs.values(), strict=True):
            if not as_declared(column, kind, rows):
                break
        else:
            return Answer(dict(zip(outputs, result, strict=True)))
    named = as_named(result)
    if named is None or (isinstance(outputs, ColumnType) and outputs.dtype != "any" and hasattr(result, "__array__")):
        named = {"": result}
    values = {str(key): value for key, value in named.items()}
    declared = _declared(outputs)
    if declared is not None and set(declared) != set(values):
        raise AnswerError(f"{name} declares {_listed(declared)} and returned {_listed(values)}")
    kinds: Mapping[str, ColumnType | None] = dict.fromkeys(values) if declared is None else declared
    held = {key: hold(values[key], kind, rows, f"{name}: {key}" if key else name) for key, kind in kinds.items()}
    return answer_of(held, rows, name)


def answer_of(held: Mapping[str, HeldColumn], rows: int, model: str, version: str = "") -> Answer:
    """Columns that were held, for the rows that fit all of them.

    Args:
        held: by name; each knows the rows that do not fit it.
        rows: how many there are.
        model: the function or model that gave them, for the faults.
        version: of the model.
    """
    errors: dict[int, BaseException] = {}
    for each in held.values():
        for row, error in each.errors.items():
            errors.setdefault(row, error)
    if not errors:
        return Answer({name: each.column for name, each in held.items()})
    faults = tuple(Fault.of(row, errors[row], model, version) for row in sorted(errors))
    kept = kept_rows(faults, rows)
    return Answer({name: _only(each, kept, rows) for name, each in held.items()}, faults, kept)


def whole(answer: Answer) -> dict[str, Column]:
    """The columns of an answer none of whose rows may fail, for those who find the rows at fault by asking again.

    Raises:
        AnswerError: when one has failed; of the name of what it failed with.
    """
    for fault in answer.faults:
        raise type(fault.error, (AnswerError,), {})(fault.message)
    return answer.columns


def _declared(outputs: Outputs | None) -> dict[str, ColumnType] | None:
    if outputs is None or (isinstance(outputs, ColumnType) and outputs.dtype == "any"):
        return None
    return {"": outputs} if isinstance(outputs, ColumnType) else dict(outputs)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) if name else "one array" for name in names) or "nothing"


def _only(held: HeldColumn, rows: Indices, total: int) -> Column:
    """Of the rows that fit, those at these places."""
    if not held.errors:
        return take_rows(held.column, rows)
    good = np.setdiff1d(np.arange(total), list(held.errors))
    return take_rows(held.column, np.searchsorted(good, rows))
