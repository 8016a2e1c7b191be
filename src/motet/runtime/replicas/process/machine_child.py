"""The process of a model that the processes of a machine share: each that connects is served by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

from motet.runtime.replicas.process.child import ModelHolder, alone, serve
from motet.system.lifeline import hold

__all__ = ["main"]

BEGIN_S = 60.0
"""How long nobody may connect at first."""


def main(path: str, told: int) -> None:
    """Listen, and serve until the last that was connected has hung up.

    Args:
        path: of the socket.
        told: a pipe that who has started this process reads, and that is told when it listens.
    """
    os.setsid()
    alone()
    with socket.socket(socket.AF_UNIX) as listener:
        os.register_at_fork(after_in_child=listener.close)  # else who connects after its end could wait for an answer
        listener.bind(f"{path}~")
        os.chmod(f"{path}~", 0o600)
        listener.listen(socket.SOMAXCONN)
        os.rename(f"{path}~", path)
        os.write(told, b".")
        os.close(told)
        listener.settimeout(BEGIN_S)
        with contextlib.suppress(TimeoutError):
            _Listener(path).run(listener)
    os._exit(0)


class _Listener:
    """Takes connections, and ends the process with the last one."""

    def __init__(self, path: str) -> None:
        self._path, self._made, self._holder = path, os.stat(path), ModelHolder()
        self._lock = threading.Lock()
        self._connected = 0
        self._ends, last = os.pipe()
        self._last: int | None = last

    def run(self, listener: socket.socket) -> None:
        """Take whoever connects."""
        while True:
            asked, _ = listener.accept()
            with asked, contextlib.suppress(OSError):
                asked.settimeout(1)
                _, fds, _, _ = socket.recv_fds(asked, 1, 2)
                if len(fds) != 2:
                    continue
                ends = [socket.socket(fileno=fd) for fd in fds]
                for end in ends:
                    os.set_inheritable(end.fileno(), False)
                with self._lock:
                    self._connected += 1
                threading.Thread(target=self._serve, args=(asked.dup(), *ends), daemon=True).start()
                listener.settimeout(None)

    def _lend(self, asked: socket.socket) -> None:
        """Give an end of the pipe whose last one ends this process, by the kernel, whatever it does then."""
        number = str(os.getpid()).encode()
        end = os.open(f"/proc/self/fd/{self._ends}", os.O_WRONLY | os.O_CLOEXEC)  # anew, so that it can be locked
        try:
            socket.send_fds(asked, [number], [end])
        finally:
            os.close(end)
            with self._lock:
                last, self._last = self._last, None
            if last is not None:
                os.close(last)
                hold(self._ends)

    def _serve(self, asked: socket.socket, end: socket.socket, memory: socket.socket) -> None:
        with end, memory:
            with asked, contextlib.suppress(OSError):  # it has just ended, and is found to have hung up
                self._lend(asked)
            serve(end, memory, self._holder)
            with self._lock:
                self._connected -= 1
                if not self._connected:
                    self._end()

    def _end(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), self._made):
                os.unlink(self._path)
        self._holder.close()
        os._exit(0)
