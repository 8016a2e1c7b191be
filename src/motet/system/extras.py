"""Packages that an extra brings, imported when something needs them."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from motet.errors import MissingExtraError

__all__ = ["imported"]


_BEFORE = {"tensorflow": ("triton", "_C/libtriton*.so"), "keras": ("triton", "_C/libtriton*.so")}
"""Libraries of another package that must be loaded before a module, and by which pattern they are found in it.

Both TensorFlow and Triton, which PyTorch imports, have LLVM in them: whoever has TensorFlow first ends by a segmentation fault where
it imports the other.
"""


def imported(module: str, package: str, extra: str, needed_for: str) -> Any:
    """Import what an extra brings.

    Args:
        module: what is imported.
        package: what it is called where packages are had from.
        extra: the extra of Motet that has it.
        needed_for: what needs it, for the message.

    Raises:
        MissingExtraError: when it is not installed; names the command that installs it.
        ImportError: when it is, and something that it imports itself is not.
    """
    if module in _BEFORE and module not in sys.modules:
        _load(*_BEFORE[module])
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == module.split(".")[0]:
            raise MissingExtraError(package, extra, needed_for) from error
        raise


def _load(package: str, pattern: str) -> None:
    """Load a library of a package, where that is installed and has it; the package itself is not imported."""
    found = importlib.util.find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        for path in Path(folder).glob(pattern):
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(path))
