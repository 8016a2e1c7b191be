"""Modules of an example, which lie beside it and are in no package."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["importable"]


@contextmanager
def importable(folders: Sequence[Path], modules: Sequence[str]) -> Iterator[None]:
    """Modules of these folders can be imported, and are forgotten before and after: examples have modules of the same names."""
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        _forget(modules)
        yield
    finally:
        sys.path[:] = before
        _forget(modules)


def _forget(modules: Sequence[str]) -> None:
    for name in modules:
        sys.modules.pop(name, None)
