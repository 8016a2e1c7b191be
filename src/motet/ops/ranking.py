"""Functions over candidates, a list of them a row: apart into pieces and together again, sorted by score, several lists as one.

    pairs, best_first    the `apart` and the `together` of a shard whose model scores each candidate beside what it is for
    split, join          the same for lists whose values are pieces themselves
    rank                 candidates that have scores already, best first
    fuse, weighted_sum   several lists of the same candidates as one: by their ranks, or by their scores

A list is `dtype[?]`, or `dtype[?,...]`, a row. Best first is by falling score, the earlier of equals first; a candidate whose score is
NaN, as of one that could not be scored, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from motet.batch import Array, Column, Indices, Ragged, concat_columns, objects, take_rows
from motet.errors import InputError
from motet.ops._arrays import Rows, check_pieces
from motet.ops._kinds import FLOATS, NUMBERS, float_of, is_any, refuse
from motet.types import ANY, ColumnType, returns

__all__ = ["Fused", "best_first", "fuse", "join", "pairs", "rank", "split", "weighted_sum"]


class Fused(NamedTuple):
    """Lists as one, best first.

    Attributes:
        ids: the candidates, `[?]` a row.
        scores: their scores, float64, `[?]` a row.
    """

    ids: Column
    scores: Column


def _item(function: str, kind: ColumnType) -> ColumnType:
    """What a list's values are."""
    if kind.dtype != "any" and not kind.shape:
        refuse(function, "lists, for example string[?]", kind)
    return ANY if is_any(kind) else ColumnType(kind.dtype, kind.shape[1:])


def _list(kind: ColumnType) -> ColumnType:
    return ANY if is_any(kind) else ColumnType(kind.dtype, (None, *kind.shape))


def _named(function: str, count: int, names: Sequence[str] | None, usual: Sequence[str]) -> Sequence[str]:
    """A name for each column."""
    chosen = usual[:count] if names is None else names
    if isinstance(chosen, str) or len(chosen) != count or len(set(chosen)) != count:
        raise ValueError(f"{function} needs names, {count} different ones; got {list(chosen)}")
    return chosen


def _counts(function: str, columns: Sequence[Rows]) -> Indices:
    """How many values the lists of a row have, which all must have as many."""
    lengths = [np.array([len(values) for values in column], np.int64) for column in columns]
    for other in lengths[1:]:
        if len(other) != len(lengths[0]) or (other != lengths[0]).any():
            row = next(iter(np.flatnonzero(other != lengths[0]).tolist()), 0) if len(other) == len(lengths[0]) else 0
            raise InputError(f"the lists of row {row} differ in length", where=f"motet.ops.ranking.{function}")
    return lengths[0]


def _flat(column: Rows) -> Column:
    """The values of all lists, one behind the other."""
    if isinstance(column, Ragged):
        column = column.rows()
    if isinstance(column, np.ndarray):
        return column.reshape(-1, *column.shape[2:])
    if not len(column):
        return np.empty(0)
    filled = [np.asarray(row) for row in column if len(row)] or [np.asarray(column[0])]
    return concat_columns(filled)


def _parted(function: str, values: Rows, counts: Indices) -> Ragged:
    """The inverse: lists of as many values as that."""
    check_pieces(f"ranking.{function}", values, counts)
    ends = np.cumsum(counts)
    array = np.asarray(values) if isinstance(values, np.ndarray) else None
    if array is None:
        rows = list(values)
        return Ragged.from_rows([_stacked(rows[end - n : end]) for end, n in zip(ends, counts, strict=True)])
    parts = [array[end - n : end] for end, n in zip(ends, counts, strict=True)]
    return Ragged.from_rows(parts, array.dtype, array.ndim)


def _stacked(rows: Sequence[Any]) -> Array:
    if len({np.shape(row) for row in rows}) > 1:
        raise InputError("the values of a list differ in shape", where="motet.ops.ranking.join")
    return np.stack(rows) if rows else np.empty(0)


def _split_type(*lists: ColumnType, names: Sequence[str] | None = None) -> Any:
    if not lists:
        raise ValueError("split takes one list or more, got none")
    items = [_item("split", kind) for kind in lists]
    if len(lists) == 1 and names is None:
        return items[0]
    return dict(zip(_named("split", len(lists), names, ()), items, strict=True))


@returns(_split_type)
def split(*lists: Rows, names: Sequence[str] | None = None) -> tuple[Any, Indices]:
    """The `apart` of a shard: each value of a row's list is a piece.

    Args:
        lists: one or more, of as many values a row.
        names: what the model calls them; needed of more than one.

    Returns:
        The values, and how many each row has.

    >>> pieces, counts = split([np.array([1.0, 2.0]), np.array([])])
    >>> pieces.tolist(), counts.tolist()
    ([1.0, 2.0], [2, 0])
    """
    counts = _counts("split", lists)
    values = [_flat(column) for column in lists]
    if len(lists) == 1 and names is None:
        return values[0], counts
    return dict(zip(_named("split", len(lists), names, ()), values, strict=True)), counts


def _join_type(*columns: ColumnType, names: Sequence[str] | None = None) -> Any:
    *pieces, _ = columns
    if len(pieces) == 1 and names is None:
        return _list(pieces[0])
    return dict(zip(_named("join", len(pieces), names, ()), map(_list, pieces), strict=True))


@returns(_join_type)
def join(*columns: Rows, names: Sequence[str] | None = None) -> Any:
    """The `together` of a shard: what the model says of a row's pieces, as a list a row.

    Args:
        columns: what the model gives, one column or more, and how many pieces each row has.
        names: what the lists are called; needed of more than one.

    >>> join(np.array([1.0, 2.0, 3.0]), np.array([2, 0, 1])).rows()
    [array([1., 2.]), array([], dtype=float64), array([3.])]
    """
    *pieces, counts = columns
    lists = [_parted("join", values, np.asarray(counts)) for values in pieces]
    if len(pieces) == 1 and names is None:
        return lists[0]
    return dict(zip(_named("join", len(pieces), names, ()), lists, strict=True))


PAIR = ("query", "candidate")


def _pairs_type(
    query: ColumnType, candidates: ColumnType, names: Sequence[str] | None = None
) -> Mapping[str, ColumnType]:
    first, second = _named("pairs", 2, names, PAIR)
    return {first: query, second: _item("pairs", candidates)}


@returns(_pairs_type)
def pairs(query: Rows, candidates: Rows, *, names: Sequence[str] | None = None) -> tuple[dict[str, Column], Indices]:
    """The `apart` of a shard that scores candidates: each is a piece, beside what the row has once.

    Args:
        query: what candidates are for, shape `[rows, ...]`.
        candidates: a list a row.
        names: what the model calls the two; `query` and `candidate` where it is not said.

    Returns:
        Both, a value for each candidate of all rows; and how many each row has.

    >>> pieces, counts = pairs(np.array(["a", "b"], object), [np.array(["x", "y"], object), np.array(["z"], object)])
    >>> pieces["query"].tolist(), pieces["candidate"].tolist(), counts.tolist()
    (['a', 'a', 'b'], ['x', 'y', 'z'], [2, 1])
    """
    first, second = _named("pairs", 2, names, PAIR)
    counts = _counts("pairs", [candidates])
    if len(query) != len(counts):
        raise InputError(f"there are {len(query)} rows and {len(counts)} lists", where="motet.ops.ranking.pairs")
    of_row = np.repeat(np.arange(len(counts)), counts)
    held = query if isinstance(query, (np.ndarray, Ragged)) else Ragged.from_rows(query)
    return {first: take_rows(held, of_row), second: _flat(candidates)}, counts


def _rank_type(
    scores: ColumnType, *lists: ColumnType, k: int | None = None, names: Sequence[str] | None = None
) -> dict[str, ColumnType]:
    item = _item("rank", scores)
    if not is_any(item) and (item.shape or item.dtype not in NUMBERS):
        refuse("rank", "scores, a number for each candidate", scores)
    return _ranked_types("rank", item, lists, k, names)


def _ranked_types(
    function: str, score: ColumnType, lists: Sequence[ColumnType], k: int | None, names: Sequence[str] | None
) -> dict[str, ColumnType]:
    if k is not None and k < 1:
        raise ValueError(f"{function} needs k of at least 1, got {k}")
    chosen = _named(function, len(lists), names, ("candidates",))
    kinds = {name: _list(_item(function, kind)) for name, kind in zip(chosen, lists, strict=True)}
    scores = ANY if is_any(score) else ColumnType(score.dtype if score.dtype in FLOATS else float_of(score), (None,))
    return {"indices": ColumnType("int64", (None,)), "scores": scores, **kinds}


@returns(_rank_type)
def rank(scores: Rows, *lists: Rows, k: int | None = None, names: Sequence[str] | None = None) -> dict[str, Column]:
    """Candidates by their scores, best first.

    Args:
        scores: a list a row.
        lists: the candidates, and what else belongs to them; lists of as many values.
        k: how many of each row; all where it is not given.
        names: what the lists are called; `candidates` of one.

    Returns:
        `indices`, where in its list each stood, int64; `scores`; and the lists in that order. All are `[?]` a row.

    >>> ranked = rank([np.array([0.1, 0.9, 0.9])], [np.array(["a", "b", "c"], object)], k=2)
    >>> ranked["candidates"].rows(), ranked["indices"].rows()
    ([array(['b', 'c'], dtype=object)], [array([1, 2])])
    """
    _rank_type(ANY, *(ANY for _ in lists), k=k, names=names)
    _counts("rank", [scores, *lists])
    return _ranked("rank", [np.asarray(row) for row in scores], lists, k, names)


def _ranked(
    function: str, scores: Sequence[Array], lists: Sequence[Rows], k: int | None, names: Sequence[str] | None
) -> dict[str, Column]:
    orders = [_order(row)[:k] for row in scores]
    dtype = scores[0].dtype if scores and scores[0].dtype.kind == "f" else np.dtype(np.float32)
    found: dict[str, Column] = {
        "indices": Ragged.from_rows(orders, np.int64, 1),
        "scores": Ragged.from_rows([row[order] for row, order in zip(scores, orders, strict=True)], dtype, 1),
    }
    for name, column in zip(_named(function, len(lists), names, ("candidates",)), lists, strict=True):
        rows = [np.asarray(row)[order] for row, order in zip(column, orders, strict=True)]
        found[name] = Ragged.from_rows(rows, None if rows else np.float64)
    return found


def _order(scores: Array) -> Indices:
    """The places of scores, best first, without those that are NaN."""
    values = scores.astype(np.float64)
    return np.argsort(-values, kind="stable")[: len(scores) - int(np.isnan(values).sum())]


def _best_first_type(
    scores: ColumnType, counts: ColumnType, *lists: ColumnType, k: int | None = None, names: Sequence[str] | None = None
) -> dict[str, ColumnType]:
    if not is_any(scores) and (scores.dtype not in NUMBERS or scores.shape not in ((), (1,))):
        refuse("best_first", "a score, one number for each candidate", scores)
    return _ranked_types("best_first", ANY if is_any(scores) else ColumnType(scores.dtype), lists, k, names)


@returns(_best_first_type)
def best_first(
    scores: Rows, counts: Array, *lists: Rows, k: int | None = None, names: Sequence[str] | None = None
) -> dict[str, Column]:
    """The `together` of a shard that scores candidates: best first, with what the row knows of each.

    Args:
        scores: what the model says of each candidate of all rows, shape `[pieces]` or `[pieces, 1]`.
        counts: how many candidates each row has.
        lists: of the row (`together_inputs` of the shard), as many values as candidates: these themselves, and what else belongs to
            them.
        k: how many of each row; all where it is not given.
        names: what the lists are called; `candidates` of one.

    Returns:
        As `rank`.

    >>> found = best_first(np.array([0.1, 0.9]), np.array([2]), [np.array(["x", "y"], object)])
    >>> found["candidates"].rows()
    [array(['y', 'x'], dtype=object)]
    """
    _best_first_type(ANY, ANY, *(ANY for _ in lists), k=k, names=names)
    flat = np.asarray(scores)
    if flat.dtype == object:
        flat = np.array([np.nan if value is None else value for value in flat.tolist()], np.float64)
    if flat.ndim == 2 and flat.shape[1] == 1:
        flat = flat[:, 0]
    if flat.ndim != 1:
        raise InputError(
            f"a candidate has one score, got shape {list(flat.shape[1:])}", where="motet.ops.ranking.best_first"
        )
    given = _parted("best_first", flat, np.asarray(counts)).rows()
    _counts("best_first", [given, *lists])
    return _ranked("best_first", given, lists, k, names)


def _fuse_type(
    *lists: ColumnType, weights: Sequence[float] | None = None, k: int | None = None, constant: float = 60
) -> dict[str, ColumnType]:
    _check_fused("fuse", len(lists), weights, k)
    if not constant > 0:
        raise ValueError(f"fuse needs constant above 0, got {constant}")
    return _fused_type("fuse", lists)


def _fused_type(function: str, lists: Sequence[ColumnType]) -> dict[str, ColumnType]:
    items = [_item(function, kind) for kind in lists]
    known = {item.dtype for item in items if not is_any(item)}
    if len(known) > 1 or any(item.shape for item in items):
        refuse(function, "lists of ids of one type", *lists)
    ids = ANY if is_any(*items) else ColumnType(known.pop(), (None,))
    return {"ids": ids, "scores": ColumnType("float64", (None,))}


def _check_fused(function: str, count: int, weights: Sequence[float] | None, k: int | None) -> None:
    if not count:
        raise ValueError(f"{function} takes one list or more, got none")
    if weights is not None and (len(weights) != count or min(weights) < 0):
        raise ValueError(f"{function} needs weights of at least 0, one for each of {count} lists; got {list(weights)}")
    if k is not None and k < 1:
        raise ValueError(f"{function} needs k of at least 1, got {k}")


@returns(_fuse_type)
def fuse(*lists: Rows, weights: Sequence[float] | None = None, k: int | None = None, constant: float = 60) -> Fused:
    """Several lists of ids, each best first, as one: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).

    An id's score is the sum of `weight / (constant + rank)` over the lists that have it, ranks from 1; of an id that a list has
    twice the first counts. Equals stand in the order in which they are met: first list first.

    Args:
        lists: ids, texts or numbers.
        weights: how much each list counts; all the same where it is not given.
        k: how many of each row; all where it is not given.
        constant: above 0; larger makes less of the first ranks.

    >>> fused = fuse([np.array(["a", "b"], object)], [np.array(["b", "c"], object)])
    >>> fused.ids.rows(), fused.scores.rows()[0].round(4).tolist()
    ([array(['b', 'a', 'c'], dtype=object)], [0.0325, 0.0164, 0.0161])
    """
    _fuse_type(*(ANY for _ in lists), weights=weights, k=k, constant=constant)
    by = [1.0] * len(lists) if weights is None else weights
    scored = [[1 / (constant + place) for place in range(1, len(row) + 1)] for column in lists for row in column]
    rows = len(lists[0])
    of_list = [scored[start * rows : (start + 1) * rows] for start in range(len(lists))]
    return _fused("fuse", lists, of_list, by, k)


def _weighted_sum_type(
    *columns: ColumnType, weights: Sequence[float] | None = None, k: int | None = None
) -> dict[str, ColumnType]:
    if len(columns) % 2:
        raise ValueError(f"weighted_sum takes ids and scores by turns, got {len(columns)} columns")
    _check_fused("weighted_sum", len(columns) // 2, weights, k)
    for kind in columns[1::2]:
        item = _item("weighted_sum", kind)
        if not is_any(item) and (item.dtype not in NUMBERS or item.shape):
            refuse("weighted_sum", "ids and scores by turns", *columns)
    return _fused_type("weighted_sum", columns[::2])


@returns(_weighted_sum_type)
def weighted_sum(*columns: Rows, weights: Sequence[float] | None = None, k: int | None = None) -> Fused:
    """Several lists of ids with scores as one: an id's score is the weighted sum of those that it has.

    Scores should be of one scale; what a list does not have counts 0 there, and so does NaN. Equals stand in the order in which they
    are met.

    Args:
        columns: ids and their scores, by turns: `first_ids, first_scores, second_ids, second_scores`.
        weights: how much each list counts; 1 where it is not given.
        k: how many of each row; all where it is not given.

    >>> ids, scores = [np.array([7, 8])], [np.array([0.5, 0.25])]
    >>> weighted_sum(ids, scores, [np.array([8])], [np.array([1.0])], weights=[1, 2]).ids.rows()
    [array([8, 7])]
    """
    _weighted_sum_type(*(ANY for _ in columns), weights=weights, k=k)
    lists, scores = columns[::2], columns[1::2]
    for one, other in zip(lists, scores, strict=True):
        _counts("weighted_sum", [one, other])
    by = [1.0] * len(lists) if weights is None else weights
    return _fused(
        "weighted_sum",
        lists,
        [[np.nan_to_num(np.asarray(row, np.float64)).tolist() for row in each] for each in scores],
        by,
        k,
    )


def _fused(
    function: str, lists: Sequence[Rows], scores: Sequence[Any], weights: Sequence[float], k: int | None
) -> Fused:
    if len({len(column) for column in lists}) > 1:
        counts = " and ".join(str(len(column)) for column in lists)
        raise InputError(f"the columns differ in their number of rows: {counts}", where=f"motet.ops.ranking.{function}")
    ids: list[Array] = []
    totals: list[Array] = []
    for row, each in enumerate(zip(*lists, strict=True)):
        found: dict[Any, float] = {}
        for values, given, weight in zip(each, scores, weights, strict=True):
            once: dict[Any, float] = {}
            for value, score in zip(np.asarray(values).tolist(), given[row], strict=True):
                once.setdefault(value, score)
            for value, score in once.items():
                found[value] = found.get(value, 0.0) + weight * score
        best = sorted(found, key=lambda value: -found[value])[:k]
        totals.append(np.array([found[value] for value in best], np.float64))
        kinds = {array.dtype for array in map(np.asarray, each) if len(array)} or {np.asarray(each[0]).dtype}
        texts = any(kind.kind in "OUS" for kind in kinds)
        ids.append(objects(best) if texts else np.array(best, np.result_type(*kinds)))
    return Fused(Ragged.from_rows(ids, None if ids else np.float64), Ragged.from_rows(totals, np.float64, 1))
