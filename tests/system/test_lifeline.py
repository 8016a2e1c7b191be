"""What a process has started ends with it, whatever it does then, and not with the thread that has started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.until import until

SAYS = "import os, signal, subprocess, sys, time; print(os.getpid(), flush=True);"
HOLDS = "from motet.system.lifeline import hold; hold();"
STOPPED = "os.kill(os.getpid(), signal.SIGSTOP)"
CHILDREN = {
    "sleeps": f"{HOLDS} time.sleep(600)",
    "is stopped": f"{HOLDS} {STOPPED}",
    "is stopped before it has done anything": STOPPED,
    "holds the interpreter": f"{HOLDS} import ctypes; ctypes.PyDLL(None).sleep(600)",
    "ignores signals": (
        f"{HOLDS} [signal.signal(each, signal.SIG_IGN) for each in (signal.SIGTERM, signal.SIGIO, signal.SIGHUP)]; "
        "time.sleep(600)"
    ),
    "waits for a program": f"{HOLDS} subprocess.run([sys.executable, '-c', {SAYS + 'time.sleep(600)'!r}])",
}
PARENT = """
import os, sys, threading, time
from motet.system import lifeline

if {seconds}:
    lifeline.outlive({seconds})
thread = threading.Thread(target=lifeline.start, args=([sys.executable, "-c", {child!r}],))
thread.start()
thread.join()
{then}
time.sleep(600)
"""


class Started:
    """A program that has started another one in a thread that has ended, and the numbers that processes have said."""

    def __init__(self, child: str, *, then: str = "", seconds: float = 0) -> None:
        mine = f"# {os.getpid()} {id(self)}"  # what tells it from those of other runs of these tests
        self.code = PARENT.format(seconds=seconds, child=SAYS + child, then=then) + mine
        self.parent = subprocess.Popen([sys.executable, "-c", self.code], stdout=subprocess.PIPE, text=True)
        self.pids = [self.number() for _ in range(2 if then or SAYS in child else 1)]

    def line(self) -> str:
        assert self.parent.stdout is not None
        return self.parent.stdout.readline()

    def number(self) -> int:
        return int(self.line())

    def copies(self) -> list[int]:
        """The processes that have been made of it, but not it."""
        found = []
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            pid = int(each.parent.name)
            if pid != self.parent.pid and state(pid) and self.code.encode() in each.read_bytes():
                found.append(pid)
        return found

    def kill(self) -> None:
        self.parent.kill()
        self.parent.wait()

    def close(self) -> None:
        self.kill()
        for pid in (*self.pids, *self.copies()):
            if state(pid):
                os.kill(pid, signal.SIGKILL)
        self.parent.stdout.close()


@pytest.fixture
def started() -> Iterator[Any]:
    made = []
    yield lambda *arguments, **options: made.append(Started(*arguments, **options)) or made[-1]
    for each in made:
        each.close()


def state(pid: int) -> str:
    """The letter of a process's state; empty where it has ended."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
    return "" if found == "Z" else found


@pytest.mark.parametrize("child", CHILDREN.values(), ids=CHILDREN)
def test_it_ends_when_its_parent_is_killed(started: Any, child: Any) -> None:
    each = started(child)
    assert all(map(state, each.pids))
    if STOPPED in child:
        until(lambda: state(each.pids[0]) == "T")
    each.kill()
    until(lambda: not any(map(state, each.pids)))


def test_a_copy_of_its_parent_does_not_keep_it(started: Any) -> None:
    each = started(CHILDREN["sleeps"], then="if not os.fork(): print(os.getpid(), flush=True)")
    each.kill()
    (copy,) = each.copies()
    until(lambda: not all(map(state, each.pids)))
    assert state(copy)


def test_it_may_finish_what_it_does_where_it_is_let(started: Any) -> None:
    handler = "signal.signal(signal.SIGUSR1, lambda *_: print('still here', flush=True));"
    each = started(f"{handler} {HOLDS} print('ready', flush=True); time.sleep(600)", seconds=600)
    assert each.line() == "ready\n"
    each.kill()
    os.kill(each.pids[0], signal.SIGUSR1)
    assert each.line() == "still here\n"
    assert len(each.copies()) == 1
    os.kill(each.pids[0], signal.SIGKILL)
    until(lambda: not each.copies())


def test_it_is_not_left_behind_when_it_hangs_then(started: Any) -> None:
    each = started(CHILDREN["is stopped"], seconds=0.1)
    until(lambda: state(each.pids[0]) == "T")
    each.kill()
    until(lambda: not state(each.pids[0]) and not each.copies())
