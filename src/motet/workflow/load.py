"""Loading the module of a step where another process has wired it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import FunctionType, ModuleType

from motet.errors import InputError

__all__ = ["load_module", "loading", "run_file"]

loading: list[str] = []
"""The files that are loaded just now for a step: a run that begins meanwhile would load them again, without end."""


def load_module(name: str, file: str) -> ModuleType:
    """The module of a name; one that ran as a script, or cannot be imported by name, from its file.

    Raises:
        InputError: when there is no such module and no such file.
    """
    if name != "__main__":
        if name in sys.modules:
            return sys.modules[name]
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0] and error.name != name:
                raise
    if not os.path.isfile(file):
        raise InputError(f"no module {name!r}", where=file or name, hint="define steps in a file, not in a shell")
    loading.append(file)
    try:
        # pickles look for classes of a script in the main module
        module = run_file(file, *(("__mp_main__", "__main__") if name == "__main__" else (name,)))
    finally:
        loading.pop()
    if name == "__main__":
        _call_main(module)
    return module


def run_file(file: str, *names: str) -> ModuleType:
    """The module that a file makes, under some names. Raises whatever the file raises."""
    spec = importlib.util.spec_from_file_location(names[0], file)
    assert spec is not None, "a file that ends in .py can be imported"
    assert spec.loader is not None, "and has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules.update(dict.fromkeys(names, module))
    spec.loader.exec_module(module)
    return module


def _call_main(module: ModuleType) -> None:
    """Let a script, and what it defines, be called what it is called where it runs, now that its guard is passed."""
    things, known = [module, *vars(module).values()], module.__name__
    for each in things:
        if isinstance(each, (type, FunctionType)) and each.__module__ == known:
            each.__module__ = "__main__"
            things += vars(each).values()
    module.__name__ = "__main__"
