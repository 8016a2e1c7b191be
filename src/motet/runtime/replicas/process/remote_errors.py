"""Exceptions of a model's process, raised again in its parent.

The class is the same one where the parent has imported it. Nothing is imported for it: the parent of a process replica
may well do without the framework. Else it is a class of the same name made on the spot, under the nearest built-in
class that the exception's own was under, so that what is asked of exceptions here (is it a `MemoryError`? what is the
class called?) has the same answer.
"""

from __future__ import annotations

import builtins
import functools
import pickle
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from motet.batch import Array, column_type
from motet.nodes.hold import as_rows
from motet.portable import without_init
from motet.runtime.replicas.process.wire import Raised
from motet.tracebacks import said, users_place, written

__all__ = ["ProcessTraceback", "as_raised", "beyond_memory", "raised_again", "sendable"]

MAX_TEXT = 100_000
MAX_TRACE = 20_000
_PLAIN = (type(None), bool, int, float, str, bytes)
_ITEMS = 1000


class ProcessTraceback(Exception):
    """Where an exception was raised in a replica's process: the cause of the one that is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def as_raised(error: BaseException) -> Raised:
    """An exception as a message."""
    kind = type(error)
    base = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    trace = written("".join(traceback.format_exception(error)))
    return Raised(
        kind.__module__,
        kind.__qualname__,
        base.__name__,
        said(error)[:MAX_TEXT],
        _state(error),
        users_place(error),
        trace if len(trace) <= MAX_TRACE else f"...{trace[-MAX_TRACE:]}",
    )


def raised_again(raised: Raised) -> Exception:
    """The exception of a message; its cause is the traceback of the other process."""
    error = _same(raised) or _stand_in(raised.module, raised.name, raised.base)(raised.text)
    error.__cause__ = ProcessTraceback(raised.trace)
    error.users_place = raised.place  # type: ignore[attr-defined]
    return error


class Sent:
    """Stands for an exception in what is pickled: where that is read, the exception is made again."""

    def __init__(self, error: BaseException) -> None:
        self._raised = as_raised(error)

    def __reduce__(self) -> Any:
        return raised_again, (self._raised,)


def sendable(value: Any, rows: int) -> Any:
    """What a model gave for so many rows, as a list or an array, with something in the place of exceptions that can be sent."""
    if type(value) is not np.ndarray:
        value = as_rows(value, rows)
    if not isinstance(value, (list, tuple)) and not (isinstance(value, np.ndarray) and value.dtype.kind == "O"):
        return value
    if not any(issubclass(kind, BaseException) for kind in {*map(type, value)}):
        return value
    return [Sent(each) if isinstance(each, BaseException) else each for each in value]


def beyond_memory(error: MemoryError, columns: Mapping[str, Array], limit_bytes: int) -> MemoryError:
    """A `MemoryError` of a process that may take so many bytes, as it is told to those who can mend it.

    Args:
        error: what the model raised.
        columns: what it was called with, arrays `[rows, ...]` by name.
        limit_bytes: the most memory that its process may take.
    """
    rows = len(next(iter(columns.values()), ()))
    given = ", ".join(f"{name}: {column_type(column)}" for name, column in columns.items())
    made = MemoryError(
        f"{rows} {'row' if rows == 1 else 'rows'} of {given} need more memory than the {limit_bytes / 2**20:,.0f} MiB that "
        "the model's process may take (resources: {memory: ...}); allow it more, or take such rows apart with a shard. "
        f"The model said: {error}"
    )
    made.__cause__ = error.__cause__
    made.users_place = getattr(error, "users_place", "")  # type: ignore[attr-defined]
    return made


def _same(raised: Raised) -> Exception | None:
    """An exception of the same class that says the same, if there can be one."""
    found: Any = sys.modules.get(raised.module)
    for name in raised.name.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, type) or not issubclass(found, Exception) or not raised.state:
        return None
    args, attributes = pickle.loads(raised.state)
    for make in (without_init, lambda kind, args: kind(*args)):
        with suppress(Exception):
            made = make(found, args)
            made.__dict__.update(attributes)
            if type(made) is found and said(made) == raised.text:
                return made
    return None


@functools.lru_cache(maxsize=256)
def _stand_in(module: str, name: str, base: str) -> type[Exception]:
    above = getattr(builtins, base, Exception)
    if not isinstance(above, type) or not issubclass(above, Exception) or issubclass(above, BaseExceptionGroup):
        above = Exception
    body = {
        "__module__": module, "__init__": _init, "__str__": lambda self: self.text, "__doc__": "Raised elsewhere.",
        "__reduce__": lambda self: (_stood_in, (module, name, base, self.text), vars(self)),
    }  # fmt: skip
    return type(name.rpartition(".")[2], (above,), body)


def _stood_in(module: str, name: str, base: str, text: str) -> Exception:
    """A stand-in that was pickled; its class is made where it arrives."""
    return _stand_in(module, name, base)(text)


def _init(self: Any, text: str) -> None:
    self.args, self.text = (text,), text


def _state(error: BaseException) -> bytes:
    try:
        reduced = error.__reduce__()
        args = (
            reduced[1] if isinstance(reduced, tuple) and reduced[0] is type(error) else error.args
        )  # OSError has more
        state = (args, {name: value for name, value in vars(error).items() if name != "__notes__"})
        return pickle.dumps(state) if _is_plain(state) else b""
    except Exception:  # noqa: BLE001 (the exception is a model's own, and what it is made of with it)
        return b""


def _is_plain(value: Any, depth: int = 4) -> bool:
    """Whether a value is made of nothing but plain ones, so that it needs no class to be there."""
    if type(value) in _PLAIN:
        return not isinstance(value, (str, bytes)) or len(value) <= MAX_TEXT
    if not depth or type(value) not in (tuple, list, dict) or len(value) > _ITEMS:
        return False
    items = [*value.keys(), *value.values()] if type(value) is dict else value
    return all(_is_plain(item, depth - 1) for item in items)
