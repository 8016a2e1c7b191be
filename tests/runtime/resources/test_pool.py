"""The pool: what is lent, in which order, to whom it goes back; shared by processes, some of which are killed."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.until import until_async
from motet.errors import InputError, OverloadedError
from motet.runtime.resources.need import Need, machine
from motet.runtime.resources.pool import Pool

SRC = Path(__file__).resolve().parents[3] / "src"


def waits(pool, need, priority="live"):
    """Borrows in a thread; (the thread, what came of it)."""
    found = []
    thread = threading.Thread(target=lambda: found.append(pool.borrow(need, priority=priority, timeout_s=20)))
    number = pool.waiting()
    thread.start()
    while pool.waiting() == number and thread.is_alive():
        pass
    return thread, found


def test_what_is_given_back_can_be_borrowed_again():
    pool = Pool(Need(cpu=2, memory_bytes=100))
    with pool.borrow(Need(cpu=2, memory_bytes=60)) as lease:
        assert pool.used() == Need(cpu=2, memory_bytes=60)
        with pytest.raises(OverloadedError, match=r"3 cores \(there are 2\)"):
            pool.borrow(Need(cpu=1), timeout_s=0)
    assert not lease.held
    assert pool.used() == Need()
    pool.borrow(Need(cpu=1), timeout_s=0).release()


def test_what_there_will_never_be_is_refused_at_once():
    with pytest.raises(InputError, match=r"there will never be 4 cores \(there are 2\), 1 accelerators") as caught:
        Pool(Need(cpu=2, memory_bytes=1)).borrow(Need(cpu=4, accelerator=1))
    assert "ask for less" in caught.value.hint
    with pytest.raises(InputError, match="cpu must be a number of at least 0; got -1"):
        Need(cpu=-1)


def test_the_machine_has_something():
    found = machine()
    assert found.cpu >= 1
    assert found.memory_bytes > 1 << 28
    assert found.scratch_bytes > 0


def test_live_goes_before_bulk_whoever_came_first():
    pool = Pool(Need(cpu=1))
    first = pool.borrow(Need(cpu=1))
    bulk, bulk_lease = waits(pool, Need(cpu=1), "bulk")
    live, live_lease = waits(pool, Need(cpu=1), "live")
    first.release()
    live.join(20)
    assert live_lease[0].held
    assert not bulk_lease
    live_lease[0].release()
    bulk.join(20)
    assert bulk_lease[0].held


def test_nobody_overtakes_so_that_a_large_need_does_not_starve():
    pool = Pool(Need(cpu=2))
    first = pool.borrow(Need(cpu=1))
    large, large_lease = waits(pool, Need(cpu=2))
    with pytest.raises(OverloadedError, match="what others wait for"):
        pool.borrow(Need(cpu=1), timeout_s=0)
    first.release()
    large.join(20)
    assert large_lease[0].held


def test_bulk_gives_way_when_live_waits_and_goes_on_afterwards():
    pool = Pool(Need(cpu=2))
    bulk = pool.borrow(Need(cpu=2), priority="bulk")
    assert not bulk.wanted
    assert bulk.breathe()
    live, live_lease = waits(pool, Need(cpu=1))
    assert bulk.wanted
    again = threading.Thread(target=bulk.breathe)
    again.start()
    live.join(20)
    assert live_lease[0].held
    assert not bulk.held
    live_lease[0].release()
    again.join(20)
    assert bulk.held


def test_live_is_not_asked_to_give_way():
    pool = Pool(Need(cpu=1))
    live = pool.borrow(Need(cpu=1))
    thread, found = waits(pool, Need(cpu=1))
    assert not live.wanted
    live.release()
    thread.join(20)
    found[0].release()


def test_a_wait_can_be_ended():
    pool = Pool(Need(cpu=1))
    pool.borrow(Need(cpu=1))
    with pytest.raises(OverloadedError):
        pool.borrow(Need(cpu=1), stopped=lambda: True)
    assert pool.waiting() == 0


def test_a_lease_grows_and_shrinks_with_what_is_needed():
    pool = Pool(Need(cpu=2, memory_bytes=100))
    lease = pool.borrow(Need(memory_bytes=10))
    assert lease.resize(Need(memory_bytes=90))
    assert not lease.resize(Need(memory_bytes=110))
    assert lease.need == Need(memory_bytes=90)
    lease.release()
    assert not lease.resize(Need(memory_bytes=1))


def test_on_an_event_loop_and_cancelled():
    pool = Pool(Need(cpu=1))

    async def main():
        lease = await pool.borrow_async(Need(cpu=1), timeout_s=5)
        waiting = asyncio.create_task(pool.borrow_async(Need(cpu=1)))
        await until_async(pool.waiting)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        lease.release()
        await until_async(lambda: not pool.waiting() and not pool.used().cpu)

    asyncio.run(main())


@given(
    st.lists(
        st.tuples(st.sampled_from(["borrow", "release", "resize"]), st.integers(0, 7), st.integers(0, 5)), max_size=40
    )
)
@settings(max_examples=100, deadline=None)
def test_never_more_is_lent_than_there_is(events):
    pool, leases = Pool(Need(cpu=5, memory_bytes=9)), []
    for what, which, amount in events:
        if what == "borrow":
            try:
                leases.append(pool.borrow(Need(cpu=amount, memory_bytes=which), timeout_s=0))
            except OverloadedError:
                continue
        elif leases and what == "release":
            leases.pop(which % len(leases)).release()
        elif leases:
            leases[which % len(leases)].resize(Need(cpu=amount))
        assert pool.used().within(pool.capacity)
        assert pool.used().cpu == sum(lease.need.cpu for lease in leases)


CHILD = """
import sys
from motet.runtime.resources.pool import Need, Pool
pool = Pool(Need(cpu=2), folder=sys.argv[1])
lease = pool.borrow(Need(cpu=float(sys.argv[2])), priority=sys.argv[3])
print("held", flush=True)
if sys.argv[3] == "bulk":
    while not lease.wanted:
        pass
    lease.release()
    print("gave way", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child(tmp_path):
    """Starts processes that borrow from the pool of a folder."""
    started = []

    def start(cpu, priority="live"):
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(cpu), priority]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SRC)},
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_processes_share_what_there_is_and_a_killed_one_keeps_nothing(tmp_path, child):
    pool = Pool(Need(cpu=2), folder=tmp_path)
    other = child(1.5)
    assert pool.used().cpu == 1.5
    with pytest.raises(OverloadedError):
        pool.borrow(Need(cpu=1), timeout_s=0)
    waiting, found = waits(pool, Need(cpu=2))
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    waiting.join(20)
    assert found[0].held
    assert pool.used().cpu == 2
    found[0].release()


def test_bulk_of_another_process_gives_way(tmp_path, child):
    pool = Pool(Need(cpu=2), folder=tmp_path)
    bulk = child(2, "bulk")
    lease = pool.borrow(Need(cpu=1), timeout_s=20)
    assert bulk.stdout.readline() == "gave way\n"
    lease.release()


def test_pools_of_one_process_share_a_folder_too(tmp_path):
    one, other = Pool(Need(cpu=1), folder=tmp_path), Pool(Need(cpu=1), folder=tmp_path)
    lease = one.borrow(Need(cpu=1))
    with pytest.raises(OverloadedError):
        other.borrow(Need(cpu=1), timeout_s=0)
    lease.release()
    other.borrow(Need(cpu=1), timeout_s=0).release()


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep what is borrowed") as caught:
        Pool(Need(cpu=1), folder=tmp_path / "file" / "pool")
    assert caught.value.where == "pool.folder"


def test_a_pool_says_who_has_borrowed_what(tmp_path):
    live = Pool(Need(cpu=4), folder=tmp_path, name="server")
    bulk = Pool(Need(cpu=4), folder=tmp_path, name="run")
    with live.borrow(Need(cpu=1)), live.borrow(Need(cpu=2), who="replicas"), bulk.borrow(Need(cpu=1), priority="bulk"):
        found = [(each.priority, each.who, each.held.cpu, each.waiting.cpu) for each in live.holders()]
        assert found == [("live", "replicas", 2, 0), ("live", "server", 1, 0), ("bulk", "run", 1, 0)]
        assert bulk.holders() == live.holders()
        assert {each.pid for each in live.holders()} == {os.getpid()}
    assert live.holders() == []


def test_who_waits_is_shown_too(tmp_path):
    pool, shown = Pool(Need(cpu=1), folder=tmp_path), Pool(Need(cpu=1), folder=tmp_path)
    waited = threading.Event()
    with pool.borrow(Need(cpu=1)):
        thread = threading.Thread(target=lambda: pool.borrow(Need(cpu=1), who="late", stopped=waited.is_set).release())
        thread.start()
        while not any(each.who == "late" and each.waiting.cpu == 1 for each in shown.holders()):
            pass
    thread.join(10)
    assert shown.holders() == []


def test_a_claim_stands_in_line_without_a_thread():
    pool = Pool(Need(cpu=2))
    bulk = pool.borrow(Need(cpu=2), priority="bulk")
    claim = pool.claim(Need(cpu=1), who="somebody")
    assert claim.take() is None
    assert bulk.wanted
    assert pool.within_reach() == Need(cpu=2)
    with pytest.raises(OverloadedError):
        pool.borrow(Need(), timeout_s=0)  # nobody overtakes
    bulk.release()
    lease = claim.take()
    assert lease is not None
    assert pool.used().cpu == 1
    assert claim.take() is None
    assert pool.used().cpu == 1
    lease.release()
    gone = pool.claim(Need(cpu=2))
    gone.leave()
    gone.leave()
    assert gone.take() is None
    assert pool.waiting() == 0


def test_live_work_is_asked_for_what_urgent_work_waits_for_after_bulk_work():
    pool = Pool(Need(cpu=3))
    bulk, live, urgent = (pool.borrow(Need(cpu=1), priority=each) for each in ("bulk", "live", "urgent"))
    claim = pool.claim(Need(cpu=1), priority="urgent")
    assert (bulk.wanted, live.wanted, urgent.wanted) == (True, False, False)
    more = pool.claim(Need(cpu=1), priority="urgent")
    assert (bulk.wanted, live.wanted, urgent.wanted) == (True, True, False)
    assert pool.within_reach("urgent").cpu == 2
    live.release()
    assert claim.take() is not None
    more.leave()
    assert not bulk.wanted


def test_an_unknown_priority_is_refused():
    with pytest.raises(InputError, match="one of urgent, live, bulk; got 'late'"):
        Pool(Need(cpu=1)).claim(Need(cpu=1), priority="late")  # type: ignore[arg-type]
