import gc
import threading
import weakref
from functools import partial

import numpy as np
import pytest
from benchmarks.clockwork import SimulatedClockwork, SimulatedReplica

from motet.errors import (
    DeadlyRowsError,
    InputError,
    ModelFailedError,
    ModelLoadError,
    ModelUnavailableError,
    ReplicaLostError,
)
from motet.runtime.replicas.lifecycle import WAIT_S
from motet.runtime.replicas.restart_policy import RestartPolicy
from motet.runtime.replicas.set import BLAMED, TRIES, ReplicaSet

X = {"x": np.arange(3.0)}
LOADING_S = 2.0


class Making:
    """Makes replicas, and keeps them in the order they were made."""

    def __init__(self, kind="process", make=None):
        self.made = []
        self._make = make or (lambda number: SimulatedReplica(kind))

    def __call__(self):
        self.made.append(self._make(len(self.made)))
        return self.made[-1]


def ready(making, count=2, *, loading_s=LOADING_S, **options):
    clock = SimulatedClockwork()
    found = ReplicaSet("m", making, count, clockwork=clock, chance=lambda: 0.0, **options)
    found.start()
    clock.beside_s = loading_s
    return found, clock


def states(found):
    return [str(each.state) for each in found.status()]


def answers(found, rows=3, **given):
    return found.call(X, rows, **given)["x"].tolist()


def test_calls_are_shared_among_replicas():
    making = Making()
    found, _ = ready(making, 3)
    for _ in range(9):
        assert answers(found) == [0.0, 1.0, 2.0]
    assert [replica.calls for replica in making.made] == [3, 3, 3]
    assert found.at_once == 3
    assert found.direct is None


def test_the_only_copy_in_this_process_is_called_directly():
    class Loaded(SimulatedReplica):
        def loaded(self, columns):
            return self.call(columns)

    making = Making(make=lambda number: Loaded("thread"))
    found, clock = ready(making, 1)
    assert found.direct == making.made[0].loaded
    found.scale(2)
    clock.run(LOADING_S)
    assert found.direct is None
    assert states(found) == ["READY", "READY"]


def test_a_batch_whose_replica_died_is_played_by_another_and_the_dead_one_is_replaced():
    making = Making()
    found, clock = ready(making)
    answers(found)
    answers(found)
    making.made[0].die()
    assert answers(found) == [0.0, 1.0, 2.0]
    assert answers(found) == [0.0, 1.0, 2.0]
    assert states(found) == ["BACKOFF", "READY"]
    clock.run(2 * LOADING_S)
    assert states(found) == ["READY", "READY"]
    assert found.status()[0].restarts == 1
    assert found.status()[0].reason == "the simulated process ended"
    assert making.made[0].ended


def test_a_replica_that_dies_while_nobody_calls_is_found_and_replaced():
    making = Making()
    found, clock = ready(making)
    answers(found)
    making.made[1].die()
    clock.run(1.0)
    assert found.status()[1].reason == "its process ended"
    clock.run(3 * LOADING_S)
    assert states(found) == ["READY", "READY"]
    assert len(making.made) == 3


def test_a_call_waits_for_a_replica_that_is_being_replaced():
    making = Making()
    found, clock = ready(making, 1)
    answers(found)
    making.made[0].die()
    assert answers(found) == [0.0, 1.0, 2.0]
    assert clock.now() == pytest.approx(LOADING_S)


def test_a_call_does_not_wait_for_ever():
    making = Making()
    found, clock = ready(making, 1, loading_s=1e6)
    making.made[0].die()
    with pytest.raises(ModelUnavailableError, match="model 'm': no replica is ready: 0 BACKOFF: the simulated"):
        answers(found)
    assert clock.now() == pytest.approx(WAIT_S)


def test_a_call_that_waited_for_a_replica_waits_anew_for_its_turn():
    def slow(columns):
        clock.run(0.9)
        return columns

    making = Making(make=lambda number: SimulatedReplica(answers=slow if number else None))
    found, clock = ready(making, 1, timeout_s=1.0, loading_s=20.0)
    making.made[0].die()
    others = []
    for _ in range(3):
        clock.later(lambda: others.append(answers(found)), 0.5)
    assert answers(found) == [0.0, 1.0, 2.0]
    clock.run(60)
    assert others == [[0.0, 1.0, 2.0]] * 3


def test_a_crash_loop_stops_and_says_why():
    making = Making(make=lambda number: SimulatedReplica(fails=ReplicaLostError("it burnt") if number else None))
    found, clock = ready(making, 1)
    making.made[0].die()
    with pytest.raises(ModelUnavailableError) as caught:
        answers(found)
    reason = "0 FAILED: given up after 6 starts of no use; the last one: it burnt"
    assert reason in str(caught.value)
    assert "hint: mend what ends them, then load the model again" in str(caught.value)
    assert len(making.made) == 6
    clock.run(1000)
    assert states(found) == ["FAILED"]


def test_replicas_that_were_given_up_are_tried_again_when_somebody_asks():
    broken = [True]
    making = Making(make=lambda number: SimulatedReplica(fails=ReplicaLostError("x") if number and broken[0] else None))
    found, clock = ready(making, 1)
    making.made[0].die()
    clock.run(200)
    assert states(found) == ["FAILED"]
    broken[0] = False
    found.revive()
    clock.run(10)
    assert answers(found) == [0.0, 1.0, 2.0]


def test_pauses_between_useless_lives_grow():
    times = []

    def make(number):
        times.append(clock.now())
        return SimulatedReplica(fails=ReplicaLostError("x") if number else None)

    clock = SimulatedClockwork()
    restart_policy = RestartPolicy(first_pause_s=1.0, longest_pause_s=3.0, tries=6)
    making = Making(make=make)
    found = ReplicaSet("m", making, 1, clockwork=clock, chance=lambda: 0.0, restart_policy=restart_policy)
    found.start()
    making.made[0].die()
    clock.run(100)
    assert np.diff(times[1:]).tolist() == [2.0, 3.0, 3.0, 3.0]


def test_a_replica_that_cannot_be_loaded_at_first_is_said_at_once():
    making = Making(make=lambda number: SimulatedReplica(fails=ModelLoadError("no such file") if number == 1 else None))
    with pytest.raises(ModelLoadError, match="no such file"):
        ready(making, 2)
    assert all(replica.ended for replica in making.made)


def test_a_replica_that_dies_while_it_loads_at_first_is_tried_again():
    making = Making(make=lambda number: SimulatedReplica(fails=ReplicaLostError("killed") if number < 2 else None))
    found, _ = ready(making, 1)
    assert states(found) == ["READY"]
    assert len(making.made) == 3


def test_a_replica_that_always_dies_while_it_loads_is_said_soon():
    making = Making(make=lambda number: SimulatedReplica(fails=ReplicaLostError("killed")))
    with pytest.raises(ReplicaLostError, match="killed"):
        ready(making, 1)
    assert len(making.made) == 3


def test_a_replica_whose_warm_up_fails_is_not_ready():
    def warm(replica):
        raise ModelLoadError("too cold")

    making = Making()
    with pytest.raises(ModelLoadError, match="too cold"):
        ready(making, 1, warm_up=warm)
    assert making.made[0].ended


def check(answer, rows):
    if len(answer["x"]) != rows:
        raise ModelFailedError(f"gave {len(answer['x'])} rows")
    return answer


def wrong_first(kind="process"):
    def half(columns):
        return {"x": columns["x"][:1]}

    return Making(make=lambda number: SimulatedReplica(kind, answers=half if number == 0 else None))


@pytest.mark.parametrize("kind", ["process", "remote"])
def test_a_replica_that_answers_wrongly_is_taken_out_where_another_answers_rightly(kind):
    making = wrong_first(kind)
    found, _ = ready(making, 2, check=check)
    assert answers(found) == [0.0, 1.0, 2.0]
    assert states(found) == ["BACKOFF", "READY"]
    assert found.status()[0].reason == "its answer was wrong: gave 1 rows"


def test_the_log_quotes_no_answer_of_one_that_is_given_up(caplog):
    found, _ = ready(wrong_first(), check=check, restart_policy=RestartPolicy(tries=1))
    answers(found)
    assert states(found)[0] == "FAILED"
    assert "gave 1 rows" in found.status()[0].reason
    assert "is not started anew: given up after 1 starts of no use; the last one: its answer was wrong" in caplog.text
    assert "gave 1 rows" not in caplog.text


def test_where_every_replica_answers_wrongly_the_model_is_at_fault_and_nothing_is_taken_out():
    making = Making(make=lambda number: SimulatedReplica(answers=lambda columns: {"x": columns["x"][:1]}))
    found, _ = ready(making, 2, check=check)
    with pytest.raises(ModelFailedError, match="gave 1 rows"):
        answers(found)
    assert states(found) == ["READY", "READY"]


def test_what_the_framework_raises_is_raised_and_no_replica_is_at_fault():
    def refuse(columns):
        raise ValueError("bad row")

    found, _ = ready(Making(make=lambda number: SimulatedReplica(answers=refuse)))
    with pytest.raises(ValueError, match="bad row"):
        answers(found)
    assert states(found) == ["READY", "READY"]


def deadly(columns):
    if (columns["x"] == 13).any():
        raise ReplicaLostError("killed by SIGSEGV")
    return columns


def test_rows_of_which_replica_after_replica_dies_are_blamed_where_others_were_answered():
    found, clock = ready(Making(make=lambda number: SimulatedReplica(answers=deadly)))
    bad = {"x": np.array([1.0, 13.0])}
    for _ in range(4):
        answers(found)
        with pytest.raises(DeadlyRowsError, match="2 replicas were lost on the same 2 rows; .* SIGSEGV"):
            found.call(bad, 2)
        clock.run(3 * LOADING_S)
        assert states(found) == ["READY", "READY"]
    with pytest.raises(DeadlyRowsError, match=f"{TRIES} replicas were lost on the same 1 rows"):
        found.call({"x": np.array([13.0])}, 1)


def test_a_model_that_always_dies_is_blamed_itself():
    found, _ = ready(Making(make=lambda number: SimulatedReplica(answers=deadly)))
    bad = {"x": np.array([13.0])}
    with pytest.raises(ModelUnavailableError, match="3 replicas were lost"):
        found.call(bad, 1)


def test_rows_are_not_blamed_for_ever():
    found, _ = ready(Making(make=lambda number: SimulatedReplica(answers=deadly)), loading_s=0.01)
    answers(found)
    bad = {"x": np.array([13.0])}
    errors = []
    for _ in range(BLAMED):
        with pytest.raises((DeadlyRowsError, ModelUnavailableError)) as caught:
            found.call(bad, 1)
        errors.append(type(caught.value))
    assert errors[0] is DeadlyRowsError
    assert errors[-1] is ModelUnavailableError
    assert states(found) == ["FAILED", "FAILED"]


def unavailable(columns):
    raise ModelUnavailableError("its server answered 503")


def remotes(**answers):
    return {name: partial(SimulatedReplica, "remote", answers=each) for name, each in answers.items()}


def test_an_address_that_does_not_answer_is_left_alone_for_a_while_and_then_tried_by_one_call():
    down = [True]

    def sometimes(columns):
        return unavailable(columns) if down[0] else columns

    found, clock = ready(Making(), 0, addresses=remotes(a=sometimes, b=None))
    assert answers(found) == [0.0, 1.0, 2.0]
    assert states(found) == ["BACKOFF", "READY"]
    clock.run(1.0)
    assert states(found) == ["SUSPECT", "READY"]
    assert found.status()[0].at_once == 1
    down[0] = False
    answers(found)
    answers(found)
    assert states(found) == ["READY", "READY"]


def test_the_only_address_is_asked_again_and_its_error_is_said():
    found, _ = ready(Making(), 0, addresses=remotes(a=unavailable))
    for _ in range(20):
        with pytest.raises(ModelUnavailableError, match="its server answered 503"):
            answers(found)
    assert states(found) == ["SUSPECT"]


def test_an_address_that_could_not_be_begun_and_answers_then_is_said_to_be_out_when_it_is(caplog):
    down = [True]

    def making():
        if down[0]:
            raise ModelLoadError("its server says nothing")
        return SimulatedReplica("remote", answers=lambda columns: unavailable(columns) if down[0] else columns)

    caplog.set_level("INFO", "motet.runtime")
    found, clock = ready(Making(), 0, addresses={**remotes(b=None), "late": making})
    clock.run(1.0)
    down[0] = False
    clock.run(10 * LOADING_S)
    assert states(found) == ["READY", "READY"]
    for _ in range(4):
        answers(found)
    down[0] = True
    for _ in range(4):
        answers(found)
    assert [record.incident for record in caplog.records] == ["address_out", "address_back", "address_out"]


def test_where_no_address_answers_the_first_error_is_said_at_once():
    found, clock = ready(Making(), 0, addresses=remotes(a=unavailable, b=unavailable))
    with pytest.raises(ModelUnavailableError, match="its server answered 503"):
        answers(found)
    assert clock.now() == 0


def test_local_and_remote_replicas_answer_together():
    making = Making()
    found, _ = ready(making, 1, addresses=remotes(there=None))
    for _ in range(4):
        answers(found)
    assert [(each.name, each.kind, each.calls) for each in found.status()] == [
        ("0", "process", 2),
        ("there", "remote", 2),
    ]


def test_where_no_address_answers_a_local_replica_that_is_being_replaced_is_waited_for():
    making = Making()
    found, clock = ready(making, 1, addresses=remotes(there=unavailable))
    for _ in range(3):
        answers(found)
    making.made[0].die()
    assert answers(found) == [0.0, 1.0, 2.0]
    assert clock.now() == pytest.approx(LOADING_S)
    assert states(found)[0] == "READY"


def test_but_not_for_ever_and_then_the_error_of_the_address_is_said():
    making = Making()
    found, clock = ready(making, 1, addresses=remotes(there=unavailable), loading_s=1e6)
    making.made[0].die()
    with pytest.raises(ModelUnavailableError, match="its server answered 503"):
        answers(found)
    assert clock.now() == pytest.approx(WAIT_S)


def test_scaling_up_adds_and_scaling_down_lets_calls_finish():
    making = Making()
    found, clock = ready(making, 1)
    found.scale(3)
    assert states(found) == ["READY", "STARTING", "STARTING"]
    clock.run(LOADING_S)
    assert states(found) == ["READY"] * 3
    inside = []

    def shrink(columns):
        found.scale(0)
        clock.run(10)
        inside.append(making.made[0].ended)
        return columns

    making.made[0].answers = shrink
    answers(found)
    clock.run(10)
    assert inside == [False]
    assert all(replica.ended for replica in making.made)
    assert found.status() == ()


def test_from_zero_the_first_call_starts_a_replica():
    making = Making()
    found, clock = ready(making, 0)
    clock.beside_s = LOADING_S
    assert answers(found) == [0.0, 1.0, 2.0]
    assert len(making.made) == 1


@pytest.mark.parametrize("count", [-1, 257, 1.5, True])
def test_a_number_of_replicas_that_is_none_is_refused(count):
    found, _ = ready(Making(), 1)
    with pytest.raises(InputError, match="a model may have 0 to 256 replicas"):
        found.scale(count)


def test_a_named_replica_answers_where_it_can():
    making = Making()
    found, _ = ready(making, 3)
    for _ in range(5):
        answers(found, name="1")
    assert [replica.calls for replica in making.made] == [0, 5, 0]
    making.made[1].die()
    assert answers(found, name="1") == [0.0, 1.0, 2.0]


def test_a_set_that_was_closed_says_so():
    making = Making()
    found, _ = ready(making)
    found.close()
    found.close()
    assert all(replica.ended for replica in making.made)
    with pytest.raises(ModelUnavailableError, match="it was closed"):
        answers(found)


def test_a_set_that_nobody_holds_is_not_kept_by_its_clockwork():
    found, clock = ready(Making())
    held = weakref.ref(found)
    del found
    gc.collect()
    clock.run(1)
    assert held() is None


def test_threads_wait_for_a_free_replica():
    inside, most, lock = [0], [0], threading.Lock()
    gate = threading.Barrier(2)

    def slow(columns):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        gate.wait(10)
        with lock:
            inside[0] -= 1
        return columns

    found = ReplicaSet("m", Making(make=lambda number: SimulatedReplica(answers=slow)), 2)
    found.start()
    threads = [threading.Thread(target=answers, args=(found,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    found.close()
    assert most == [2]
    assert [each.calls for each in found.status()] == []


def test_two_replicas_answer_nearly_all_requests_of_days_in_which_they_crash_every_hour():
    from benchmarks.availability import Month, Rates

    rates = Rates(
        days=3, crashes_a_day=24, stuck=0.1, failing=0.05, loading_s=10, timeout_s=1, requests_s=0.1, deadline_s=5
    )
    one, two = (Month(rates, replicas, seed=1).play() for replicas in (1, 2))
    assert one["crashes"] > 30
    assert one["in_time"] < 0.9995
    assert two["in_time"] > 0.9999
