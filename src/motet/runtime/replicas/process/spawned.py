"""Starting and ending the process of a replica."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from motet.system.lifeline import start
from motet.system.limits import THREADS
from motet.system.processes import how_ended

__all__ = ["Spawned", "hang_up", "memory_of", "register", "standard_error"]

REAP_S = 5.0
"""How long a killed process may take to be gone; one that waits for a disk may take longer, and is left to it."""
HUNG_UP_S = 1.0
"""How long a process may take to end that has hung up."""
_LEFT_BYTES = 2**13
_BOOT = (
    "import sys; sys.path[:] = sys.argv[4:]; from motet.runtime.replicas.process.child import main; "
    "main(*map(int, sys.argv[2:4]))"
)


class Spawned:
    """A process that runs `child.main`, and what leads to it. It ends when this process does.

    Args:
        name: shown in the list of processes.
        threads: the most that common libraries may use.
        folder: its current folder.

    Attributes:
        socket: for messages.
        memory: for descriptors of shared memory.

    Raises:
        OSError: when the machine has no room for another process.
    """

    def __init__(self, name: str, threads: int, folder: str) -> None:
        self._ending = threading.RLock()  # garbage that has it too may be collected while it is held
        self._mine = True
        self.socket, messages = socket.socketpair()
        self.memory, memory = socket.socketpair()
        self._ends = (self.socket, self.memory)
        try:
            fds = (messages.fileno(), memory.fileno())
            self._process = _start(name, fds, threads, folder)
        except BaseException:
            self.release()
            raise
        finally:
            messages.close()
            memory.close()
        self._finalizer = weakref.finalize(self, _finish, self._process, self._ends)
        register(self)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended."""
        if not self._mine or self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):
            return self._process.poll() is None
        try:  # without WNOWAIT its number could be another's when its group is killed
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def hang_up(self, wait_s: float) -> None:
        """Let it end by itself, and kill it when that takes longer than `wait_s` seconds."""
        hang_up(self.socket, wait_s)
        self.kill()

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """While it is this process's turn to call: always, of what is its own."""
        return contextlib.nullcontext()

    def kill(self, *, stuck: bool = False) -> None:
        """End it and what it has started at once, and wait until it is gone; any thread, any number of times."""
        with self._ending:
            if self._mine:
                _kill(self._process)

    def how_it_ended(self) -> str:
        """How it ended, once it hung up, and what it has started with it: `ended with exit code 3`."""
        end = time.monotonic() + HUNG_UP_S
        while self.running():
            if time.monotonic() > end:
                self.kill()
                return "hung up, and was killed"
            time.sleep(0.001)
        self.kill()
        return how_ended(self._process.returncode or 0)

    def release(self) -> None:
        """Close the sockets; nobody may be waiting for the process."""
        for end in self._ends:
            end.close()

    def forget(self) -> None:
        """Let go of it in a copy of this process, which is not its parent."""
        self._mine = False
        self._finalizer.detach()
        self.release()


def hang_up(end: socket.socket, wait_s: float) -> None:
    """Ask for nothing more, and wait at most so many seconds for the other side to hang up."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_WR)
        end.settimeout(wait_s)
        over = time.monotonic() + wait_s
        while end.recv(_LEFT_BYTES) and time.monotonic() < over:
            continue


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(REAP_S)


def _finish(process: subprocess.Popen[bytes], ends: Sequence[socket.socket]) -> None:
    """End the process of somebody who has forgotten to, or at the end of the program."""
    _kill(process)
    for end in ends:
        end.close()


class _Forgettable(Protocol):
    def forget(self) -> None: ...


_spawned: weakref.WeakSet[_Forgettable] = weakref.WeakSet()


def register(process: _Forgettable) -> None:
    """Have a copy of this process forget a process that it holds."""
    _spawned.add(process)


def _after_fork() -> None:
    for each in list(_spawned):
        each.forget()


os.register_at_fork(after_in_child=_after_fork)  # a copy of this process must not end what is not its own


def _start(name: str, fds: tuple[int, ...], threads: int, folder: str) -> subprocess.Popen[bytes]:
    return start(
        [sys.executable, "-c", _BOOT, f"motet-replica:{name}", *map(str, fds), *sys.path],
        stdin=subprocess.DEVNULL,
        stdout=standard_error(),
        stderr=standard_error(),
        pass_fds=fds,
        cwd=folder,
        env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
    )


def standard_error() -> int:
    """Where a process says what it says: standard error, or nowhere where that is closed."""
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2


def memory_of(pid: int) -> int:
    """The memory of a process in bytes, pages that it shares counted in part; 0 where that cannot be known."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
