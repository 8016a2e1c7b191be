"""Signals that end a command, and what the first process of a container owes its orphans.

Ctrl-C, SIGTERM and SIGHUP are one thing: the command stops, keeps what is finished, and ends within a bounded time. Python
runs handlers between two of its own instructions, so a call that takes long holds them up; a thread that the kernel tells
of signals itself sees to the bound.
"""

from __future__ import annotations

import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["AT_ONCE_S", "LEAVE_S", "SIGNALS", "STOP_S", "Stopping", "be_init", "name_of"]

STOP_S = 8.0
"""How long a command may take to end once it was told to: Docker kills after ten seconds."""
AT_ONCE_S = 0.5
"""The same once it was told again."""
LEAVE_S = 1.0
"""How long what is left of a program may take to end behind its command that was stopped."""
SAME_S = 0.5
"""Signals that come this soon after the first are the same: who ends a service may tell its processes one by one."""
WAKE, WAKE_S = signal.SIGURG, 0.1
"""What wakes the main thread, and how often: a signal that comes just before it begins to wait for a lock does not."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FORWARDED = (*SIGNALS, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


def name_of(number: int) -> str:
    """What people call a signal: `Ctrl-C`, `SIGTERM`."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class Stopping:
    """While it is entered, in the main thread, signals raise `KeyboardInterrupt` there.

    It knows of them also where a library that was just being imported has made another error of that.

    Args:
        say: says how the command ended; called in another thread, when it has not ended in time.

    Attributes:
        number: the signal that came first; 0 for none.
    """

    def __init__(self, say: Callable[[], object]) -> None:
        self.number = 0
        self._say = say
        self._first_at = 0.0
        self._before: dict[int, Any] = {}

    @property
    def code(self) -> int:
        """The exit code of a command that was stopped."""
        return 128 + (self.number or signal.SIGINT)

    def __enter__(self) -> Stopping:
        from motet.threads import begun

        if threading.current_thread() is threading.main_thread():
            ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()  # as nohup has it
            self._before = {number: signal.signal(number, self._note) for number in set(SIGNALS) - ignored}
            self._before[WAKE] = signal.signal(WAKE, lambda number, frame: None)
            told, self._tells = os.pipe()
            os.set_blocking(self._tells, False)
            self._told_before = signal.set_wakeup_fd(self._tells, warn_on_full_buffer=False)
            if not begun(threading.Thread(target=self._watch, args=(told,), name="motet-stopping", daemon=True)):
                os.close(told)  # without a thread there is no bound
        return self

    def __exit__(self, *error: object) -> None:
        if self._before:
            signal.set_wakeup_fd(self._told_before)
            os.close(self._tells)
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self._first_at and time.monotonic() - self._first_at <= SAME_S:
            return
        self.number = self.number or number
        self._first_at = self._first_at or time.monotonic()
        raise KeyboardInterrupt

    def _watch(self, told: int) -> None:
        """End the process when it does not end by itself; until nobody can tell of signals any more."""
        first = end = math.inf
        while True:
            left = end - time.monotonic()
            if left <= 0:
                self._leave()
            waking = self.number != 0 and not self._first_at
            wait = min(left, WAKE_S) if waking else left
            if not select.select([told], [], [], None if wait == math.inf else wait)[0]:
                if waking:
                    signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
                continue
            numbers = os.read(told, 64)
            if not numbers:
                os.close(told)
                return
            for number in set(numbers) & set(SIGNALS):
                if signal.getsignal(number) != self._note:
                    continue  # a server, or a training, has taken it over
                self.number = self.number or number
                now = time.monotonic()
                first = min(first, now)
                end = min(end, now + (STOP_S if now - first <= SAME_S else AT_ONCE_S))

    def _leave(self) -> NoReturn:
        from motet.threads import begun

        saying = threading.Thread(target=self._say, daemon=True)
        if begun(saying):
            saying.join(LEAVE_S)  # nobody may listen
        os._exit(self.code)


def be_init() -> None:
    """Where this is the first process of a container, let another one go on from here, and be what its kernel wants of it.

    The kernel hands it all processes that lose their parent, and keeps from it every signal that it does not handle. So it
    waits for whatever ends, hands signals on, and ends as the process ends that does the work.
    """
    if os.getpid() != 1:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    try:
        worker = os.fork()
    except OSError:  # a container may have no room for a second process
        worker = 0
    if worker:
        _init(worker)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*FORWARDED, signal.SIGCHLD})


def _init(worker: int) -> NoReturn:
    while True:
        number = signal.sigwait({*FORWARDED, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            os.kill(worker, number)  # who has ended is still there until it is waited for, below
            continue
        for pid, status in iter(_ended, None):
            if pid == worker:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _ended() -> tuple[int, int] | None:
    """A child that has ended, and how."""
    pid, status = os.waitpid(-1, os.WNOHANG)
    return (pid, status) if pid else None
