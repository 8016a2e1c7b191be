"""Values for another process of a run, where they cannot be kept: pickled, by value what has no name there."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

from motet.workflow.files import File

__all__ = ["packed", "paths_in", "unpacked"]


def packed(value: Any) -> bytes:
    """A value as bytes. Raises whatever pickling raises."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001  pickling a user's value may raise anything
        return _by_value(value)


def unpacked(data: bytes | memoryview) -> Any:
    """The inverse of `packed`. Raises whatever unpickling raises."""
    import multiprocessing  # which names the main module as processes of steps do  # noqa: F401

    return pickle.loads(data)


def paths_in(value: Any) -> list[str]:
    """The files and folders that a value names, in lists, tuples and dicts however deep; what nobody has written is none."""
    found, looked_into, left = list[str](), set[int](), [value]
    while left:
        each = left.pop()
        if isinstance(each, (list, tuple, dict)):
            if id(each) not in looked_into:  # one that holds itself is looked into once
                looked_into.add(id(each))
                left += reversed(list(each.values() if isinstance(each, dict) else each))
        elif isinstance(each, (Path, File)) and os.path.exists(each):
            found.append(os.fspath(each))
    return found


def _by_value(value: Any) -> bytes:
    import io

    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Takes the names of a main module that is a file for names: processes of steps load it."""

        def reducer_override(self, obj: Any) -> Any:
            return NotImplemented if _is_of_main(obj) else super().reducer_override(obj)

    file = io.BytesIO()
    Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def _is_of_main(value: Any) -> bool:
    main = sys.modules.get("__main__")
    if not isinstance(value, (type, FunctionType)) or value.__module__ != "__main__" or not hasattr(main, "__file__"):
        return False
    return getattr(main, value.__qualname__, None) is value
