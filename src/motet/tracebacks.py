"""What can be said of an exception of code that is not ours: its text, its place, and whether it must end the program."""

from __future__ import annotations

import os
import signal
import sysconfig
import threading
import traceback
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from motet.errors import MotetError, told_file

__all__ = ["describe", "ends_program", "keeping", "kept", "said", "summary", "users_place", "written"]

MESSAGE_LENGTH = 1000
_READ_ONLY = ("array is read-only", "destination is read-only", "cannot modify read-only memory")
"""How what numpy, pandas and Python say ends where memory is written to that is not to be."""
_OWN = str(Path(__file__).parent) + os.sep
_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


_KEPT: ContextVar[list[BaseException] | None] = ContextVar("motet_kept_exceptions", default=None)
MOST_KEPT = 100
"""Exceptions of a call that are kept: each holds the frames that it came through, and what is in them."""


class keeping:  # noqa: N801 (used as a function is)
    """While it lasts, exceptions of rows are kept, here and in threads that this context is handed to."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _KEPT.set([])

    def __exit__(self, *error: object) -> None:
        _KEPT.reset(self._token)


def kept(error: BaseException) -> BaseException | None:
    """An error, if it is to be kept."""
    found = _KEPT.get()
    if found is None or len(found) >= MOST_KEPT:
        return None
    found.append(error)
    return error


def said(error: BaseException) -> str:
    """What an error says, also where its own text cannot be had, or holds lone surrogates, which nobody can write."""
    try:
        return written(str(error))
    except BaseException as broken:  # noqa: BLE001 (the error is of code that is not ours)
        return f"its own text cannot be had: {type(broken).__name__}"


def written(text: str) -> str:
    """A text that any encoding knows: lone surrogates as their escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def summary(error: BaseException) -> str:
    """What an error is and says: `KeyError: 'x'`."""
    return f"{type(error).__name__}: {said(error)}"


def ends_program(error: BaseException) -> bool:
    """Whether an error came from outside, by a signal, and not from the code that was running: it must end what runs.

    Signals raise in the main thread alone. Python's own handler of Ctrl-C cannot be told from code that raises
    `KeyboardInterrupt` itself; a handler written in Python is found among the lines that the error came through.
    """
    if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
        return False
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)]
    if isinstance(error, KeyboardInterrupt) and handlers[0] is signal.default_int_handler:
        return True
    codes = {getattr(_function_of(handler), "__code__", None) for handler in handlers} - {None}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _function_of(handler: Any) -> Any:
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__func__", handler)


def describe(error: BaseException) -> str:
    """What an error says, in one line, and where in the user's code it was raised."""
    text = written(error.what) if isinstance(error, MotetError) else said(error)
    text = " ".join(text.split())[:MESSAGE_LENGTH]
    if text.endswith(_READ_ONLY):
        text += "; what is given is shared, so change a copy of it: x = x.copy()"
    place = users_place(error)
    return f"{text} ({place})" if place else text


def users_place(error: BaseException) -> str:
    """The innermost line that is neither ours nor an installed package's, `file:line`, or empty.

    An exception of another process says so itself, in an attribute `users_place`.
    """
    told = getattr(error, "users_place", None)
    if isinstance(told, str):
        return told
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if _is_users(frame):
            return f"{told_file(frame.f_code.co_filename)}:{line}"
    return ""


def _is_users(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith(("<", _OWN, *_INSTALLED))
