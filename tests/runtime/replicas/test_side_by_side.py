"""The calls of one batch, and the pieces of one row, are played by several replicas at the same time."""

import threading

import numpy as np
import pytest

import motet as mt
from motet.threads import MOST, side_by_side


@pytest.fixture
def closing():
    graphs = []
    yield lambda graph: graphs.append(graph) or graph
    for graph in graphs:
        graph.executor.host.close()


def meeting(path, **settings):
    types = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    given = {"batch": mt.Batching(max_rows=1), "options": {"path": str(path)}, "warm_up": False, **types, **settings}
    return mt.Model("python:helpers.replicated:Meeting", "m", placement="process", replicas=2, **given)


@mt.returns("float32")
def apart(x):
    return x.reshape(-1), np.full(len(x), x.shape[1])


@mt.returns("float32")
def together(y, counts):
    return np.array([each.sum() for each in np.split(y, np.cumsum(counts)[:-1])], np.float32)


def test_the_pieces_of_one_row_are_played_at_the_same_time(tmp_path, closing):
    pieces = mt.shard(meeting(tmp_path), mt.input("x", "float32[6]"), apart=apart, together=together)
    graph = closing(mt.Graph("g", {"y": pieces}))
    assert graph({"x": np.arange(6, dtype=np.float32)[np.newaxis]})["y"].tolist() == [sum(range(6)) * 3 + 6]


def test_a_piece_that_fails_is_tried_alone_and_the_others_are_answered(tmp_path, closing):
    model = meeting(tmp_path, batch=mt.Batching(max_rows=4))
    pieces = mt.shard(model, mt.input("x", "float32[6]"), apart=apart, together=together)
    graph = closing(mt.Graph("g", {"y": pieces}))
    rows = np.arange(18, dtype=np.float32).reshape(3, 6)
    rows[1, 2] = -1
    answers, failures = graph({"x": rows}, failures="return")
    assert answers["y"].tolist() == [sum(range(6)) * 3 + 6, sum(range(12, 18)) * 3 + 6]
    assert [failure.row for failure in failures] == [1]
    assert failures[0].message.startswith("piece 2 of 6: negative")


def test_rows_of_one_batch_with_different_keys_are_played_at_the_same_time(tmp_path, closing):
    model = meeting(tmp_path, balance="hash", balance_by="x", batch=mt.Batching(max_rows=64))
    graph = closing(mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32"))}))
    x = np.arange(40, dtype=np.float32)
    assert graph({"x": x})["y"].tolist() == (x * 3 + 1).tolist()


def test_order_is_kept_and_no_more_are_under_way_than_there_is_room_for():
    now, most, lock = 0, 0, threading.Lock()

    def call(part):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1
        return part * 2

    assert side_by_side(call, range(100), 3) == [part * 2 for part in range(100)]
    assert most <= 3
    assert side_by_side(call, range(100), 1000) == [part * 2 for part in range(100)]
    assert most <= MOST
    assert side_by_side(call, [], 5) == []


def test_what_the_first_part_raised_that_failed_is_raised():
    def call(part):
        raise ValueError(part)

    with pytest.raises(ValueError, match="^0$"):
        side_by_side(call, range(50), 4)
