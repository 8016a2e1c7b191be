"""Answers of a gateway are kept as its graphs gave them, with what their members said."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers.gates import gated, shut
from helpers.until import until_async
from motet.serving.batching.request import Identity, Request
from motet.serving.repository.repository import ModelRepository
from motet.serving.sinks import SinkHook
from serving.sinks.sink_rows import Place, lines, sinks, table, with_place

SURE, UNSURE = "python:serving.sinks.sink_models:sure", "python:serving.sinks.sink_models:unsure"


def models():
    return [
        mt.Model(uri, uri.rpartition(":")[2], inputs={"x": "float32"}, outputs={"scores": "float32[2]"})
        for uri in (SURE, UNSURE)
    ]


def swarm():
    """Both members answer every row; a negative number fails."""
    return mt.Graph("swarm", outputs={"scores": mt.ensemble(models(), mt.input("x", "float32"), name="vote")})


def lazy():
    """The second member answers the rows that the first is not sure of."""
    first, second = models()
    cascade = mt.cascade([second, first], mt.input("x", "float32"), confidence=0.9, name="ask")
    return mt.Graph("lazy", outputs={"scores": cascade})


class Asked(Request):
    """A request whose answer can be awaited."""

    def __init__(self, x, **given):
        super().__init__({"x": np.array(x, np.float32)}, len(x), **given)
        self.answer = asyncio.get_running_loop().create_future()

    def answered(self, reply):
        self.answer.set_result(reply)

    def failed(self, error):
        self.answer.set_exception(error)


@asynccontextmanager
async def live(folder, graph, *configs, place=None, **common):
    """A gateway that keeps what one graph answers."""
    repository = ModelRepository()
    served = repository.add(graph)
    made = sinks(folder, *configs, **common)
    await repository.load_all()
    assert repository.ready, served.reason
    await made.open(graph.name, served.signature, served.digest)
    if place is not None:
        with_place(made, place)
    served.batcher.responder.hook = SinkHook(made, graph.name)

    def ask(*args, **given):
        request = Asked(*args, **given)
        repository.submit(served, request)
        return request.answer

    ask.served = served  # type: ignore[attr-defined]
    try:
        yield made, ask
    finally:
        await made.close(20)
        repository.close()


def kept(folder):
    return sorted(lines(folder / "p.jsonl"), key=lambda line: (line["request"], line["row"], line.get("member", "")))


def test_join_keeps_a_record_a_row_with_its_members(tmp_path):
    async def go():
        async with live(tmp_path, swarm(), {"to": "p.jsonl", "members": True}) as (_, ask):
            me = Identity("key-7", "key")
            await asyncio.gather(ask([1, 2], id="a", identity=me), ask([3], id="b"), ask([4, -5, 6], id="c"))

    asyncio.run(go())
    found = kept(tmp_path)
    assert [(each["request"], each["row"], each["input_x"]) for each in found] == [
        ("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 3.0), ("c", 0, 4.0), ("c", 1, -5.0), ("c", 2, 6.0),
    ]  # fmt: skip
    assert [each["identity"] for each in found[:3]] == ["key-7", "key-7", "anonymous"]
    assert len({each["id"] for each in found}) == 6
    for each in found:
        if each["row"] == 1 and each["request"] == "c":
            assert "negative" in each["error"]
            assert each["output_scores"] is None
            continue
        assert (each["error"], each["members"]) == (None, ["vote.sure", "vote.unsure"])
        said = {name: answer["outputs"]["scores"] for name, answer in each["member_outputs"].items()}
        assert said == {"vote.sure": [each["input_x"] / 128, 0.0], "vote.unsure": [0.5, 0.5]}
        assert each["output_scores"] == [(each["input_x"] / 128 + 0.5) / 2, 0.25]


def test_a_cascade_says_which_members_answered_each_row(tmp_path):
    async def go():
        async with live(tmp_path, lazy(), {"to": "p.jsonl", "members": True}) as (_, ask):
            await asyncio.gather(ask([1], id="a"), ask([100, 3, 100], id="b"))

    asyncio.run(go())
    members = [each["members"] for each in kept(tmp_path)]
    both, one = ["ask.unsure", "ask.sure"], ["ask.unsure"]
    assert members == [both, one, both, one]
    assert [each["member_outputs"][each["members"][-1]]["outputs"]["scores"] for each in kept(tmp_path)] == [
        each["output_scores"] for each in kept(tmp_path)
    ]


def test_stack_keeps_a_record_a_row_and_member(tmp_path):
    async def go():
        configs = [{"to": "p.jsonl", "record": "stack"}, {"to": "sqlite:///p.db"}]
        async with live(tmp_path, lazy(), *configs) as (_, ask):
            await asyncio.gather(ask([1], id="same"), ask([100, 3], id="same"), ask([2], id="same", explain=True))

    asyncio.run(go())
    found = lines(tmp_path / "p.jsonl")
    joined = dict(table(tmp_path / "p.db", columns="id, output_scores"))
    answers = {}
    for each in found:
        answers.setdefault(each["id"].rpartition(":")[0], {})[each["member"]] = each["outputs"]["scores"]
    assert answers.keys() == joined.keys()
    assert len(joined) == 4
    for key, said in answers.items():
        assert json.loads(joined[key]) == said.get("sure", said["unsure"])
    assert sorted(map(len, answers.values())) == [1, 2, 2, 2]
    assert {(each["node"], each["graph"], each["request"]) for each in found} == {("ask", "lazy", "same")}


def shadowed():
    """The second member does not count, and nobody waits for it."""
    vote = mt.ensemble(models(), mt.input("x", "float32"), weights=[1, 0], name="vote")
    return mt.Graph("shadowed", outputs={"scores": vote.scores})


def test_stack_keeps_what_shadows_answered_after_the_request(tmp_path):
    async def go():
        configs = [{"to": "p.jsonl", "record": "stack"}, {"to": "sqlite:///p.db", "members": True}]
        async with live(tmp_path, shadowed(), *configs) as (_, ask):
            await asyncio.gather(ask([1, 2], id="a"), ask([3], id="b"))
            await until_async(lambda: (tmp_path / "p.jsonl").exists() and len(lines(tmp_path / "p.jsonl")) == 6)

    asyncio.run(go())
    found = kept(tmp_path)
    assert [(each["request"], each["row"], each["member"], each["outputs"]["scores"]) for each in found] == [
        (request, row, member, scores)
        for request, row, x in [("a", 0, 1), ("a", 1, 2), ("b", 0, 3)]
        for member, scores in [("sure", [x / 128, 0.0]), ("unsure", [0.5, 0.5])]
    ]
    joined = table(tmp_path / "p.db", columns="request, row, members")
    assert sorted(joined) == [(each, row, '["vote.sure"]') for each, row in [("a", 0), ("a", 1), ("b", 0)]]


@pytest.mark.parametrize("in_time", [True, False])
def test_join_keeps_what_shadows_answered_before_the_record_is_written(tmp_path, in_time):
    """The shadow is waited for before the sink is closed, or answers only when it has been."""

    async def go():
        config = {"to": "p.jsonl", "members": True, "batch_s": 60.0}
        async with live(tmp_path, guarded(), config) as (made, ask):
            with shut("join shadow") as gate:
                await asyncio.gather(ask([1, 2], id="a"), ask([3], id="b"))
                if in_time:
                    gate.open.set()
                    (shadow,) = ask.served.batcher.executor.shadows.values()
                    await until_async(lambda: shadow.played == 3)
                await made.close(20)

    asyncio.run(go())
    found = kept(tmp_path)
    assert [each["members"] for each in found] == [["vote.now"]] * 3
    for each in found:
        said = {name: answer["outputs"]["y"] for name, answer in each["member_outputs"].items()}
        x = each["input_x"]
        assert said == {"vote.now": x, **({"vote.next": x + 7} if in_time else {})}


def guarded():
    """A shadow that answers when a gate is open."""
    members = {"now": gated("open", "now"), "next": gated("join shadow", "next", add=7.0)}
    vote = mt.ensemble(members, mt.input("x", "float32"), weights={"next": 0}, name="vote")
    return mt.Graph("guarded", outputs={"y": vote.y})


def test_members_that_cannot_be_reached_said_nothing(tmp_path):
    first, _ = models()
    gone: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"scores": "float32[2]"}}
    far = mt.Model("oip+http://127.0.0.1:9/v2/models/gone", "gone", **gone)
    ask_all = mt.cascade([far, first], mt.input("x", "float32"), confidence=0.9, name="ask")

    async def go():
        configs = [{"to": "p.jsonl", "members": True}]
        async with live(tmp_path, mt.Graph("g", outputs={"scores": ask_all}), *configs) as (_, ask):
            await ask([1, 2], id="a")

    asyncio.run(go())
    assert [(each["members"], each["output_scores"]) for each in kept(tmp_path)] == [
        (["ask.sure"], [1 / 128, 0.0]), (["ask.sure"], [2 / 128, 0.0]),
    ]  # fmt: skip


@pytest.mark.parametrize("explain", [False, True])
def test_an_answer_waits_for_a_sink_that_is_durable(tmp_path, explain):
    async def go():
        place = Place()
        place.free.clear()
        place.is_log = True
        async with live(tmp_path, swarm(), {"to": "p.jsonl", "durable": True}, place=place) as (_, ask):
            answer = ask([1], id="a", explain=explain)
            await until_async(place.entered.is_set)
            assert not answer.done()
            place.free.set()
            assert (await asyncio.wait_for(answer, 10)).end == 1

    asyncio.run(go())


def test_a_late_request_does_not_wait_for_a_sink(tmp_path):
    async def go():
        place = Place()
        place.free.clear()
        async with live(tmp_path, swarm(), {"to": "p.jsonl", "durable": True}, place=place) as (_, ask):
            deadline = asyncio.get_running_loop().time() + 0.2
            assert (await asyncio.wait_for(ask([1], deadline=deadline), 10)).end == 1
            place.free.set()

    asyncio.run(go())


def test_what_cannot_be_kept_is_answered(tmp_path):
    async def go():
        async with live(tmp_path, swarm(), {"to": "p.jsonl"}) as (made, ask):
            made.new_key = lambda: 1 / 0
            assert (await asyncio.wait_for(ask([1]), 10)).end == 1

    asyncio.run(go())
    assert not (tmp_path / "p.jsonl").exists()
