"""The standard streams of a program that must end its work though nobody listens.

One that is closed would give its number to the first file that is opened, and what a library prints would go there. A
pipe that nobody reads would stop whoever writes a warning, for ever.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import TextIO

from motet.errors import InputError
from motet.locks import new_lock

__all__ = ["STANDARD_OUTPUT", "only_output", "open_streams", "output_number", "ready"]

STANDARD_OUTPUT = ("-", "/dev/stdout")
"""How standard output is spelled."""
_output = 1

WAIT_S = 5.0
"""How long a reader of standard error may leave it full before what is said to it is dropped."""


def open_streams() -> None:
    """Let the numbers of closed standard streams be nobody's, and let standard error and odd names stop nothing."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.stderr is not None:
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Patient(sys.stderr.fileno())), sys.stderr.encoding, "backslashreplace",
            line_buffering=True, write_through=True,
        )  # fmt: skip


@contextlib.contextmanager
def only_output(output: str) -> Iterator[None]:
    """Let nothing else go to standard output where that is what is written to: what is printed goes to standard error.

    One at a time, for the streams are the process's.

    Args:
        output: a path, or how standard output is spelled.

    Raises:
        InputError: when standard output is closed.
    """
    global _output
    if output not in STANDARD_OUTPUT:
        yield
        return
    if sys.stdout is None:
        raise InputError("standard output is closed", where=output, hint="write to a file")
    sys.stdout.flush()
    _output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(_output, 1)
        os.close(_output)
        _output = 1


def output_number() -> int:
    """The descriptor of standard output, also while nothing else may go there."""
    return _output


def ready(stream: int | TextIO, timeout_s: float | None = None) -> bool:
    """Whether a few lines can be written without waiting for a reader longer than that.

    Args:
        stream: its number, or the stream; one that has no number is always ready.
        timeout_s: how long to wait, in seconds; None is `WAIT_S`.
    """
    poll = select.poll()
    try:
        poll.register(stream, select.POLLOUT)
    except (OSError, ValueError):
        return True
    return bool(poll.poll((WAIT_S if timeout_s is None else timeout_s) * 1000))


class _Patient(io.RawIOBase):
    """Writes to a descriptor; drops what cannot be written in time, and says so as soon as something can be.

    Args:
        fd: the descriptor; it is not closed.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._dropped, self._lock = fd, 0, new_lock()

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        """Write, or drop, all of it."""
        left = memoryview(data)
        with self._lock, contextlib.suppress(OSError):  # who reads it is gone, or its disk is full
            while left and ready(self._fd, 0 if self._dropped else None):
                if self._dropped:
                    os.write(self._fd, f"[{self._dropped:,} bytes were left out: nobody read them]\n".encode())
                    self._dropped = 0
                left = left[os.write(self._fd, left[: select.PIPE_BUF]) :]
        self._dropped += len(left)
        return len(data)
