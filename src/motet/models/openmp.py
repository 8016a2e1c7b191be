"""How many OpenMP threads the calls of one thread use: several calls side by side on as many cores, rather than each on all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["OpenMP"]


@cache
def _libraries() -> Sequence[Any]:
    """The OpenMP libraries of this process when it has imported scikit-learn, whose is among them."""
    libraries: Sequence[Any] = (
        import_module("threadpoolctl").ThreadpoolController().select(user_api="openmp").lib_controllers
    )
    return libraries


class OpenMP:
    """How many threads calls use that are made with OpenMP.

    Args:
        threads: how many threads a call uses.
    """

    def __init__(self, threads: int) -> None:
        self._threads, self._libraries = threads, _libraries()

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Calls that this thread makes meanwhile use so many; OpenMP keeps the number for each thread that calls."""
        before = [(library, library.get_num_threads()) for library in self._libraries]
        for library in self._libraries:
            library.set_num_threads(self._threads)
        try:
            yield
        finally:
            for library, threads in before:
                library.set_num_threads(threads)
