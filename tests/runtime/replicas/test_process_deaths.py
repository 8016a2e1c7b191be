"""Processes of models that die, get stuck or lose their parent: what is said, and that nothing is left behind."""

import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from helpers.process_replicas import do, held, made, started
from motet.errors import ModelLoadError, ReplicaLostError
from motet.runtime.replicas.process.wire import MessageSocket
from motet.system.lifeline import open_end

SOON_S = 60.0
"""The machine may be busy; without the fault looked for, nothing here takes a hundredth of it."""
LARGE = np.zeros((3, 100_000), np.float32)


def soon(true):
    """Whether something becomes true within the time."""
    end = time.monotonic() + SOON_S
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def gone(pid):
    """Whether a process ends within the time; nobody may have waited for it yet."""
    return soon(lambda: not is_there(pid))


def state(pid):
    """The letter of a process's state, as `ps` shows it; empty where there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_there(pid):
    return state(pid) not in ("", "Z")


def holds_no_more_than(before):
    """What other tests have left, as a thread that is ending, may give back some meanwhile."""
    return all(now <= then for now, then in zip(held(), before, strict=True))


@pytest.fixture(autouse=True)
def _nothing_left():
    """Whatever happens to a process, neither descriptors nor memory are held behind it."""
    os.close(open_end())  # with the pipe that the first process opens for all
    gc.collect()
    before = held()
    yield
    gc.collect()
    assert soon(lambda: holds_no_more_than(before)), (held(), before)


def when_under_way(replica, started, act, what="spin"):
    """Do something to a replica's process in the middle of a call, and give what the call raised.

    Args:
        replica: the replica.
        started: a file that is not there yet.
        act: what to do.
        what: what the model does meanwhile.
    """
    raised = []

    def ask():
        with pytest.raises(ReplicaLostError) as caught:
            do(replica, f"{what} {started}", LARGE)
        raised.append(caught.value)

    asking = threading.Thread(target=ask)
    asking.start()
    assert soon(started.exists)
    act()
    asking.join(SOON_S)
    assert not asking.is_alive()
    return raised[0]


def test_a_process_that_is_killed_in_a_call_is_lost_and_says_so(tmp_path):
    with started() as replica:
        do(replica, "echo", LARGE)
        pid = replica.pid
        with open(f"/proc/{pid}/maps") as file:
            assert {line.split(maxsplit=5)[5] for line in file if "motet" in line and " rw-s " in line} == {
                "/memfd:motet (deleted)\n"
            }
        error = when_under_way(replica, tmp_path / "on", lambda: os.kill(pid, signal.SIGKILL))
        assert error.retryable
        assert str(error) == (
            f"model 'doing' (helpers.replica_models:Doing): the model's process (pid {pid}) was killed by SIGKILL"
        )
        assert not replica.alive()
        with pytest.raises(ReplicaLostError, match="was killed by SIGKILL"):
            do(replica, "echo")


def test_a_process_that_is_killed_between_calls_is_not_alive():
    with started() as replica:
        assert replica.alive()
        assert replica.memory_bytes > 10**6
        os.kill(replica.pid, signal.SIGKILL)
        assert soon(lambda: not replica.alive())
        assert replica.memory_bytes == 0
        with pytest.raises(ReplicaLostError, match="was killed by SIGKILL"):
            do(replica, "echo", LARGE)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("vanish 4", "ended with exit code 4"),
        ("die", "was killed by SIGKILL"),
        ("talk \x01\x00\x00\x00!", "said what is no message: "),
        ("talk \x7f\x7f\x7f\x7f", "said what is no message: a message of 2139062143 bytes; the most is 67108864"),
    ],
)
def test_a_model_that_ends_its_process_or_breaks_the_protocol_is_lost(what, text):
    with started() as replica, pytest.raises(ReplicaLostError) as caught:
        do(replica, what, LARGE)
    assert text in str(caught.value)


def test_a_model_that_raises_system_exit_has_raised():
    with started() as replica:
        with pytest.raises(Exception, match=r"^3$") as caught:
            do(replica, "leave 3", LARGE)
        assert type(caught.value).__name__ == "SystemExit"
        assert replica.alive()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_the_answer_of_a_call_that_was_left_is_not_that_of_the_next_one(monkeypatch, raised):
    def receive(end):
        select.select([end._socket], [], [])  # the answer is there
        raise raised  # as a handler of signals does, such as that of Ctrl-C

    with started() as replica:
        with monkeypatch.context() as patched:
            patched.setattr(MessageSocket, "receive", receive)
            with pytest.raises(raised):
                do(replica, "echo", LARGE)
        with pytest.raises(ReplicaLostError, match="was left in the middle of a call, and was killed"):
            do(replica, "echo", LARGE + 1)
        assert not replica.alive()


def test_what_a_model_has_started_ends_with_it(tmp_path):
    with started() as replica, pytest.raises(ReplicaLostError, match="ended with exit code 5"):
        do(replica, f"vanish_with_a_child {tmp_path / 'one'}", LARGE)
    with started() as replica:
        do(replica, f"fork {tmp_path / 'two'}", LARGE)
    assert gone(int((tmp_path / "one").read_text()))
    assert gone(int((tmp_path / "two").read_text()))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_copy_of_the_parent_neither_holds_nor_ends_the_process():
    with started() as replica:
        do(replica, "echo", LARGE)
        copy = os.fork()
        if copy == 0:
            said = 0
            try:
                do(replica, "echo", LARGE)
            except ReplicaLostError:
                replica.close()
                said = 3
            os._exit(said)
        assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 3
        assert do(replica, "echo", LARGE).shape == LARGE.shape


@pytest.mark.parametrize("machine", ["", "stands still"])
def test_a_process_that_stands_still_is_killed_after_its_time(machine):
    with started(machine=machine) as replica:
        os.kill(replica.pid, signal.SIGSTOP)
        assert soon(lambda: state(replica.pid) == "T")
        with pytest.raises(ReplicaLostError, match=r"did not answer within 0.2 s; it was killed"):
            do(replica, "echo", LARGE, timeout_s=0.2)
        assert gone(replica.pid)


def test_a_call_within_its_time_is_answered_and_the_next_may_take_longer():
    with started() as replica:
        assert do(replica, "echo", LARGE, timeout_s=SOON_S).shape == LARGE.shape
        assert do(replica, "sleep 0.05", LARGE).shape == LARGE.shape
        with pytest.raises(ReplicaLostError, match=r"within 0.05 s"):
            do(replica, "sleep 60", LARGE, timeout_s=0.05)


def test_closing_in_a_call_ends_both(tmp_path):
    with started() as replica:
        error = when_under_way(replica, tmp_path / "on", replica.close)
        assert "was closed" in str(error)
        assert gone(replica.pid)
        replica.close()


def test_a_call_of_a_shared_process_waits_for_one_that_nobody_waits_for(tmp_path):
    with started(machine="crowd") as first, started(machine="crowd") as second:
        assert first.pid == second.pid
        when_under_way(first, tmp_path / "on", first.close, "crowd")
        (tmp_path / "on").unlink()  # only now it ends
        assert do(second, "crowd").tolist() == [1, 1, 1]


def test_closing_lets_the_model_close(tmp_path):
    with started(options={"closed": str(tmp_path / "closed")}) as replica:
        pid = replica.pid
    assert (tmp_path / "closed").read_text() == "closed"
    assert gone(pid)
    with pytest.raises(ReplicaLostError, match="was closed"):
        do(replica, "echo")
    replica.close()


def test_a_replica_that_is_forgotten_ends():
    replica = made()
    replica.start()
    do(replica, "echo", LARGE)
    pid = replica.pid
    del replica
    gc.collect()
    assert gone(pid)


def test_memory_is_given_back_while_an_error_of_a_killed_process_is_kept():
    before = held()
    with started() as replica:
        do(replica, "echo", LARGE)
        os.kill(replica.pid, signal.SIGKILL)
        with pytest.raises(ReplicaLostError) as kept:
            do(replica, "echo", LARGE)
        assert kept.value.__traceback__ is not None
        assert soon(lambda: holds_no_more_than(before)), (held(), before)


def test_what_was_not_started_can_be_closed_but_not_called():
    replica = made()
    assert (replica.alive(), replica.pid, replica.memory_bytes) == (False, None, 0)
    with pytest.raises(ReplicaLostError, match="was not started"):
        do(replica, "echo")
    replica.close()
    with pytest.raises(ReplicaLostError, match="started once"):
        replica.start()


def test_signals_to_the_whole_group_do_not_end_a_model():
    with started() as replica:
        assert os.getpgid(replica.pid) != os.getpgid(0)
        assert do(replica, "interrupted").shape == (3, 2)
        assert replica.alive()


def test_a_model_that_ends_while_it_is_loaded_is_lost(tmp_path, monkeypatch):
    (tmp_path / "ending.py").write_text("import os\nos._exit(9)\n")
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ReplicaLostError, match="ended with exit code 9"):
        made("ending:model").start()
    with pytest.raises(ReplicaLostError, match="did not answer within 0.5 s"):
        made("slow:model", load_timeout_s=0.5).start()
    with pytest.raises(ModelLoadError, match="importing broken failed: ZeroDivisionError: division by zero"):
        made("broken:model").start()


def test_answers_outlive_the_replica():
    with started() as replica:
        answer = do(replica, "fresh", LARGE)
    assert (answer == 1).all()


PARENT = """
import sys, threading
import numpy as np
sys.path[:0] = {path}
from helpers.process_replicas import do, made
replica = made()
replica.start()
do(replica, "echo", np.zeros((3, 100_000), np.float32))
what = sys.argv[1]
if what != "idle":
    threading.Thread(target=do, args=(replica, what), daemon=True).start()
print(replica.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("what", ["idle", "spin /dev/null", "sleep 60"])
def test_a_process_ends_when_its_parent_is_killed(what):
    program = PARENT.format(path=[os.path.join(os.path.dirname(__file__), "..", "..")])
    with subprocess.Popen(
        [sys.executable, "-c", program, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)


def test_what_is_being_ended_can_be_closed_by_garbage_of_the_same_thread():
    """A collector runs at any line, also where this thread is about to end the process."""
    with started() as replica:
        pid = replica.pid
        with replica._spawned._ending:
            replica.close()
        assert gone(pid)
        with pytest.raises(ReplicaLostError, match="was closed"):
            do(replica, "echo")
