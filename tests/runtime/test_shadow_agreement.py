"""What shadows say is compared with what was answered, row by row."""

import numpy as np
import pytest

import motet as mt
from helpers.until import until
from motet.batch import objects
from motet.graph.node import Answer
from motet.runtime.agreement import Champion

SCORES = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]], np.float32)


def champion(answer, rows=3):
    return Champion("vote", answer, rows)


def answer(kept=None, **columns):
    found = {name.replace("__", "."): column for name, column in columns.items()}
    return Answer(found, (), None if kept is None else np.array(kept))


def test_scores_agree_where_the_largest_is_at_one_place():
    mine = champion(answer(vote__scores=SCORES, vote__member=objects(["now"] * 3)))
    assert mine.agreement(answer(scores=SCORES * 0.5)) == (3, 3)
    assert mine.agreement(answer(scores=SCORES[:, ::-1])) == (3, 0)
    assert mine.agreement(answer(scores=np.array([[0, 1], [0, 1], [1, 0]], np.float32))) == (3, 2)


def test_numbers_agree_within_one_percent():
    mine = champion(answer(vote__y=np.array([100.0, 0.0, np.nan])))
    assert mine.agreement(answer(y=np.array([100.9, 0.0, np.nan]))) == (3, 3)
    assert mine.agreement(answer(y=np.array([101.2, 0.1, 1.0]))) == (3, 0)
    assert champion(answer(vote__y=np.array([100, 3, 7]))).agreement(answer(y=np.array([100.9, 3.0, 7.1]))) == (3, 2)


def test_all_else_agrees_where_it_is_equal():
    mine = champion(answer(vote__label=objects(["a", "b", None]), vote__rank=np.array([1, 2, 3])))
    assert mine.agreement(answer(label=objects(["a", "b", None]), rank=np.array([1, 2, 4]))) == (3, 2)


def test_rows_that_either_failed_on_are_not_compared():
    mine = champion(answer([0, 2, 3], vote__y=np.array([1.0, 3.0, 4.0])), rows=4)
    assert mine.agreement(answer([1, 2, 3], y=np.array([2.0, 3.0, 9.0]))) == (2, 1)


def test_outputs_are_compared_by_name_or_where_there_is_one():
    mine = champion(answer(vote__y=np.array([1.0, 2.0, 3.0])))
    assert mine.agreement(answer(other=np.array([1.0, 2.0, 3.0]))) == (3, 3)
    assert mine.agreement(answer(other=np.array([1.0, 2.0, 3.0]), more=np.array([1.0, 2.0, 3.0]))) == (0, 0)
    two = champion(answer(vote__y=np.array([1.0, 2.0, 3.0]), vote__z=np.array([0.0, 0.0, 0.0])))
    assert two.agreement(answer(other=np.array([1.0, 2.0, 3.0]))) == (0, 0)


@pytest.mark.parametrize(("scale", "agreed"), [(2.0, 3), (2.01, 3), (3.0, 0)])
def test_shadows_of_a_graph_count_it(scale, agreed):
    from motet.testing.fakes import Affine, fake

    models = {name: fake(Affine, name, scale=by, output="y") for name, by in (("now", 2.0), ("next", scale))}
    vote = mt.ensemble(models, mt.input("x", "float32"), weights={"next": 0}, name="vote")
    with mt.Graph("shadowed", {"y": vote.y}) as graph:
        graph({"x": np.array([1, 2, 5], np.float32)})
        shadow = graph.executor.shadows["vote", "next"]
        until(lambda: shadow.played == 3)
        assert (shadow.compared, shadow.agreed) == (3, agreed)
