"""Finding the rows at fault: a batch that fails is halved until they stand alone."""

from __future__ import annotations

import re
import sysconfig
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import TypeVar

from motet.errors import GraphError, MissingExtraError, ModelFailedError, ModelLoadError, MotetError
from motet.graph.node import Fault

__all__ = ["Health", "describe", "isolate", "out_of_memory"]

T = TypeVar("T")

ALONE = 16
"""How many rows must have failed alone, and none succeeded, before a model is said to fail on everything."""
MESSAGE_LENGTH = 1000
_OWN = re.compile(r"[/\\]motet[/\\](runtime|nodes|graph|engines)[/\\]")
_ENDING = (GraphError, ModelLoadError, ModelFailedError, MissingExtraError)


@dataclass
class Health:
    """What a model or function has done so far: whether any row succeeded, and how many failed alone before that."""

    name: str
    succeeded: bool = False
    failed_alone: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def failed(self, error: Exception) -> None:
        """Count a row that failed alone.

        Raises:
            ModelFailedError: when nothing has ever succeeded and enough rows have failed.
        """
        with self.lock:
            self.failed_alone += 1
            hopeless = not self.succeeded and self.failed_alone >= ALONE
        if hopeless:
            raise ModelFailedError(
                f"{self.name} failed on each of the first {self.failed_alone} rows, alone and together; "
                f"the last error was {type(error).__name__}: {describe(error)}",
                hint="mend the model or what it is given; try one row with motet explain",
            ) from error


def isolate(
    run: Callable[[int, int], T],
    rows: int,
    health: Health,
    *,
    model: str = "",
    version: str = "",
    too_big: Callable[[int], None] | None = None,
) -> tuple[list[tuple[int, int, T]], list[Fault]]:
    """Run a function of the rows `first` to `end`; where it raises, halve them.

    Args:
        run: answers a stretch of rows.
        rows: how many rows there are.
        health: of what is run; ends a hopeless one.
        model: named in faults; the health's name when empty.
        version: named in faults.
        too_big: told how many rows did not fit into memory.

    Returns:
        (first, end, result) for each stretch that was answered, in order, and a fault for each row that was not.

    Raises:
        ModelFailedError: when everything fails.
        GraphError, ModelLoadError, MissingExtraError: as raised; no row is at fault for those.
    """
    segments: list[tuple[int, int, T]] = []
    faults: list[Fault] = []
    stack = [(0, rows)] if rows else []
    while stack:
        first, end = stack.pop()
        try:
            segments.append((first, end, run(first, end)))
            health.succeeded = True
        except _ENDING:
            raise
        except Exception as error:  # noqa: BLE001 (models and users' functions may raise anything)
            if out_of_memory(error) and too_big is not None:
                too_big(end - first)
            if end - first == 1:
                health.failed(error)
                faults.append(Fault(first, type(error).__name__, describe(error), model or health.name, version))
            else:
                middle = (first + end) // 2
                stack += [(middle, end), (first, middle)]
    return segments, faults


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the machine or on an accelerator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return (
        isinstance(error, RuntimeError)
        and re.search(r"out of memory|failed to allocate|bad_alloc", str(error), re.IGNORECASE) is not None
    )


def describe(error: BaseException) -> str:
    """What an error says, in one line, and where in the user's code it was raised."""
    text = error.what if isinstance(error, MotetError) else str(error)
    text = " ".join(text.split())[:MESSAGE_LENGTH]
    place = _users_place(error)
    return f"{text} ({place})" if place else text


def _users_place(error: BaseException) -> str:
    """The innermost line that is neither ours nor an installed package's."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if _is_users(frame):
            return f"{frame.f_code.co_filename}:{line}"
    return ""


def _is_users(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    installed = any(name.startswith(path) for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))
    return not installed and not name.startswith("<") and not _OWN.search(name) and "/motet/" not in name
