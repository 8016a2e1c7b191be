"""Who is told how far a run is: whoever wants to know, or a line of our own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from motet.errors import InputError

__all__ = ["Progress", "followed"]

Progress = Callable[[int, int | None, int], None]
"""Called with the rows done, the rows there are (None when that is not known), and the rows failed."""


def followed(progress: Progress | bool | None) -> AbstractContextManager[Progress | None]:
    """What a run tells its progress, while it is entered.

    Args:
        progress: a function; or True for a line on standard error that changes, on a terminal and in a notebook, or else
            one every ten seconds; False and None for nobody.

    Raises:
        InputError: when it is something else.
    """
    if callable(progress):
        return nullcontext(progress)
    if progress is not None and not isinstance(progress, bool):
        raise InputError(f"progress must be a function, True or False; got {progress!r}")
    if not progress or sys.stderr is None:
        return nullcontext()
    if sys.stderr.isatty():
        from motet.system.progress_line import ProgressLine

        return ProgressLine()
    from motet.system.progress_log import ProgressCell, ProgressLog

    return ProgressCell() if _is_notebook() else ProgressLog()


def _is_notebook() -> bool:
    """Whether standard error is shown below a cell."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
