"""A replica's process that all processes of a machine share: found by whoever asks, started by the first, ended with the last.

It listens at a socket of this user, named by what it has loaded. Who starts it holds a lock meanwhile, so there is one; who
finds it gone starts another. Nobody is its parent: the kernel ends it when the last process that holds its pipe has ended
or let go of it, whatever it does then.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from motet.errors import ReplicaLostError
from motet.runtime.replicas.process.spawned import hang_up, register, standard_error
from motet.system.limits import THREADS
from motet.system.locks import lock_file
from motet.system.processes import is_stopped
from motet.system.sockets import is_heard, private_folder

__all__ = ["MachineProcess"]

SUFFIX = ".model"
FIND_S = 0.05
"""How often who does not start it looks whether it is there."""
LOOK_S = 5.0
"""How often one that does not take a connection is looked at: it may be loading, or stopped for good."""
BEGIN_S = 600.0
"""How long it may take until it takes a connection; a model that loads may hold the interpreter."""
TURN_S, WAIT_S = 600.0, 0.001
"""How long one waits for its turn to call, and how often it looks."""
_BOOT = (
    "import os, sys; os.fork() and os._exit(0); sys.path[:] = sys.argv[4:]; "
    "from motet.runtime.replicas.process.machine_child import main; main(sys.argv[2], int(sys.argv[3]))"
)


class MachineProcess:
    """A connection to the process of this machine that has a model; see `Spawned`, in whose place it is.

    Args:
        key: what tells the model from others.
        name: shown in the list of processes.
        threads: the most that common libraries may use.
        folder: its current folder.
        serial: whether calls of all processes are made one after another.

    Attributes:
        socket, memory, pid: see `Spawned`.

    Raises:
        OSError: when it cannot be started, or does not listen in time.
    """

    def __init__(self, key: str, name: str, threads: int, folder: str, *, serial: bool) -> None:
        path = private_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{SUFFIX}"
        end = time.monotonic() + BEGIN_S
        found = _connected(path, end)
        while found is None:
            if time.monotonic() > end:
                raise TimeoutError(f"nobody listened within {BEGIN_S:g} s")
            handle = lock_file(f"{path}.lock")
            if handle is None:
                time.sleep(FIND_S)
                found = _connected(path, end)
                continue
            try:
                found = _connected(path, end) or _begun(path, name, threads, folder, end)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{path}.lock")
                os.close(handle)
        self.socket, self.memory, self.pid, self._pipe = found
        self._serial = serial
        self._finalizer = weakref.finalize(self, _let_go, (self.socket, self.memory), self._pipe)
        register(self)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """While it is this process's turn to call, where calls are made one after another; any time once it has ended.

        Raises:
            ReplicaLostError: when it does not come: who calls may be stopped.
        """
        if not self._serial:
            yield
            return
        end = time.monotonic() + TURN_S
        while not _locked(self._pipe) and self.running():
            if time.monotonic() > end:
                raise ReplicaLostError(f"the model's process (pid {self.pid}) was not free within {TURN_S:g} s")
            time.sleep(WAIT_S)
        try:
            yield
        finally:
            if self._finalizer.alive:  # else what the call did not get over has closed it
                fcntl.flock(self._pipe, fcntl.LOCK_UN)

    def running(self) -> bool:
        """Whether it has not hung up."""
        fd = self.socket.fileno()
        if fd < 0:
            return False
        ended = select.poll()
        ended.register(fd, 0)
        return not ended.poll(0)

    def hang_up(self, wait_s: float) -> None:
        """Let go of it; it may take so many seconds to close its model, where nobody else has it."""
        hang_up(self.socket, wait_s)
        self.kill()

    def kill(self, *, stuck: bool = False) -> None:
        """Let go of it, and end it for all where it is stuck; any thread, any number of times."""
        if stuck and self.running():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        for end in (self.socket, self.memory):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def how_it_ended(self) -> str:
        """How it ended, as far as is known of a process that is nobody's child."""
        return "has ended, for all processes of this machine"

    def release(self) -> None:
        """Close what leads to it; nobody may be waiting for it."""
        self._finalizer()

    forget = release


def _locked(pipe: int) -> bool:
    try:
        fcntl.flock(pipe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_go(ends: Sequence[socket.socket], pipe: int) -> None:
    for end in ends:
        end.close()
    os.close(pipe)


_Found = tuple[socket.socket, socket.socket, int, int]
"""Sockets to a process, its number, and an end of its pipe."""


def _connected(path: Path, end: float) -> _Found | None:
    """What leads to the process that listens; None where there is none that takes connections."""
    ours, messages = socket.socketpair()
    memory, blocks = socket.socketpair()
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(LOOK_S)
            asked.connect(str(path))
            socket.send_fds(asked, [b"."], [messages.fileno(), blocks.fileno()])
            said, fds = _answer(asked, end)
            if said:
                (pipe,) = fds
                os.set_inheritable(pipe, False)
                return ours, memory, int(said), pipe
    except (FileNotFoundError, ConnectionError, TimeoutError):
        pass  # nobody is there, or has just ended, or is stopped
    finally:
        messages.close()
        blocks.close()
    ours.close()
    memory.close()
    return None


def _answer(asked: socket.socket, end: float) -> tuple[bytes, list[int]]:
    """What it says, which it may take long to, unless somebody has stopped it.

    Raises:
        TimeoutError: when it is stopped, or it takes too long.
    """
    while True:
        try:
            said, fds, _, _ = socket.recv_fds(asked, 32, 1)
            return said, fds
        except TimeoutError:
            if not hasattr(socket, "SO_PEERCRED") or time.monotonic() > end:
                raise
            pid, _, _ = struct.unpack("3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if is_stopped(pid):
                raise


def _begun(path: Path, name: str, threads: int, folder: str, end: float) -> _Found | None:
    """What leads to a process that is started here."""
    if sys.platform != "linux":
        raise OSError("processes that a machine shares need Linux")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    for each in path.parent.glob(f"*{SUFFIX}"):
        is_heard(each)  # what others that were killed left behind is removed
    listens, ours = os.pipe()
    try:
        with open(listens, "rb", buffering=0) as told:
            subprocess.run(
                [sys.executable, "-c", _BOOT, f"motet-model:{name}", str(path), str(ours), *sys.path],
                stdin=subprocess.DEVNULL, stdout=standard_error(), stderr=standard_error(), cwd=folder, pass_fds=(ours,),
                start_new_session=True, env={**os.environ, **dict.fromkeys(THREADS, str(threads))}, check=False,
            )  # fmt: skip
            os.close(ours)
            ours = -1
            if not select.select([told], [], [], max(0.0, end - time.monotonic()))[0] or not told.read(1):
                raise OSError("it ended, or waits, before it listened")
    finally:
        if ours >= 0:
            os.close(ours)
    return _connected(path, end)
