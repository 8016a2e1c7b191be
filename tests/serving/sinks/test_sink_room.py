"""A sink's memory is bounded: when it is full, records are dropped and counted, or answers wait, for so long."""

import asyncio
import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.until import until_async
from motet.runtime.executor import Call
from motet.serving.sinks.buffer import Buffer
from motet.serving.sinks.items import Marker
from motet.serving.sinks.records import Records
from motet.serving.sinks.spool import Spool
from serving.sinks.sink_rows import Place, lines, offer, opened, with_place

SMALL = {"to": "p.jsonl", "name": "p", "batch_s": 0.0, "buffer_rows": 4, "batch_rows": 2, "retry_s": 0.0}


def hanging(made):
    place = Place()
    place.free.clear()
    with_place(made, place)
    return place


def test_drop_counts_what_finds_no_room(tmp_path):
    async def go():
        async with opened(tmp_path, SMALL) as made:
            place = hanging(made)
            assert [offer(made, f"r{number}", [number]) for number in range(10)] == [None] * 10
            assert made.stats["p"].dropped == 6
            assert made.counts()["p"]["queued_rows"] == 4
            place.free.set()
            await until_async(lambda: made.stats["p"].written == 4)
            assert place.ids == ["r0:0", "r1:0", "r2:0", "r3:0"]
            assert made.counts()["p"]["queued_rows"] == 0

    asyncio.run(go())


def test_bytes_are_bounded_too(tmp_path):
    async def go():
        async with opened(tmp_path, SMALL, buffer_rows=1000, buffer_bytes=10_000) as made:
            place = hanging(made)
            for number in range(10):
                offer(made, f"r{number}", [number], user="x" * 3000)
            assert made.stats["p"].dropped == 8
            place.free.set()

    asyncio.run(go())


def test_block_lets_answers_wait_in_their_order_until_there_is_room(tmp_path):
    async def go():
        async with opened(tmp_path, SMALL, full="block", block_s=20.0) as made:
            place = hanging(made)
            waits = [offer(made, f"r{number}", [number]) for number in range(10)]
            assert waits[:4] == [None] * 4
            await asyncio.sleep(0)
            assert not any(wait.done() for wait in waits[4:])
            place.free.set()
            assert await asyncio.wait_for(asyncio.gather(*waits[4:]), 10) == [True] * 6
            await until_async(lambda: made.stats["p"].written == 10)
            assert place.ids == [f"r{number}:0" for number in range(10)]
            assert made.stats["p"].dropped == 0

    asyncio.run(go())


@pytest.mark.parametrize("by", ["block_s", "deadline"])
def test_block_waits_no_longer_than_it_may(tmp_path, by):
    async def go():
        async with opened(tmp_path, SMALL, full="block", block_s=0.05 if by == "block_s" else 20.0) as made:
            place = hanging(made)
            deadline = asyncio.get_running_loop().time() + 0.05 if by == "deadline" else None
            waits = [offer(made, f"r{number}", [number], deadline=deadline) for number in range(6)]
            assert await asyncio.wait_for(asyncio.gather(*waits[4:]), 10) == [False, False]
            assert made.stats["p"].dropped == 2
            place.free.set()
            await until_async(lambda: made.stats["p"].written == 4)

    asyncio.run(go())


def test_who_no_longer_waits_is_not_kept(tmp_path):
    async def go():
        async with opened(tmp_path, SMALL, full="block", block_s=20.0) as made:
            place = hanging(made)
            waits = [offer(made, f"r{number}", [number]) for number in range(6)]
            waits[4].cancel()
            await asyncio.sleep(0)
            assert made.stats["p"].dropped == 1
            place.free.set()
            assert await asyncio.wait_for(waits[5], 10) is True
            await until_async(lambda: made.stats["p"].written == 5)
            assert "r4:0" not in place.ids

    asyncio.run(go())


def test_who_waits_at_the_end_is_told(tmp_path):
    async def go():
        async with opened(tmp_path, SMALL, full="block", block_s=20.0, close_s=0.2) as made:
            place = hanging(made)
            waits = [offer(made, f"r{number}", [number]) for number in range(6)]
        assert [wait.result() for wait in waits[4:]] == [False, False]
        assert made.stats["p"].dropped == 2
        place.free.set()

    asyncio.run(go())


def test_a_request_that_is_bigger_than_the_buffer_is_taken_alone(tmp_path):
    async def go():
        async with opened(tmp_path, SMALL) as made:
            offer(made, "big", range(100))
            await until_async(lambda: made.stats["p"].written == 100)
        assert len(lines(tmp_path / "p.jsonl")) == 100

    asyncio.run(go())


def test_answers_wait_for_the_records_of_their_members(tmp_path):
    async def go():
        async with opened(tmp_path, SMALL, record="stack", full="block", block_s=20.0) as made:
            place = hanging(made)
            for number in range(10):
                scores = {"scores": np.ones((1, 3), np.float32)}
                call = Call("vote", "mlp", "1", 1, 0.1, scores, (), "mlp")
                made.member("g", call, [f"r{number}"], [f"r{number}"], [1])
            assert made.stats["p"].dropped == 2  # beyond twice the bound
            wait = offer(made, "r9", [9])
            assert not wait.done()
            place.free.set()
            assert await asyncio.wait_for(wait, 10) is True
            await until_async(lambda: made.stats["p"].written == 8)

    asyncio.run(go())


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "settle"]), st.integers(0, 7))))
def test_a_buffer_never_holds_more_than_it_may(steps):
    buffer = Buffer(10, 1000)
    put, taken, got = [], [], []
    for step, size in steps:
        if step == "put":
            item = Marker(size, size * 10)
            if buffer.put(item):
                put.append(item)
        elif step == "take":
            items = buffer.take(0, 0, size)
            got += items
            taken += items
        else:
            buffer.settle(sum(item.num_rows for item in taken), sum(item.num_bytes for item in taken))
            taken = []
        assert buffer.held_rows <= 10
        assert buffer.held_rows == sum(item.num_rows for item in put[len(got) :]) + sum(item.num_rows for item in taken)
    assert got == put[: len(got)]


@pytest.mark.parametrize("room", [0, 10])
def test_a_spool_that_is_begun_where_no_room_is_left_is_begun_again_when_there_is(tmp_path, room):
    spool, records = Spool.new(tmp_path, "p"), Records("t", {"id": "string", "a": "int64"}, {"id": ["r"], "a": [1]})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.append([records], sync=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []
    spool.append([records], sync=True)
    assert [dict(each.columns) for each in spool.read(10)[0]] == [{"id": ("r",), "a": (1,)}]
    spool.close()
