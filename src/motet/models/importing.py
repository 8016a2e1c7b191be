"""What is imported by name, `pkg.mod:Name`, to be a model."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from motet.errors import ModelLoadError, UnknownNameError
from motet.graph.fields import show
from motet.models.common import load_error, place
from motet.models.handler import ModelSource
from motet.system.places import current_folder
from motet.system.secrets import without_secrets
from motet.tracebacks import ends_program, summary

__all__ = ["code_file", "file_of", "find", "made_with"]


def code_file(location: str) -> str | None:
    """The file of its module, as a process of its own would import it; None where there is none."""
    try:
        spec = importlib.util.find_spec(location.partition(":")[0])
    except (ImportError, AttributeError, ValueError):
        return None
    return None if spec is None or spec.origin is None or not os.path.isfile(spec.origin) else spec.origin


def find(source: ModelSource, scheme: str) -> Any:
    """What the location of a model names, imported.

    Raises:
        ModelLoadError: when it cannot be imported.
        UnknownNameError: when the module has no such name.
    """
    module_name, _, path = source.location.partition(":")
    if not module_name or not path:
        raise load_error(source, "it names no object in a module", f"write {scheme}:pkg.mod:Name")
    module = _module(module_name, source)
    found, within = module, module_name
    for name in path.split("."):
        if not hasattr(found, name):
            known = tuple(key for key in vars(found) if not key.startswith("_")) if hasattr(found, "__dict__") else ()
            file = getattr(module, "__file__", None) or "built in"
            raise UnknownNameError(f"name in {within} ({file})", name, known, where=place(source))
        found, within = getattr(found, name), f"{within}.{name}"
    return found


def _module(name: str, source: ModelSource) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            what = f"importing {name} failed: it needs the module {error.name!r}, which is not installed"
            raise load_error(source, what, f"install {error.name}") from error
        raise _no_module(error.name, source) from error
    except BaseException as error:
        if ends_program(error):
            raise
        what = f"importing {name} failed: {summary(error)}"
        raise load_error(source, what, f"mend the module; `python -c 'import {name}'` shows where it fails") from error


def _no_module(name: str, source: ModelSource) -> ModelLoadError:
    parent, _, _ = name.rpartition(".")
    places = (
        list(getattr(sys.modules.get(parent), "__path__", ()))
        if parent
        else [item or current_folder() or "/" for item in sys.path]
    )
    known = tuple(sorted(item.name for item in pkgutil.iter_modules(places)))
    unknown = UnknownNameError("module", name.rpartition(".")[2], known)
    inside = f" in package {parent}" if parent else ""
    hint = "make it importable: install its package, or run where it is, or set PYTHONPATH"
    return load_error(source, f"{unknown.what.partition(';')[0]}{inside};{unknown.what.partition(';')[2]}", hint)


def made_with(found: Callable[..., Any], options: Mapping[str, Any], source: ModelSource) -> Any:
    """What a class, or a function, makes of options.

    Raises:
        ModelLoadError: when it fails.
    """
    try:
        return found(**options)
    except BaseException as error:
        if ends_program(error):
            raise
        given = ", ".join(f"{name}={show(value)}" for name, value in without_secrets(options).items())
        what = f"{getattr(found, '__qualname__', source.location)}({given}) failed: {summary(error)}"
        raise load_error(
            source, what, f"it is in {file_of(found)}; its options are under `with:` of the model"
        ) from error


def file_of(found: Any) -> str:
    """Where a function or a class is written."""
    code = inspect.unwrap(found.func if isinstance(found, partial) else found)
    try:
        return f"{inspect.getsourcefile(code)}:{inspect.getsourcelines(code)[1]}"
    except (OSError, TypeError):
        return str(getattr(code, "__module__", "a built-in module"))
