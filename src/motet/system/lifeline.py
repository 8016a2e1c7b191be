"""Processes that end with the one that has started them, however that ends, and whatever they do then.

A process holds one end of a pipe, into which nothing is ever written, and those that it has started the other. When it ends its
end is closed, and the kernel kills them: no thread of theirs need be able to run, so it ends one that is stopped, or whose
interpreter is held, too. (The kernel's PR_SET_PDEATHSIG comes when the *thread* ends that has started a process.) Where the
kernel sends no signal of our choice, which Linux does, a thread of each waits for the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

from motet.locks import new_lock

__all__ = ["hold", "open_end", "outlive", "start"]

_NAMED = "MOTET_LIFELINE"
"""Tells a process the number of its end of the pipe."""
_BY_KERNEL = hasattr(fcntl, "F_SETSIG") and os.path.isdir("/proc/self/fd")
_lock = new_lock()
_ends: list[int] = []
"""What others read, and what this process holds; empty before it has started one."""


def start(command: Sequence[str], *, pass_fds: Sequence[int] = (), **options: Any) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, which is killed with what is in its group when this process ends.

    The process calls `hold` when it begins.

    Args:
        command: its arguments.
        pass_fds: what it inherits.
        options: of `subprocess.Popen`.

    Raises:
        OSError: when the machine has no room for another process.
    """
    end = open_end()
    try:
        env = {**(options.pop("env", None) or os.environ), _NAMED: str(end)}
        process = subprocess.Popen(command, pass_fds=(*pass_fds, end), env=env, start_new_session=True, **options)
        if _BY_KERNEL:
            _tie(end, -process.pid)
    finally:
        os.close(end)
    return process


def open_end() -> int:
    """An end of the pipe for one other process, which gives it to `hold`.

    Raises:
        OSError: when no file can be opened.
    """
    with _lock:
        if not _ends:
            _ends.extend(os.pipe())
        return _of_its_own(_ends[0])


def hold(end: int | None = None) -> None:
    """End this process when the one that has started it ends, and with it its group where it leads one.

    Args:
        end: what `open_end` gave, inherited in whatever way; None where `start` has started this process.
    """
    end = int(os.environ.pop(_NAMED)) if end is None else _of_its_own(end)
    os.set_inheritable(end, False)
    if not _BY_KERNEL:
        threading.Thread(target=_wait, args=(end,), name="motet-lifeline", daemon=True).start()
        return
    _tie(end, _own_group())
    ended = select.poll()
    ended.register(end, 0)
    if ended.poll(0):
        _leave()


def outlive(seconds: float) -> None:
    """Let what this process starts go on for so long after its end, to finish what it does; what is left then is killed.

    A process that does nothing else waits for that.
    """
    os.close(open_end())  # so that there is a pipe
    kept, (told, ours) = os.dup(_ends[1]), os.pipe()
    first = os.fork()
    if not first:
        if not os.fork():
            _keep(kept, told, seconds)
        os._exit(0)  # so that it is no child of this process
    os.waitpid(first, 0)
    os.close(kept)
    os.close(told)
    _outlived.append(ours)


_outlived: list[int] = []


def _keep(kept: int, told: int, seconds: float) -> NoReturn:
    """Hold an end of the pipe until nobody reads the other any more, but not longer than some seconds after an end."""
    try:
        os.setsid()  # what is typed at the terminal is not for it
        before = 0
        for number in sorted((kept, told)):
            os.closerange(before, number)
            before = number + 1
        os.closerange(before, os.sysconf("SC_OPEN_MAX"))
        os.read(told, 1)
        over = select.poll()
        over.register(kept, 0)
        over.poll(seconds * 1000)
    finally:
        os._exit(0)


def _of_its_own(end: int) -> int:
    """The same end of a pipe, opened anew where a signal is to be sent: that is told to whatever has opened it."""
    return os.open(f"/proc/self/fd/{end}", os.O_RDONLY | os.O_CLOEXEC) if _BY_KERNEL else os.dup(end)


def _tie(end: int, owner: int) -> None:
    """Have the kernel kill a process, or a group where its number is negative, when nobody holds the pipe any more."""
    fcntl.fcntl(end, fcntl.F_SETOWN, owner)
    fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)


def _own_group() -> int:
    pid = os.getpid()
    return -pid if os.getpgrp() == pid else pid


def _wait(end: int) -> None:
    with contextlib.suppress(OSError):
        os.read(end, 1)
    _leave()


def _leave() -> None:
    os.kill(_own_group(), signal.SIGKILL)


def _in_child() -> None:
    """A copy of this process has started nothing, and must not seem to be this one."""
    for end in (*_ends, *_outlived):
        os.close(end)
    _ends.clear()
    _outlived.clear()


os.register_at_fork(after_in_child=_in_child)
