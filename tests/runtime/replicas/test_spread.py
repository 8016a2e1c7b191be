"""The same piece of a shard meets the same replica."""

import asyncio
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.batch import Batch, Ragged, objects
from motet.errors import GraphError
from motet.nodes.spread import Spread
from motet.runtime.batcher import LoopCalls
from motet.runtime.executor import Executor
from motet.runtime.shares import ThreadShares
from motet.testing.fakes import Affine, fake


@mt.returns("int64")
def apart(x):
    return x.reshape(-1), np.full(len(x), x.shape[1])


@mt.returns("int64[20]")
def together(pid, counts):
    return pid.reshape(len(counts), -1)


@pytest.fixture(scope="module", params=["hash", "rendezvous"])
def graph(request):
    types: dict[str, Any] = {"inputs": {"x": "int64"}, "outputs": {"pid": "int64"}}
    model = mt.Model("python:helpers.replicated:Who", "m", placement="process", replicas=2, **types)
    pieces = mt.shard(model, mt.input("x", "int64[20]"), apart=apart, together=together, spread=request.param)
    made = mt.Graph("g", {"pids": pieces})
    yield made
    made.executor.host.close()


def rows():
    return np.random.default_rng(0).integers(0, 30, size=(6, 20))


def check(x, pids):
    where = {}
    for value, pid in zip(x.reshape(-1).tolist(), pids.reshape(-1).tolist(), strict=True):
        assert where.setdefault(value, pid) == pid
    assert len(set(where.values())) == 2
    return where


def test_in_one_batch_and_the_next(graph):
    first, second = rows(), rows()[::-1] + 3
    found = check(first, graph({"x": first})["pids"])
    again = check(second, graph({"x": second})["pids"])
    assert all(found[value] == pid for value, pid in again.items() if value in found)


def test_in_a_loop_where_batches_are_put_together(graph):
    called = check(rows(), graph({"x": rows()})["pids"])

    async def both():
        loop = asyncio.get_running_loop()
        calls = LoopCalls(loop, graph_threads, graph_threads, 4)
        executor = Executor(graph.checked, graph.executor.host, calls=calls)
        plays = [executor.play(Batch({"x": part}, np.arange(len(part)))) for part in (rows()[:3], rows()[3:])]
        return [played.outputs.columns["pids"] for played in await asyncio.gather(*plays)]

    graph_threads = ThreadShares(4, "graph")
    assert check(rows(), np.concatenate(asyncio.run(both()))) == called
    graph_threads.shutdown()


@pytest.mark.parametrize(
    "column",
    [
        np.arange(8, dtype=np.float32).reshape(4, 2),
        objects(["a", "b", "a", None]),
        Ragged.from_rows([np.zeros((1, 4)), np.zeros((4, 1)), np.zeros((1, 4)), np.zeros((2, 2))]),
    ],
    ids=["dense", "text", "ragged"],
)
def test_a_key_is_what_the_piece_is(column):
    keys = Spread("hash", [column], 4).keys()
    equal = [[repr(a) == repr(b) for b in column] for a in column]
    assert (keys[:, None] == keys[None]).tolist() == equal


def test_few_pieces_move_when_a_replica_comes_by_rendezvous():
    pieces = np.arange(1000)
    moved = {}
    for how in ("hash", "rendezvous"):
        spread = Spread(how, [pieces], 1000)
        before, after = np.empty(1000, object), np.empty(1000, object)
        for found, names in ((before, ["a", "b", "c"]), (after, ["a", "b", "c", "d"])):
            for name, places in spread.shares(names, "m"):
                found[places] = name
        moved[how] = int((before != after).sum())
    assert moved["rendezvous"] == int((after == "d").sum()) < 350 < moved["hash"]


def test_with_one_replica_there_is_nothing_to_choose():
    ((name, places),) = Spread("hash", [np.arange(3)], 3).shares(["only"], "m")
    assert (name, places.tolist()) == ("", [0, 1, 2])


def test_a_graph_has_no_replicas_to_choose_from():
    inner = mt.Graph("inner", {"pid": mt.model(fake(Affine, "m"), mt.input("x", "float32"))})
    with pytest.raises(GraphError, match="spread says which replica of a model answers a piece; 'inner' is a graph"):
        mt.Graph("g", {"y": mt.shard(inner, mt.input("x", "int64[20]"), apart=apart, together=together, spread="hash")})
