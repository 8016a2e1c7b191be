"""Rows with vectors, and by brute force which of them are the nearest: what a search of a table must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

import motet as mt

__all__ = ["rows_of", "scores_of", "searching", "storing"]


def rows_of(count: int, seed: int = 0, size: int = 4) -> pa.Table:
    """Rows `0..count-1`: id, two vectors `image[size]` and `words[size]`, a text, a number and a truth value."""
    rng = np.random.default_rng(seed)

    def vectors() -> pa.Array:
        values = rng.integers(-8, 9, (count, size)).astype(np.float32)
        values[~values.any(axis=1), 0] = 1
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), size)

    return pa.table(
        {
            "id": pa.array(np.arange(count), pa.int64()),
            "image": vectors(),
            "words": vectors(),
            "genre": pa.array([("rock", "pop", "it's `jazz`")[each] for each in rng.integers(0, 3, count)]),
            "price": pa.array(rng.integers(0, 20, count) / 2.0),
            "new": pa.array(rng.integers(0, 2, count).astype(bool)),
        }
    )


def matrix(table: pa.Table, name: str) -> np.ndarray:
    """The vectors of a column, in float64."""
    return np.array(table[name].to_pylist(), np.float64)


def scores_of(table: pa.Table, name: str, query: Any, metric: str) -> np.ndarray:
    """How near each row is, as a search says it."""
    found, wanted = matrix(table, name), np.asarray(query, np.float64)
    if metric == "dot":
        return found @ wanted
    if metric == "l2":
        return -np.sqrt(((found - wanted) ** 2).sum(axis=1))
    return (found @ wanted) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted)


def storing(function: Any = np.negative) -> mt.Graph:
    """A graph that gives `less`, what a function makes of the price; beside it stand all columns of `rows_of`."""
    return mt.Graph("store", {"less": mt.map(function, mt.input("price", "float64"), outputs="float64")})


def searching(address: str, inputs: dict[str, str], **options: Any) -> mt.Graph:
    """A graph that searches a table, and gives all that it finds."""
    columns: dict[str, Any] = {name: mt.input(name, kind) for name, kind in inputs.items()}
    found = mt.model(mt.Model(address, options=options), **columns)
    names = ["id", "score", *options.get("columns", [])]
    return mt.Graph("search", {name: found[name] for name in names})
