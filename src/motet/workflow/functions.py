"""Functions that workflows are made of: what stands around one, and where one is written."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from motet.errors import told_file

__all__ = ["FunctionWrapper", "attribute", "place_of"]


class FunctionWrapper:
    """What stands around a function of the user's, and is taken for it where code is compared.

    Attributes:
        function: the function.
        name: what the user calls it.
    """

    function: Callable[..., Any]
    name: str


def attribute(module: str, path: str) -> Any:
    """What a loaded module has under a path of names; None where there is none."""
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def place_of(function: Any) -> str:
    """A function by name, file and line: `train (models.py:12)`."""
    plain = inspect.unwrap(function) if callable(function) else function
    code = getattr(plain, "__code__", None)
    name = getattr(plain, "__name__", type(plain).__name__)
    return f"{name} ({told_file(code.co_filename)}:{code.co_firstlineno})" if code is not None else str(name)
