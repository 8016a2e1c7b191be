"""Candidates sorted, cut, parted, joined and fused, beside loops by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from motet.errors import InputError
from motet.ops import ranking, text
from motet.types import ColumnType, declared_outputs

kind = ColumnType.parse
scores = st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, float("nan")]), max_size=8), min_size=1, max_size=4)


def lists(rows: Any, dtype: Any = None) -> list[Any]:
    return [np.array(row, dtype=dtype or float) for row in rows]


@given(scores, st.one_of(st.none(), st.integers(1, 5)))
def test_candidates_are_sorted_as_a_stable_sort_does(rows: Any, k: int | None) -> None:
    names = [[f"{row}.{place}" for place in range(len(each))] for row, each in enumerate(rows)]
    found = ranking.rank(lists(rows), lists(names, object), k=k)
    flat, counts = np.array([each for row in rows for each in row]), np.array([len(row) for row in rows])
    shard = ranking.best_first(flat, counts, lists(names, object), k=k)
    for row, each in enumerate(rows):
        order = sorted((place for place, score in enumerate(each) if score == score), key=lambda place: -each[place])[
            :k
        ]
        for got in (found, shard):
            assert got["indices"][row].tolist() == order
            assert got["scores"][row].tolist() == [each[place] for place in order]
            assert got["candidates"][row].tolist() == [names[row][place] for place in order]


@given(scores)
def test_lists_go_apart_and_together_again(rows: Any) -> None:
    pieces, counts = ranking.split(lists(rows))
    assert len(pieces) == counts.sum()
    for row, got in zip(rows, ranking.join(pieces, counts), strict=True):
        np.testing.assert_array_equal(got, row)
    both, counts = ranking.split(lists(rows), lists(rows, object), names=["a", "b"])
    joined = ranking.join(both["a"], both["b"], counts, names=["c", "d"])
    assert [len(row) for row in joined["d"]] == [len(row) for row in rows]


@pytest.mark.parametrize("rows", [2, 4])
def test_answers_of_other_pieces_are_refused(rows: int) -> None:
    answers, counts = np.arange(float(rows)), np.array([2, 1])
    with pytest.raises(InputError, match=rf"motet\.ops\.ranking\.join: rows have 3 pieces, and {rows} were answered"):
        ranking.join(answers, counts)
    with pytest.raises(InputError, match=rf"best_first: rows have 3 pieces, and {rows} were answered"):
        ranking.best_first(answers, counts, [np.array([1.0, 2.0]), np.array([3.0])])


def test_values_of_lists_may_be_arrays() -> None:
    crops = [np.arange(24.0).reshape(2, 3, 4), np.zeros((0, 3, 4))]
    pieces, counts = ranking.split(crops)
    assert pieces.shape == (2, 3, 4)
    assert [row.shape for row in ranking.join(pieces, counts)] == [(2, 3, 4), (0, 3, 4)]
    asked, counts = ranking.pairs(lists([[1], [2]]), lists([[5, 6], [7]]), names=["a", "b"])
    assert [row.tolist() for row in asked["a"]] == [[1], [1], [2]]
    assert asked["b"].tolist() == [5, 6, 7]


ids = st.lists(st.sampled_from("abcdef"), max_size=6, unique=True)


@given(ids, ids, st.integers(1, 80), st.integers(1, 6))
def test_lists_are_fused_by_their_ranks(one: Any, other: Any, constant: int, k: int) -> None:
    found = ranking.fuse(lists([one], object), lists([other], object), weights=[1, 0.5], k=k, constant=constant)
    right: dict[str, float] = {}
    for weight, each in ((1, one), (0.5, other)):
        for place, name in enumerate(each):
            right[name] = right.get(name, 0) + weight * (1 / (constant + place + 1))
    best = sorted(right, key=lambda name: -right[name])[:k]
    assert found.ids[0].tolist() == best
    np.testing.assert_allclose(found.scores[0], [right[name] for name in best])


def test_lists_are_fused_by_their_scores() -> None:
    found = ranking.weighted_sum(
        lists([[3, 4], []], int), lists([[0.5, 0.2], []]), lists([[4, 9], [1]], int), lists([[1, np.nan], [1]]),
        weights=[2, 1],
    )  # fmt: skip
    assert [row.tolist() for row in found.ids] == [[4, 3, 9], [1]]
    np.testing.assert_allclose(found.scores[0], [1.4, 1, 0])


words = st.text(alphabet="ab \t\nä", max_size=40)


@given(words, st.integers(1, 9), st.integers(0, 8), st.sampled_from(["word", "char"]))
def test_chunks_cover_a_text_and_overlap(value: str, size: int, overlap: int, of: str) -> None:
    overlap = min(overlap, size - 1)
    (found,) = text.chunk(np.array([value], dtype=object), size=size, overlap=overlap, of=of)
    units = list(value) if of == "char" else value.split()
    parts = [list(each) if of == "char" else each.split() for each in found]
    assert all(len(part) == size for part in parts[:-1])
    assert all(each in value for each in found)
    joined = parts[0] if parts else []
    for before, part in itertools.pairwise(parts):
        assert before[len(before) - overlap :] == part[:overlap]
        assert len(part) > overlap
        joined = joined + part[overlap:]
    assert joined == units


@pytest.mark.parametrize(
    ("function", "inputs", "keywords", "message"),
    [
        (ranking.rank, ["float32"], {}, r"rank takes lists, for example string\[\?\], got float32"),
        (ranking.rank, ["string[?]"], {}, "rank takes scores, a number for each candidate"),
        (ranking.rank, ["float32[?]", "any", "any"], {}, r"rank needs names, 2 different ones; got \['candidates'\]"),
        (ranking.rank, ["any"], {"k": 0}, "rank needs k of at least 1, got 0"),
        (ranking.best_first, ["float32[3]", "int64"], {}, "best_first takes a score, one number for each candidate"),
        (ranking.fuse, ["string[?]", "int64[?]"], {}, "fuse takes lists of ids of one type"),
        (ranking.fuse, ["string[?]"], {"weights": [1, 2]}, "fuse needs weights of at least 0, one for each of 1 lists"),
        (ranking.fuse, ["string[?]"], {"constant": 0}, "fuse needs constant above 0, got 0"),
        (ranking.weighted_sum, ["string[?]"], {}, "takes ids and scores by turns, got 1 columns"),
        (ranking.split, ["any", "any"], {}, "split needs names, 2 different ones"),
        (text.chunk, ["string"], {"size": 2, "overlap": 2}, "chunk needs overlap from 0 to less than size, 2, got 2"),
        (text.chunk, ["string"], {"size": 2, "of": "line"}, "chunks are of char or word, got 'line'"),
    ],
)
def test_a_graph_refuses_what_does_not_fit(function: Any, inputs: Any, keywords: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declared_outputs(function, tuple(map(kind, inputs)), keywords)


def test_lists_of_a_row_are_as_long_as_its_scores() -> None:
    with pytest.raises(InputError, match=r"motet\.ops\.ranking\.rank: the lists of row 1 differ in length"):
        ranking.rank(lists([[1], [1, 2]]), lists([[1], [1]]))


def test_ids_of_any_lists_are_held_whole() -> None:
    short, long = [np.array(["a"]), np.array([])], [np.array(["bcdef"]), np.array(["g"])]
    assert [row.tolist() for row in ranking.fuse(short, long).ids] == [["a", "bcdef"], ["g"]]
    small, large = [np.array([1], np.int8)], [np.array([3000, 1], np.int64)]
    assert ranking.fuse(small, large).ids[0].tolist() == [1, 3000]


def test_a_candidate_without_a_score_is_left_out() -> None:
    for scores in (np.array([0.5, np.nan, 1.0]), np.array([0.5, None, 1.0], object)):
        assert ranking.rank([scores], [np.array(["a", "b", "c"])])["candidates"][0].tolist() == ["c", "a"]


def test_retrieved_twice_and_fused_in_a_graph() -> None:
    by_words, by_meaning = mt.input("words", "string[?]"), mt.input("meaning", "string[?]")
    fused = mt.map(ranking.fuse, by_words, by_meaning, k=2)
    graph = mt.Graph("fused", {"ids": fused.ids, "scores": fused.scores})
    found = graph({"words": [np.array(list(each), object) for each in ("ab", "", "c")],
                   "meaning": [np.array(list(each), object) for each in ("bc", "", "")]})  # fmt: skip
    assert [row.tolist() for row in found["ids"]] == [["b", "a"], [], ["c"]]
    pieces = mt.Graph("pieces", {"p": mt.map(text.chunk, mt.input("t", "string"), size=2)})({"t": ["a b c", ""]})
    assert [row.tolist() for row in pieces["p"]] == [["a b", "c"], []]
