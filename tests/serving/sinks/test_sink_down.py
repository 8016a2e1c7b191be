"""A place that cannot be written loses nothing that fits into the spool, and holds nobody up."""

import asyncio
import json

import pytest

from helpers.until import until_async
from motet.serving.sinks import writer
from motet.serving.sinks.spool import spool_bytes
from serving.sinks.sink_rows import Place, lines, offer, opened, with_place

QUICK = {"to": "p.jsonl", "name": "p", "batch_s": 0.01, "retry_s": 0.1}


def spools(folder):
    return sorted((folder / "spool").glob("p.????????????.jsonl")) if (folder / "spool").exists() else []


def ids(first, end):
    return [f"r{number:03d}:0" for number in range(first, end)]


def offer_many(made, first, end):
    return [offer(made, f"r{number:03d}", [number]) for number in range(first, end)]


def test_what_could_not_be_written_is_written_in_order_when_it_can(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK) as made:
            place = Place(down=True)
            with_place(made, place)
            for number in range(20):
                offer_many(made, number * 5, number * 5 + 5)
                await until_async(lambda: made.counts()["p"]["queued_rows"] == 0)
            assert made.stats["p"].spooled == 100
            assert made.stats["p"].retried >= 1
            place.down = False
            await until_async(lambda: made.stats["p"].written == 100)
            offer_many(made, 100, 110)
            await until_async(lambda: made.stats["p"].written == 110)
            assert place.ids == ids(0, 110)
            assert spool_bytes(tmp_path / "spool", "p") == 0
        assert spools(tmp_path) == []

    asyncio.run(go())


def test_a_short_failure_needs_no_spool(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK, retry_s=20.0) as made:
            place = Place(down=True)
            with_place(made, place)
            offer_many(made, 0, 3)
            await until_async(lambda: place.tries >= 2)
            place.down = False
            await until_async(lambda: made.stats["p"].written == 3)
            assert (made.stats["p"].spooled, place.ids) == (0, ids(0, 3))

    asyncio.run(go())


def test_what_waits_to_be_tried_again_is_tried_when_the_server_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "FIRST_DELAY_S", 600.0)

    async def go():
        place = Place(down=True)
        async with opened(tmp_path, QUICK, retry_s=3000.0) as made:
            with_place(made, place)
            offer_many(made, 0, 3)
            await until_async(lambda: made.stats["p"].retried >= 1)
            place.down = False
        assert (made.stats["p"].spooled, place.ids) == (0, ids(0, 3))

    asyncio.run(go())


def test_a_full_spool_drops_and_counts(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK, retry_s=0.0, spool_bytes=2000) as made:
            place = Place(down=True)
            with_place(made, place)
            for number in range(50):
                offer_many(made, number, number + 1)
                await until_async(lambda: made.counts()["p"]["queued_rows"] == 0)
            stats = made.stats["p"]
            assert stats.dropped > 0
            assert stats.spooled + stats.dropped == 50
            assert spool_bytes(tmp_path / "spool", "p") < 4000
            place.down = False
            await until_async(lambda: stats.written == stats.spooled)
            assert place.ids == ids(0, stats.spooled)

    asyncio.run(go())


def test_what_cannot_be_written_before_the_end_is_written_by_the_next_server(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK) as made:
            with_place(made, Place(down=True))
            offer_many(made, 0, 10)
        assert made.stats["p"].spooled == 10
        assert len(spools(tmp_path)) == 1
        async with opened(tmp_path, QUICK) as made:
            await until_async(lambda: made.stats["p"].written == 10)
        assert [line["id"] for line in lines(tmp_path / "p.jsonl")] == ids(0, 10)
        assert spools(tmp_path) == []

    asyncio.run(go())


@pytest.mark.parametrize("durable", [False, True])
def test_the_end_does_not_wait_for_a_place_that_hangs(tmp_path, durable):
    async def go():
        place = Place()
        async with opened(tmp_path, QUICK, durable=durable, format="parquet", close_s=0.5) as made:
            with_place(made, place)
            place.free.clear()
            offer_many(made, 0, 3)
            await until_async(place.entered.is_set)
            offer_many(made, 3, 10)
        place.free.set()
        async with opened(tmp_path, QUICK, format="parquet") as made:
            second = with_place(made, Place()).stats["p"]
            await until_async(lambda: second.written == 10)

    asyncio.run(go())


def test_records_at_fault_are_put_aside_and_cost_no_other(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK) as made:
            place = Place(refused=(17, 63))
            with_place(made, place)
            offer_many(made, 0, 100)
            await until_async(lambda: made.counts()["p"]["queued_rows"] == 0)
            assert sorted(place.ids) == [each for each in ids(0, 100) if each not in ("r017:0", "r063:0")]
            assert (made.stats["p"].written, made.stats["p"].rejected) == (98, 2)
        found = lines(tmp_path / "spool" / "p.rejected.jsonl")
        assert [(each["error"], each["record"]["id"]) for each in found] == [
            ("no such label", "r017:0"),
            ("no such label", "r063:0"),
        ]

    asyncio.run(go())


def test_a_damaged_spool_gives_what_can_be_read(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK) as made:
            with_place(made, Place(down=True))
            offer_many(made, 0, 10)
        (path,) = spools(tmp_path)
        whole = path.read_bytes().split(b"\n")
        whole[4] = b"\x00" * len(whole[4])
        path.write_bytes(b"\n".join(whole)[:-20])
        async with opened(tmp_path, QUICK) as made:
            await until_async(lambda: made.stats["p"].written == 8)
            assert made.stats["p"].rejected == 1
        assert [line["id"] for line in lines(tmp_path / "p.jsonl")] == [*ids(0, 2), *ids(3, 9)]

    asyncio.run(go())


def test_the_spool_of_a_process_that_lives_is_left_alone(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK) as made:
            place = Place(down=True)
            with_place(made, place)
            offer_many(made, 0, 3)
            await until_async(lambda: made.stats["p"].spooled == 3)
            async with opened(tmp_path, QUICK) as second:
                offer_many(second, 3, 4)
                await until_async(lambda: second.stats["p"].written == 1)
            place.down = False
            await until_async(lambda: made.stats["p"].written == 3)
            assert place.ids == ids(0, 3)
        assert [line["id"] for line in lines(tmp_path / "p.jsonl")] == ids(3, 4)

    asyncio.run(go())


def test_an_answer_that_is_durable_waits_until_it_is_on_disk(tmp_path):
    async def go():
        place = Place()
        async with opened(tmp_path, QUICK, durable=True, format="parquet", batch_s=60.0) as made:
            with_place(made, place)
            assert await asyncio.wait_for(offer(made, "r000", [0]), 10) is True
            (path,) = spools(tmp_path)
            assert json.loads(path.read_text().splitlines()[2])[0] == "r000:0"
            assert place.ids == []
        assert place.ids == ids(0, 1)
        assert spools(tmp_path) == []

    asyncio.run(go())


def test_answers_that_are_durable_go_on_while_the_place_is_down(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK, durable=True, format="parquet") as made:
            place = Place(down=True)
            with_place(made, place)
            for number in range(5):
                assert await asyncio.wait_for(offer(made, f"r{number:03d}", [number]), 10) is True
            place.down = False
            await until_async(lambda: made.stats["p"].written == 5)
            assert place.ids == ids(0, 5)
            assert await asyncio.wait_for(offer(made, "r005", [5]), 10) is True
            await until_async(lambda: made.stats["p"].written == 6)
            assert place.ids == ids(0, 6)

    asyncio.run(go())


def test_an_answer_that_cannot_be_made_durable_says_so(tmp_path):
    async def go():
        async with opened(tmp_path, QUICK, durable=True, format="parquet", spool_bytes=0) as made:
            with_place(made, Place(down=True))
            assert await asyncio.wait_for(offer(made, "r000", [0]), 10) is False
            assert made.stats["p"].dropped == 1

    asyncio.run(go())
