"""How many OpenMP threads the calls of one thread use: several calls side by side on as many cores, rather than each on all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

__all__ = ["OpenMP"]


class OpenMP:
    """The OpenMP libraries that are loaded in this process when it is made, which belong to scikit-learn and its like.

    Args:
        threads: how many threads a call uses.
    """

    def __init__(self, threads: int) -> None:
        found = import_module("threadpoolctl").ThreadpoolController().select(user_api="openmp")
        self._threads, self._libraries = threads, found.lib_controllers

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
