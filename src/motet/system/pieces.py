"""Texts that are given piece by piece while a model writes them, to whoever listens to the call that asks for them.

A model answers as ever, whether or not anybody listens. One that has a text before its end asks `saying("text")`, for its output of
that name, once a row; where that is a function it is given each piece, and what it raises ends the writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Say", "heard", "saying"]

Say = Callable[[str], None]
"""Takes the next piece of a text. Raises `DeadlineError` where nobody waits for more of it."""

_LISTENING: ContextVar[Mapping[str, Callable[[], Say]]] = ContextVar("motet_listening", default={})  # noqa: B039 (never changed)


def saying(output: str) -> Say | None:
    """What takes the pieces of the one row that a model is called with; None where nobody listens.

    The text begins anew each time that this is asked: what has been said of it is not said again.

    Args:
        output: of the model.
    """
    begin = _LISTENING.get().get(output)
    return None if begin is None else begin()


@contextmanager
def heard(listeners: Mapping[str, Callable[[], Say]]) -> Iterator[None]:
    """While it lasts, what a model says here is heard: each output by what begins its text."""
    token = _LISTENING.set(listeners)
    try:
        yield
    finally:
        _LISTENING.reset(token)
