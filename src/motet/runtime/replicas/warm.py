"""The rows that a replica answers before anybody else's: a model's first call is not like the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import AnswerError, GraphError, ModelLoadError, ModelUnavailableError, MotetError, TypeMismatchError
from motet.graph.model import Model
from motet.reading import as_given, constant_column, read_column
from motet.runtime.replicas.replica import Replica
from motet.tracebacks import describe, ends_program
from motet.types import Signature

__all__ = ["LOADING_S", "warm_up"]

LOADING_S = 600.0
"""How long a replica may take to load, and to answer these rows."""
Check = Callable[[Mapping[str, Any], int], Any]


def warm_up(
    model: Model, signature: Signature, check: Check, *, paid: bool = False
) -> Callable[[Replica], bool] | None:
    """What is done with each replica of a model once it is loaded, which says whether it answered rows; None for nothing.

    Args:
        model: whose `warm_up` says whether it answers rows, and which. Where it says nothing, replicas in processes answer
            zeros where every input has a fixed shape.
        signature: what the model itself takes and gives.
        check: raises `AnswerError` when an answer for so many rows does not fit the signature.
        paid: whether calls cost money, so that none is made for this unless the model says it.

    Raises:
        GraphError: when the rows that are given do not fit the model, or none are given and none can be made up.
    """
    said = model.warm_up
    if said is False or (said is None and paid):
        return None
    where = f"model {model.name!r}: warm_up"
    given = isinstance(said, Mapping)
    columns = _given(said, signature, where) if isinstance(said, Mapping) else _zeros(signature)
    if columns is None:
        if said:
            hint = "give some rows by input, or write warm_up: false"
            raise GraphError("rows of zeros cannot be made for inputs whose shape varies", where=where, hint=hint)
        return None
    rows = len(next(iter(columns.values())))

    def warm(replica: Replica) -> bool:
        if said is None and replica.kind != "process":
            return False
        try:
            answer = replica.call(columns, LOADING_S)
        except ModelUnavailableError:
            raise
        except BaseException as error:  # (whatever the framework raises)
            if ends_program(error):
                raise
            if not given:
                return False  # it is there, and does not take zeros
            what = error.what if isinstance(error, MotetError) else f"{type(error).__name__}: {describe(error)}"
            raise ModelLoadError(f"it does not answer the rows given: {what}", where=where) from error
        try:
            check(answer, rows)
        except AnswerError:
            if given:
                raise
            return False  # nor answers them, as one that leaves out some rows
        return True

    return warm


def _zeros(signature: Signature) -> dict[str, Array] | None:
    """One row of zeros, or as many as every call must have."""
    if not signature.inputs or any(kind.row_bytes is None for kind in signature.inputs.values()):
        return None
    rows = signature.fixed_rows or 1
    return {name: np.asarray(constant_column(0, kind, rows)) for name, kind in signature.inputs.items()}


def _given(rows: Mapping[str, Any], signature: Signature, where: str) -> dict[str, Array]:
    if set(rows) != set(signature.inputs):
        raise GraphError(f"the model takes {', '.join(signature.inputs)}; got rows of {', '.join(rows)}", where=where)
    columns: dict[str, Array] = {}
    for name, kind in signature.inputs.items():
        try:
            held, bad = read_column(as_given(rows[name], kind), kind, repr(name), written=True)
        except TypeMismatchError as error:
            raise GraphError(error.what, where=where) from None
        if bad:
            raise GraphError(next(iter(bad.values())), where=where)
        if not isinstance(held, np.ndarray):
            raise GraphError(f"{name!r} is {kind}, and its rows must have one shape", where=where)
        columns[name] = held
    counts = {len(column) for column in columns.values()}
    if signature.fixed_rows and counts != {signature.fixed_rows}:
        raise GraphError(f"every call of the model has {signature.fixed_rows} rows; got {counts.pop()}", where=where)
    return columns
