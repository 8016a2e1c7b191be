import asyncio
import gc
import itertools
import os
import signal
import threading

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import GraphError, TooManyRequestsError, UnauthorizedError
from motet.serving.admission import Admission, AdmissionConfig, Ticket
from motet.serving.admission.locks import LockTable, Range


def admission(folder, anonymous, **more):
    return Admission(AdmissionConfig.read({"classes": {"anonymous": anonymous}, **more}, "admission"), folder=folder)


def in_loop(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main, 60))


async def ticks(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


async def entered(made):
    return made if isinstance(made, Ticket) else await made


def start(door, caller):
    """A request that enters in its own task."""

    async def request():
        return await entered(door.enter(caller))

    return asyncio.create_task(request())


def test_so_many_run_so_many_wait_and_the_next_is_refused_at_once(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 2, "queue": 3})
        caller = door.identify({}, "10.0.0.1")
        running = [door.enter(caller) for _ in range(2)]
        assert all(isinstance(each, Ticket) for each in running)
        waiting = [start(door, caller) for _ in range(3)]
        await ticks()
        assert door._waiting == 3
        with pytest.raises(TooManyRequestsError, match="2 requests of this caller run and 3 wait already") as refused:
            await door.enter(caller)
        assert refused.value.retry_after_s == 1
        other = door.enter(door.identify({}, "10.0.0.2"))
        assert isinstance(other, Ticket), "callers do not share slots"
        for each in [*running, other]:
            each.leave()
        for each in waiting:
            (await each).leave()
        assert door.counts == {("anonymous", "admitted"): 6, ("anonymous", "busy"): 1}
        assert len(door._pools) == 0
        await door.close()

    in_loop(main())


def test_requests_of_a_caller_go_in_as_they_came(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 20})
        caller = door.identify({}, "10.0.0.1")
        order = []

        async def request(number):
            with await entered(door.enter(caller)):
                order.append(number)
                await ticks(2)

        await asyncio.gather(*(request(number) for number in range(20)))
        assert order == list(range(20))
        await door.close()

    in_loop(main())


def test_callers_take_turns_where_their_class_has_few_slots(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 50, "total": {"concurrent": 1, "queue": 100}})
        order = []

        async def request(name, address):
            with await entered(door.enter(door.identify({}, address))):
                order.append(name)
                await ticks(2)

        greedy = [("greedy", "10.0.0.1")] * 30
        modest = [("modest", "10.0.0.2")] * 3 + [("other", "10.0.0.3")] * 3
        await asyncio.gather(*(request(*each) for each in greedy + modest))
        assert order[:10] == ["greedy"] + ["greedy", "modest", "other"] * 3
        await door.close()

    in_loop(main())


def test_a_ticket_gives_its_slots_back_once(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 0, "total": {"concurrent": 1, "queue": 0}})
        caller = door.identify({}, "10.0.0.1")
        first = door.enter(caller)
        first.leave()
        second = door.enter(caller)
        first.leave()
        with pytest.raises(TooManyRequestsError):
            await door.enter(caller)
        second.leave()
        with door.enter(caller):
            pass
        await door.close()

    in_loop(main())


def test_whoever_gives_up_leaves_its_place_and_its_slot(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 2})
        caller = door.identify({}, "10.0.0.1")
        for at in range(4):
            ticket = await entered(door.enter(caller))
            first, second = start(door, caller), start(door, caller)
            await ticks()
            if at == 0:
                first.cancel()
            ticket.leave()
            if at == 1:  # it has its slot, and does not know yet
                first.cancel()
            await ticks(at)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            if not first.cancelled():
                first.result().leave()
            (await second).leave()
        assert len(door._pools) == 0
        assert door._waiting == 0
        await door.close()

    in_loop(main())


def test_what_is_never_awaited_holds_nothing(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 1})
        caller = door.identify({}, "10.0.0.1")
        ticket = door.enter(caller)
        door.enter(caller).close()
        gc.collect()
        waiting = start(door, caller)
        await ticks()
        ticket.leave()
        (await waiting).leave()
        await door.close()

    in_loop(main())


def test_nobody_waits_longer_than_is_allowed(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 2, "wait_s": 0.05})
        caller = door.identify({}, "10.0.0.1")
        with door.enter(caller):
            for _ in range(3):
                with pytest.raises(TooManyRequestsError, match=r"waited 0.05 s for one of 1 requests of this caller"):
                    await door.enter(caller)
        door.enter(caller).leave()
        await door.close()

    in_loop(main())


def test_a_request_that_is_refused_or_gives_up_does_not_count_for_its_rate(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 1, "rate": "2/hour"})
        caller = door.identify({}, "10.0.0.1")
        ticket = door.enter(caller)
        gives_up = start(door, caller)
        await ticks()
        for _ in range(5):
            with pytest.raises(TooManyRequestsError, match="wait already"):
                await door.enter(caller)
        gives_up.cancel()
        await asyncio.gather(gives_up, return_exceptions=True)
        ticket.leave()
        door.enter(caller).leave()
        with pytest.raises(TooManyRequestsError, match="more than 2/hour for class 'anonymous'") as refused:
            door.enter(caller)
        assert 3590 < refused.value.retry_after_s <= 3600
        assert door.counts["anonymous", "rate"] == 1
        await door.close()

    in_loop(main())


def test_a_request_whose_rate_is_used_up_is_refused_before_it_waits(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 5, "rate": "1/hour"})
        caller = door.identify({}, "10.0.0.1")
        with door.enter(caller), pytest.raises(TooManyRequestsError, match="more than 1/hour"):
            await door.enter(caller)
        await door.close()

    in_loop(main())


def test_rates_of_a_whole_class_hold_for_all_of_its_callers(tmp_path):
    async def main():
        door = admission(tmp_path, {"rate": "3/hour", "total": {"rate": "5/hour"}})
        admitted = []
        for number in range(4):
            for _ in range(4):
                try:
                    door.enter(door.identify({}, f"10.0.0.{number}")).leave()
                    admitted.append(number)
                except TooManyRequestsError:
                    pass
        assert admitted == [0, 0, 0, 1, 1]
        await door.close()

    in_loop(main())


def test_credentials_that_do_not_hold_are_counted(tmp_path):
    async def main():
        door = admission(tmp_path, {})
        with pytest.raises(UnauthorizedError):
            door.identify({"x-api-key": "x"}, "10.0.0.1")
        assert door.counts == {("", "unauthorized"): 1}
        assert isinstance(door.enter(door.identify({}, "10.0.0.1")), Ticket)
        await door.close()

    in_loop(main())


def test_doors_of_one_process_share_its_slots(tmp_path):
    """As when a configuration is read anew, while requests of the old one run."""

    async def main():
        old, new = (admission(tmp_path, {"concurrent": 2, "queue": 1}) for _ in range(2))
        caller = old.identify({}, "10.0.0.1")
        first, second = old.enter(caller), new.enter(caller)
        waiting = start(new, caller)
        await ticks()
        with pytest.raises(TooManyRequestsError):
            await old.enter(caller)
        first.leave()
        third = await waiting
        await old.close()
        with pytest.raises(TooManyRequestsError):
            await asyncio.gather(*(entered(new.enter(caller)) for _ in range(2)))
        for each in (second, third):
            each.leave()
        await new.close()

    in_loop(main())


def test_a_configuration_that_is_read_anew_holds_for_new_requests(tmp_path):
    async def main():
        door = admission(tmp_path, {"concurrent": 1, "queue": 1})
        old = door.enter(door.identify({}, "10.0.0.1"))
        waiting = start(door, door.identify({}, "10.0.0.1"))
        await ticks()
        more = {"anonymous": {"concurrent": 2, "queue": 0, "rate": "1/hour"}}
        await door.reload(AdmissionConfig.read({"classes": more}, "admission"))
        caller = door.identify({}, "10.0.0.1")
        new = door.enter(caller)
        with pytest.raises(TooManyRequestsError):
            await entered(door.enter(caller))
        with pytest.raises(GraphError):
            await door.reload(AdmissionConfig.read({"tokens": {"jwks": str(tmp_path / "none")}}, "admission"))
        assert door.identify({}, "10.0.0.1") is caller
        for each in (new, old):
            each.leave()
        (await waiting).leave()
        await door.close()

    in_loop(main())


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["enter", "leave", "cancel", "tick"])), max_size=60))
def test_whatever_happens_bounds_hold_and_every_slot_comes_back(tmp_path_factory, steps):
    folder = tmp_path_factory.getbasetemp() / "any-slots"

    async def main():
        door = admission(folder, {"concurrent": 2, "queue": 2, "total": {"concurrent": 3, "queue": 3}})
        callers = [door.identify({}, f"10.0.0.{number}") for number in range(3)]
        asked = [[], [], []]

        def running(number):
            return [
                each for each in asked[number]
                if each.done() and not each.cancelled() and not each.exception() and each.result()._held
            ]  # fmt: skip

        for number, what in steps:
            if what == "enter":
                asked[number].append(start(door, callers[number]))
            elif what == "leave" and running(number):
                running(number)[0].result().leave()
            elif what == "cancel" and asked[number]:
                asked[number][-1].cancel()
            else:
                await ticks(1)
            assert all(len(running(each)) <= 2 for each in range(3))
            assert sum(len(running(each)) for each in range(3)) <= 3
        while not all(each.done() for each in itertools.chain(*asked)):
            for number in range(3):
                for each in running(number):
                    each.result().leave()
            await ticks(1)
        for number in range(3):
            for each in running(number):
                each.result().leave()
        assert len(door._pools) == 0
        assert not door._table._taken
        await door.close()

    in_loop(main())


def test_processes_together_let_exactly_so_many_in(tmp_path, child):
    children = [child("enter", tmp_path, "-", 3, 0, "-", "-", 20) for _ in range(4)]
    assert [each.hear() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    assert sum(int(each.hear()) for each in children) == 3


def test_processes_together_keep_the_slots_of_a_class(tmp_path, child):
    children = [child("enter", tmp_path, "-", 100, 0, "-", 5, 20) for _ in range(4)]
    assert [each.hear() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    assert sum(int(each.hear()) for each in children) == 5


def test_slots_and_rates_hold_together_for_all_processes(tmp_path, child):
    children = [child("enter", tmp_path, "-", 30, 30, "20/hour", "-", 20) for _ in range(4)]
    assert [each.hear() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    assert sum(int(each.hear()) for each in children) == 20


def test_the_slots_of_a_process_that_is_killed_come_free_at_once(tmp_path, child):
    async def main():
        holder = child("enter", tmp_path, "-", 3, 2, "-", "-", 3)
        assert holder.hear() == "ready"
        holder.tell()
        assert await asyncio.to_thread(holder.hear) == "3"
        door = admission(tmp_path, {"concurrent": 3, "queue": 2})
        caller = door.identify({}, "10.0.0.1")
        waiting = [start(door, caller) for _ in range(2)]
        await ticks()
        with pytest.raises(TooManyRequestsError):
            await door.enter(caller)
        assert not any(each.done() for each in waiting)
        os.kill(holder.process.pid, signal.SIGKILL)
        for each in await asyncio.gather(*waiting):
            each.leave()
        await door.close()

    in_loop(main())


def test_a_slot_that_another_process_gives_back_wakes_whoever_waits_here(tmp_path, child):
    async def main():
        holder = child("enter", tmp_path, "-", 1, 1, "-", "-", 1)
        holder.hear()
        holder.tell()
        assert await asyncio.to_thread(holder.hear) == "1"
        door = admission(tmp_path, {"concurrent": 1, "queue": 1})
        waiting = start(door, door.identify({}, "10.0.0.1"))
        await ticks()
        assert not waiting.done()
        holder.tell()
        (await waiting).leave()
        await door.close()

    in_loop(main())


def test_a_process_that_is_always_busy_lets_others_have_their_turns(tmp_path, child):
    async def main():
        busy = child("churn", tmp_path, 1, "10.0.0.1")
        assert busy.hear() == "ready"
        busy.tell()
        assert await asyncio.to_thread(busy.hear) == "100"
        door = admission(tmp_path, {"concurrent": 1, "queue": 100})
        caller = door.identify({}, "10.0.0.1")
        for _ in range(20):
            (await entered(door.enter(caller))).leave()
        await door.close()

    in_loop(main())


def test_a_folder_that_cannot_be_used_is_told_when_a_server_starts(tmp_path):
    (tmp_path / "file").write_text("")

    async def main():
        with pytest.raises(GraphError, match="cannot keep the slots of admission"):
            admission(tmp_path / "file", {"concurrent": 1})

    in_loop(main())


def test_threads_take_different_bytes_of_a_range(tmp_path):
    table, among = LockTable.of(tmp_path), Range(b"k" * 16, 0, 100)
    taken = []
    threads = [threading.Thread(target=lambda: taken.extend(table.take(among) for _ in range(20))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each for each in taken if each is not None) == list(range(100))
    assert taken.count(None) == 60
    table.close()
