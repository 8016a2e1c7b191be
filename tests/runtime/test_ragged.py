"""Rows that differ in shape: functions get them as lists of arrays, models get those of equal shape together, or padded."""

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import motet as mt
from helpers import functions, models
from helpers.rows import play, play_alone, same
from motet.batch import Ragged, as_column, concat_columns, equal_shapes, take_rows
from motet.testing.fakes import Counting, Failing, calls, fake

SHAPES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=12)


def rows_of(shapes, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


@given(SHAPES, st.data())
def test_a_ragged_column_is_a_list_of_arrays(shapes, data):
    rows = rows_of(shapes)
    column = Ragged.from_rows(rows, np.float32, 2)
    equal(list(column), rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    equal(column.take(chosen).rows(), [rows[place] for place in chosen])
    first, end = sorted(data.draw(st.tuples(st.integers(0, 12), st.integers(0, 12))))
    equal(take_rows(column, slice(first, end)), rows[first:end])
    equal(column[first:end].rows(), rows[first:end])
    cut = data.draw(st.integers(0, len(rows)))
    equal(concat_columns([column.take(range(cut)), column.take(range(cut, len(rows)))]), rows)


@given(SHAPES)
def test_rows_of_equal_shape_are_grouped_in_order(shapes):
    rows = rows_of(shapes)
    column = Ragged.from_rows(rows, np.float32, 2)
    groups = [(places, column.take(places).dense()) for places in equal_shapes(column.shapes)]
    assert sorted(int(place) for places, _ in groups for place in places) == list(range(len(rows)))
    assert [int(places[0]) for places, _ in groups] == sorted(int(places[0]) for places, _ in groups)
    for places, dense in groups:
        assert list(places) == sorted(places)
        equal(list(dense), [rows[place] for place in places])
    assert len(groups) == len(set(shapes))


def test_lists_become_the_columns_they_mean():
    assert isinstance(as_column([np.zeros(2), np.zeros(2)]), Ragged)
    assert isinstance(as_column([[1, 2], [3]]), Ragged)
    assert as_column([[1, 2], [3, 4]]).shape == (2, 2)
    assert as_column(["a", "b"]).dtype == object
    assert as_column([b"a", None]).tolist() == [b"a", None]
    assert as_column([np.zeros(2), None]).dtype == object
    assert as_column([bytearray(b"ab"), bytearray(b"cd")]).shape == (2,)


def test_functions_get_a_list_of_arrays_and_may_return_one():
    graph = mt.Graph(
        "g",
        {
            "n": mt.map(functions.lengths, mt.input("x", "float32[?]")),
            "r": mt.map(functions.repeat, mt.input("c", "int64")),
        },
    )
    answers = graph({"x": [np.zeros(3, np.float32), np.zeros(0, np.float32)], "c": [2, 0]})
    assert answers["n"].tolist() == [3, 0]
    assert [row.tolist() for row in answers["r"]] == [[0, 1], []]


def test_dense_arrays_are_taken_where_rows_may_vary():
    graph = mt.Graph("g", {"n": mt.map(functions.lengths, mt.input("x", "float32[?]"))})
    assert graph({"x": np.zeros((2, 5), np.float32)})["n"].tolist() == [5, 5]


def varying(**settings):
    model = mt.Model(
        "python:helpers.models:Lengths", "m", inputs={"x": "float32[?]"}, outputs={"n": "int64"}, **settings
    )
    return mt.Graph("g", {"n": mt.model(model, mt.input("x", "float32[?]"))})


def test_a_model_is_given_rows_of_equal_shape_together():
    counting = fake(Counting, "m", "float32[?]", log="m")
    graph = mt.Graph("g", {"y": mt.model(counting, mt.input("x", "float32[?]"))})
    rows = [np.full(length, place, np.float32) for place, length in enumerate([2, 3, 2, 0, 3, 2])]
    equal(graph({"x": rows})["y"], rows)
    assert calls["m"] == [3, 2, 1]


def test_a_model_is_given_padded_rows_where_it_says_so():
    rows = [np.zeros(length, np.float32) for length in (2, 5, 0)]
    assert varying()({"x": rows})["n"].tolist() == [2, 5, 0]
    assert varying(batch=mt.Batching(pad=0))({"x": rows})["n"].tolist() == [5, 5, 5]


def test_padding_stands_behind_the_values():
    model = fake(Counting, "m", "float32[?,?]", log="m", settings={"batch": mt.Batching(pad=-1)})
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32[?,?]"))})
    rows = [np.ones((1, 2), np.float32), np.full((2, 1), 2, np.float32)]
    for _ in range(2):
        assert [row.tolist() for row in graph({"x": rows})["y"]] == [[[1, 1]], [[2], [2]]]
    assert calls["m"] == [1, 1, 2]  # what an axis follows is seen from rows without padding


def test_padding_has_a_value_for_each_input(tmp_path):
    kinds: dict[str, Any] = {"inputs": {"a": "float32[?]", "b": "float32[?]"}, "outputs": {"sums": "float32[2]"}}
    by_input = {"a": 100, "b": -100}
    model = mt.Model("python:helpers.models:sums_of_two", "m", batch=mt.Batching(pad=by_input), **kinds)
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("a", "float32[?]"), mt.input("b", "float32[?]"))})
    columns = {
        "a": [np.array([1], np.float32), np.array([1, 2, 3], np.float32)],
        "b": [np.array([1, 2], np.float32), np.array([1], np.float32)],
    }
    graph.save(str(tmp_path / "g.yaml"))
    for each in (graph, mt.load(str(tmp_path / "g.yaml"))):
        assert each(columns)["y"].tolist() == [[201, 3], [6, -99]]
    wrong = mt.Model("python:helpers.models:sums_of_two", "m", batch=mt.Batching(pad={"a": 0}), **kinds)
    with pytest.raises(mt.GraphError, match=r"pad has a\n  hint: give a value for each input that varies: a, b"):
        mt.Graph("g", {"y": mt.model(wrong, mt.input("a", "float32[?]"), mt.input("b", "float32[?]"))})(columns)


LENGTHS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=4)


@pytest.mark.parametrize("name", ["doubled", "pairwise", "with_ends", "halved", "constant", "of_both", "summed"])
@given(batches=LENGTHS)
@example(batches=[[3, 4], [0, 3]])
def test_a_padded_row_is_answered_as_if_it_were_alone(name, batches):
    own = getattr(models, name)
    kind = {"pairwise": "float32[?,?]", "summed": "float32"}.get(name, "float32[?]")
    model = mt.Model(
        f"python:helpers.models:{name}",
        "m",
        inputs={"x": "float32[?]"},
        outputs={"y": kind},
        batch=mt.Batching(pad=0, max_rows=3),
    )
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32[?]"))})
    for lengths in batches:
        rows = [np.arange(1, length + 1, dtype=np.float32) for length in lengths]
        found = graph({"x": rows})["y"]
        assert [np.asarray(each).tolist() for each in found] == [own(row[None])[0].tolist() for row in rows]


@given(st.lists(st.integers(0, 5), max_size=15))
def test_failures_among_rows_that_differ_in_shape_are_those_of_the_rows(lengths):
    picky = fake(Failing, "m", "float32[?]", bad=[3.0])
    graph = mt.Graph("g", {"y": mt.model(picky, mt.input("x", "float32[?]"))})
    graph({"x": [np.zeros(1, np.float32), np.zeros(2, np.float32)]})
    rows = [np.full(max(length, 1), length, np.float32) for length in lengths]
    found = play(graph, {"x": rows})
    for length, got in zip(lengths, found, strict=True):
        if length == 3:
            assert got.message == "cannot take 3"
        else:
            assert got["y"].tolist() == [length] * max(length, 1)


def test_a_row_whose_shape_the_model_does_not_take_fails_alone():
    model = mt.Model("python:helpers.models:Lengths", "m", inputs={"x": "float32[?,2]"}, outputs={"n": "int64"})
    wide = mt.map(
        lambda n: [np.zeros((3, count), np.float32) for count in n], mt.input("n", "int64"), outputs="float32[3,?]"
    )
    with pytest.raises(
        mt.GraphError,
        match=r"'m' takes x: float32\[\?,2\]; column 'lambda_1' is float32\[3,\?\]\n  hint: the column varies from row to row",
    ):
        mt.Graph("g", {"y": mt.model(model, wide)})
    undeclared = mt.map(lambda n: [np.zeros((3, count), np.float32) for count in n], mt.input("n", "int64"))
    found = play(mt.Graph("g", {"y": mt.model(model, undeclared)}), {"n": [2, 1, 2, 4]})
    assert [each["y"] if isinstance(each, dict) else each.message for each in found] == [
        3, "the model takes x: float32[?,2]; the row is float32[3,1]", 3, "the model takes x: float32[?,2]; the row is float32[3,4]",
    ]  # fmt: skip


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(0, 99))
def test_the_answer_of_a_row_does_not_depend_on_the_lengths_it_shares_a_batch_with(onnx_files, lengths, seed):
    """To 1e-5 only: ONNX Runtime's ReduceMean adds in an order that depends on where a row begins in memory."""
    graph = mean_graph(str(onnx_files / "mean.onnx"))
    random = np.random.default_rng(seed)
    columns = {"x": [random.normal(size=length).astype(np.float32) for length in lengths]}
    same(play(graph, columns), play_alone(graph, columns), exact=False)


GRAPHS = {}


def mean_graph(path):
    if path not in GRAPHS:
        x = mt.input("x", "float32[?]")
        mean = mt.model(mt.Model(path), x)
        chosen = mt.route(
            {"short": mt.Model(path), "long": mt.member(mt.Model(path), [x])},
            x,
            when={"long": "len(x) > 3"},
            otherwise="short",
        )
        GRAPHS[path] = mt.Graph("g", {"mean": mean, "chosen": chosen, "who": chosen.member})
    return GRAPHS[path]


def test_members_that_give_rows_that_differ_in_shape_are_put_together_in_order():
    one, two = (
        fake(Failing, name, "float32[?]", bad=[9.0], scale=scale) for name, scale in (("one", 1.0), ("two", 10.0))
    )
    x, key = mt.input("x", "float32[?]"), mt.input("key", "string")
    graph = mt.Graph("g", {"y": mt.route({"a": one, "b": two}, x, key=key)})
    rows = [np.full(length, value, np.float32) for length, value in ((1, 1), (2, 2), (0, 0), (3, 9), (2, 5))]
    found = play(graph, {"x": rows[:2] + rows[3:], "key": ["a", "b", "a", "b"]})
    assert [each["y"].tolist() if isinstance(each, dict) else each.message for each in found] == [
        [1], [20, 20], "cannot take 9", [50, 50],
    ]  # fmt: skip


def test_rows_are_padded_with_those_of_about_their_length(tmp_path):
    lengths = np.random.default_rng(0).geometric(1 / 18, 2_000)
    rows = [np.full(length, place, np.float32) for place, length in enumerate(lengths)]
    model = fake(Cells, "m", "float32[?]", "float32", settings={"batch": mt.Batching(pad=-1)})
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32[?]")).output})
    Cells.seen.clear()
    assert graph({"x": rows})["y"].tolist() == list(range(2_000))
    assert sum(count * width for count, width in Cells.seen) <= 1.3 * lengths.sum()
    assert len(Cells.seen) <= 2_000 / 20


def test_rows_of_several_axes_are_padded_with_those_of_about_their_size():
    random = np.random.default_rng(0)
    rows = [np.full(random.integers(1, 20, 2), place, np.float32) for place in range(600)]
    model = fake(Cells, "m", "float32[?,?]", "float32", settings={"batch": mt.Batching(pad=-1)})
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32[?,?]")).output})
    assert graph({"x": rows})["y"].tolist() == list(range(600))


class Cells:
    """The largest value of each row; `seen` keeps how many rows and cells a row each call had."""

    seen: ClassVar[list[tuple[int, int]]] = []

    def __call__(self, x):
        self.seen.append((len(x), int(np.prod(x.shape[1:]))))
        return x.reshape(len(x), -1).max(axis=1)
