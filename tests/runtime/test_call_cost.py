"""Rows that cost about as much share a call, up to what a call may cost; no answer depends on it."""

import asyncio
import json
import threading
import urllib.request
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import motet as mt
from helpers import measured
from helpers.rows import play
from helpers.until import until
from motet.errors import UnknownNameError
from motet.graph.node import Answer
from motet.runtime.batcher import Batcher
from motet.runtime.call_cost import CallCost, call_cost
from motet.runtime.shares import ThreadShares
from motet.types import ColumnType, Signature

MIXED = np.clip(np.random.default_rng(0).lognormal(3.5, 0.9, 1024), 1, 512).astype(int)
"""Lengths as those of reviews are: most are short, and a few ten times as long."""


def graph_of(name: str, batch: Any, kind: str = "string", gives: str = "int64", **settings: Any) -> mt.Graph:
    x = {"letters": "text", "picky": "text"}.get(name, "x")
    model = mt.Model(
        f"python:helpers.measured:{name}", "m", inputs={x: kind}, outputs={"y": gives}, batch=batch, **settings
    )
    return mt.Graph("g", outputs={"y": mt.model(model, mt.input("x", kind))})


def texts(lengths: Any) -> list[str]:
    return ["a" * int(length) for length in lengths]


def arrays(lengths: Any) -> list[Any]:
    return [np.arange(1, length + 1, dtype=np.float32) for length in lengths]


@pytest.fixture(autouse=True)
def fresh():
    measured.seen.clear()


BATCHES = st.fixed_dictionaries(
    {},
    optional={
        "max_rows": st.integers(1, 8),
        "max_cost": st.integers(1, 30),
        "cost": st.sampled_from(["length", "helpers.measured.halved"]),
        "pad": st.just(0),
    },
)


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12), min_size=1, max_size=3), BATCHES)
@example([[1, 3], [1, 3]], {"pad": 0, "max_cost": 4})
def test_a_row_is_answered_as_if_it_were_alone(batches, batch):
    graph = graph_of("doubled", batch, "float32[?]", "float32[?]")
    for lengths in batches:
        rows = arrays(lengths)
        measured.seen.clear()
        assert [each.tolist() for each in graph({"x": rows})["y"]] == [(2 * row).tolist() for row in rows]
        most = batch.get("max_cost", np.inf) * (2 if "halved" in batch.get("cost", "") else 1)
        assert all(count == 1 or count * width <= most for count, width in measured.seen)
        assert all(count <= batch.get("max_rows", np.inf) for count, _ in measured.seen)
        assert sum(count for count, _ in measured.seen) == len(rows)


@pytest.mark.parametrize("batch", [{"max_cost": 8192}, {"cost": "length"}, {"max_cost": 8192, "max_rows": 32}])
def test_little_of_what_is_computed_is_padding(batch, tmp_path):
    for ask in (lambda graph, x: graph({"x": x})["y"].tolist(), lambda graph, x: graph.run({"x": x})["y"].to_pylist()):
        measured.seen.clear()
        assert ask(graph_of("letters", batch), texts(MIXED)) == MIXED.tolist()
        assert measured.cells() <= 1.25 * MIXED.sum()
    measured.seen.clear()
    assert graph_of("letters", None)({"x": texts(MIXED)})["y"].tolist() == MIXED.tolist()
    assert measured.cells() > 4 * MIXED.sum()


@pytest.mark.parametrize("batch", [{"pad": 0}, {"pad": 0, "max_cost": 8192}])
def test_nor_of_arrays_that_are_padded(batch):
    graph = graph_of("doubled", batch, "float32[?]", "float32[?]")
    graph({"x": arrays([1, 2])})  # what an axis follows is seen from rows without padding
    measured.seen.clear()
    rows = arrays(MIXED)
    assert all((a == 2 * b).all() for a, b in zip(graph({"x": rows})["y"], rows, strict=True))
    assert measured.cells() <= 1.25 * MIXED.sum()
    assert len(measured.seen) < 40


def test_inputs_that_vary_together_count_once():
    kinds: dict[str, Any] = {"inputs": {"ids": "int64[?]", "mask": "int64[?]"}, "outputs": {"y": "int64"}}
    batch = {"pad": {"ids": 7, "mask": 0}, "max_cost": 12}
    model = mt.Model("python:helpers.measured:masked", "m", batch=batch, **kinds)
    graph = mt.Graph("g", outputs={"y": mt.model(model, mt.input("ids", "int64[?]"), mt.input("mask", "int64[?]"))})
    rows = [np.arange(length) for length in (3, 1, 4, 4, 2, 3, 4)]
    ones = [np.ones_like(row) for row in rows]
    assert graph({"ids": rows, "mask": ones})["y"].tolist() == [row.sum() for row in rows]
    assert measured.seen == [(4, 3), (3, 4)]


def test_an_input_says_what_rows_cost():
    kinds: dict[str, Any] = {"inputs": {"text": "string", "tokens": "int64"}, "outputs": {"y": "string"}}
    model = mt.Model("python:helpers.measured:priced", "m", batch={"max_cost": 20, "cost": "tokens"}, **kinds)
    graph = mt.Graph("g", outputs={"y": mt.model(model, mt.input("text", "string"), mt.input("tokens", "int64"))})
    tokens = [9, 30, 10, 2, 10, 2]
    found = play(graph, {"text": list("abcdef"), "tokens": tokens})
    assert [each["y"] for each in found] == list("abcdef")
    assert measured.seen == [(2, 2), (2, 10), (1, 10), (1, 30)]
    found = play(graph, {"text": ["a", "b"], "tokens": [1, -1]})
    assert found[1].message == "batch.cost is -1.0; it must be a number from 0"
    assert found[0] == {"y": "a"}
    alone = play(graph, {"text": ["b"], "tokens": [-1]})
    assert alone[0].message == found[1].message


def test_a_row_whose_cost_nobody_knows_fails_alone():
    graph = graph_of("letters", {"max_cost": 4, "cost": "helpers.measured.picky"})
    found = play(graph, {"x": ["a b", "odd", "c", "d e f"]})
    assert [each["y"] if isinstance(each, dict) else (each.error, each.model) for each in found] == [
        3, ("ValueError", "helpers.measured.picky"), 1, 5,
    ]  # fmt: skip
    assert found[1].message.startswith("nobody knows what that costs")
    (alone,) = play(graph, {"x": ["odd"]})
    assert alone.message == found[1].message


def test_a_graph_file_says_it(tmp_path):
    batch = {"max_cost": 100.0, "cost": "helpers.measured.picky"}
    graph = graph_of("letters", batch)
    graph.save(tmp_path / "g.yaml")
    assert "cost: helpers.measured.picky" in (tmp_path / "g.yaml").read_text()
    assert mt.load(tmp_path / "g.yaml")({"x": ["a b", "c"]})["y"].tolist() == [3, 1]
    assert graph_of("letters", {"cost": measured.picky, "max_cost": 100})({"x": ["a b"]})["y"].tolist() == [3]
    with pytest.raises(mt.GraphError, match=r"batch.cost: the function lambda .* cannot be imported by name"):
        graph_of("letters", {"cost": lambda text: [1] * len(text)}).save(tmp_path / "g.yaml")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"max_cost": 0}, "batch.max_cost: must be more than 0; got 0"),
        ({"cost": 3}, "batch.cost: expected a text; got 3"),
        ({"cost": "txt"}, r"the model has no input 'txt'; did you mean 'text'\?"),
        ({"cost": "text"}, "'text' is string, and a cost is a number"),
        ({"cost": "helpers.measured.absent"}, "'helpers.measured' has no 'absent'"),
        ({"cost": "helpers.measured.other"}, "other takes whatever, more; the model has text"),
    ],
)
def test_a_cost_that_cannot_be_is_refused(batch, message):
    with pytest.raises((mt.GraphError, UnknownNameError), match=message):
        graph_of("letters", batch).checked  # noqa: B018


class Waiting:
    """A model whose first call waits until it is told, so that others gather behind it."""

    placement, elsewhere = "thread", False

    def __init__(self, batch: mt.Batching) -> None:
        self.model = mt.Model("python:helpers.measured:letters", "m", batch=batch)
        self.cost: Any = CallCost(self.model, Signature({"x": ColumnType("string")}, {}), padded=True)
        self.replicas = SimpleNamespace(direct=self)
        self.go, self.calls = threading.Event(), list[list[int]]()

    def named(self, columns):
        return {"x": columns[0]}

    def play(self, columns, rows, replica):
        self.calls.append([len(each) for each in columns[0]])
        assert self.go.wait(30)
        return Answer({"y": columns[0]})


def test_live_rows_that_wait_are_called_with_those_of_about_their_length():
    lengths = [5, 100, 10, 95, 9, 90, 11, 10]

    async def main(model):
        batcher = Batcher(model, asyncio.get_running_loop(), ThreadShares(8, "test").share(), 1)
        calls = [batcher([np.array(texts([length]), object)], 1) for length in [1, *lengths]]
        await asyncio.to_thread(until, lambda: model.calls)
        model.go.set()
        answers = await asyncio.gather(*calls)
        assert [len(each.columns["y"][0]) for each in answers] == [1, *lengths]
        assert batcher.idle
        assert batcher.waiting_rows == 0

    model = Waiting(mt.Batching(max_cost=300))
    asyncio.run(main(model))
    assert sorted(map(sorted, model.calls)) == [[1, 5, 9, 10], [10, 11], [90, 95, 100]]


def test_calls_that_nobody_waits_for_are_left_out():
    async def main(model):
        batcher = Batcher(model, asyncio.get_running_loop(), ThreadShares(8, "test").share(), 1)
        calls = [batcher([np.array(texts([length]), object)], 1) for length in (3, 3, 4, 300, 5)]
        calls[1].cancel()
        calls[3].cancel()
        model.go.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert batcher.waiting_rows == 0

    model = Waiting(mt.Batching(max_cost=300))
    asyncio.run(main(model))
    assert model.calls == [[3, 4, 5]]


def test_what_waits_is_called_once_it_costs_enough():
    async def main(model):
        model.go.set()
        batcher = Batcher(model, asyncio.get_running_loop(), ThreadShares(8, "test").share(), 1)
        await asyncio.gather(*(batcher([np.array(texts([10]), object)], 1) for _ in range(3)))

    model = Waiting(mt.Batching(max_cost=30, max_wait_ms=3_600_000))
    asyncio.run(asyncio.wait_for(main(model), 30))
    assert model.calls == [[10, 10, 10]]


@pytest.mark.parametrize("placement", ["inline", "thread", "process"])
@pytest.mark.parametrize("batch", [{"pad": 0}, {"pad": 0, "max_cost": 64, "max_wait_ms": 1}])
def test_padding_is_in_no_answer_wherever_it_is_asked(placement, batch, tmp_path):
    graph = graph_of("doubled", batch, "float32[?]", "float32[?]", placement=placement)
    rows = arrays([1, 3, 2, 3, 1])
    expected = [(2 * row).tolist() for row in rows]
    for _ in range(2):  # the second time it is known which axis follows which
        assert [each.tolist() for each in graph({"x": rows})["y"]] == expected
    assert graph.run({"x": [row.tolist() for row in rows]}, batch_rows=3)["y"].to_pylist() == expected
    with graph.serve(block=False, port=0) as server:
        for _ in range(2):
            body = json.dumps({"rows": [{"x": row.tolist()} for row in rows]}).encode()
            request = urllib.request.Request(f"{server.url}/predict/g", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert [each["y"] for each in json.load(answer)["rows"]] == expected
    graph.executor.close()


def test_nor_behind_an_address():
    own = graph_of("doubled", None, "float32[?]", "float32[?]")
    rows = arrays([1, 3, 2, 3, 1])
    with own.serve(block=False, port=0) as server:
        kinds: dict[str, Any] = {"inputs": {"x": "float32[?]"}, "outputs": {"y": "float32[?]"}}
        model = mt.Model(f"oip+{server.url}/v2/models/g", "far", batch={"pad": 0, "max_cost": 5}, **kinds)
        graph = mt.Graph("asks", outputs={"y": mt.model(model, mt.input("x", "float32[?]"))})
        for _ in range(2):
            assert [each.tolist() for each in graph({"x": rows})["y"]] == [(2 * row).tolist() for row in rows]
    own.executor.close()


def test_other_models_have_none():
    signature = Signature({"x": ColumnType("float32")}, {"y": ColumnType("float32")})
    assert call_cost(mt.Model("m.onnx", batch={"max_rows": 3}), signature, remote=False) is None
