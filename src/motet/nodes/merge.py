"""Putting rows together again that members answered apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Array, Column, Indices, concat_columns, take_rows
from motet.graph.node import Answer, Fault

__all__ = ["faults_at", "first_rows", "kept_rows", "merge"]


def faults_at(answer: Answer, positions: Indices | None) -> list[Fault]:
    """The faults of an answer at the places that its rows have outside."""
    if positions is None:
        return list(answer.faults)
    return [fault.at(int(positions[fault.position])) for fault in answer.faults]


def kept_rows(faults: Sequence[Fault], rows: int) -> Indices:
    """The places of the rows that have no fault."""
    kept = np.ones(rows, dtype=bool)
    kept[[fault.position for fault in faults]] = False
    return np.flatnonzero(kept)


def first_rows(answer: Answer, rows: int) -> Answer:
    """The answer of the first rows alone."""
    if answer.kept is None:
        return Answer({name: take_rows(column, slice(rows)) for name, column in answer.columns.items()})
    kept = answer.kept[answer.kept < rows]
    faults = tuple(fault for fault in answer.faults if fault.position < rows)
    columns = {name: take_rows(column, slice(len(kept))) for name, column in answer.columns.items()}
    return Answer(columns, faults, kept if faults else None)


def merge(parts: Sequence[tuple[Indices, Answer]], rows: int, faults: Sequence[Fault] = ()) -> Answer:
    """One answer from those of disjoint rows.

    Args:
        parts: answers, each with the places of its rows.
        rows: how many rows there are in all.
        faults: of rows that no part holds.

    Returns:
        The rows in their order; every row is in it once, or has a fault.
    """
    every = [*faults]
    for positions, answer in parts:
        if answer.faults:
            every += faults_at(answer, positions)
    if len(parts) == 1 and not every:
        return parts[0][1]
    held = [positions if answer.kept is None else positions[answer.kept] for positions, answer in parts]
    filled = [(positions, answer) for positions, (_, answer) in zip(held, parts, strict=True) if len(positions)]
    every.sort(key=lambda fault: fault.position)
    kept = kept_rows(every, rows) if every else None
    if not filled:
        return Answer(dict(parts[0][1].columns) if parts else {}, tuple(every), kept)
    places = np.concatenate([positions for positions, _ in filled])
    order = None if (places[1:] > places[:-1]).all() else np.argsort(places, kind="stable")
    names = filled[0][1].columns
    columns = {name: _merge_column([answer.columns[name] for _, answer in filled], order) for name in names}
    return Answer(columns, tuple(every), kept)


def _merge_column(parts: Sequence[Column], order: Indices | None) -> Column:
    """Concatenate and put into order, None where they are in it; rows of one shape are written straight to their places."""
    if order is None:
        return concat_columns(parts)
    dense = [part for part in parts if isinstance(part, np.ndarray)]
    if len(dense) == len(parts) and len({part.shape[1:] for part in dense}) == 1:
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order))
        return _scatter(dense, places)
    return take_rows(concat_columns(parts), order)


def _scatter(parts: Sequence[Array], places: Indices) -> Array:
    merged = np.empty((len(places), *parts[0].shape[1:]), dtype=np.result_type(*parts))
    start = 0
    for part in parts:
        merged[places[start : start + len(part)]] = part
        start += len(part)
    return merged
