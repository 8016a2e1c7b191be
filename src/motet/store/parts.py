"""What a version is made of: its files, its signature, its functions, and what is said of it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import posixpath
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motet.errors import InputError
from motet.graph.function import Function, as_functions, write_functions
from motet.models.folders import folder_rule
from motet.models.handler import ModelSource
from motet.models.registry import find_handler, known_suffixes
from motet.system.folders import files_below
from motet.types import Signature

__all__ = ["Files", "as_json", "code_of", "files_of", "signature_of", "written"]

Files = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]]
"""A file or folder; or several files by their paths in the version, the model's own first."""


def files_of(files: Files, handler: str) -> dict[str, Path]:
    """The files of a model by their paths in the version, its own first."""
    if isinstance(files, Mapping):
        found = {str(path): Path(source) for path, source in files.items()}
        if not found:
            raise InputError("no file is given", hint="give the model's file first")
    else:
        source = Path(files)
        rule = folder_rule(find_handler(f"{handler}:{source}")[0]) if handler else None
        if rule is not None and source.exists():
            folder = rule.folder(str(source))
            return files_of({name: Path(folder, name) for name in rule.local(folder)}, handler)
        if source.is_dir():
            return files_of(_of_folder(source), handler)
        found = {source.name: source}
        loader = find_handler(f"{handler}:{source}" if handler else str(source))[0]
        companions = getattr(loader, "companions", None)
        if companions is not None and source.is_file():
            found |= {other: source.parent / other for other in companions(str(source))}
    for path, source in found.items():
        plain = posixpath.normpath(path)
        if plain != path or posixpath.isabs(path) or plain.split("/")[0] == ".." or re.search(r"[\x00-\x1f\\]", path):
            raise InputError(f"{path!r} is no path inside a version", hint="use a relative path with slashes")
        if not source.is_file():
            raise InputError(f"there is no file {source}", hint="check the path")
    return found


def _of_folder(folder: Path) -> dict[str, Path]:
    """The files of a folder by their paths in it; the model's own is the only one at its top that a handler knows."""
    try:
        found = {name: Path(path) for name, path in files_below(str(folder)).items() if not name.endswith("/")}
    except OSError as error:
        hint = "see that it may be read, and that no link in the folder leads round in a circle"
        raise InputError(f"{error.filename} cannot be read: {error.strerror}", hint=hint) from error
    top = [name for name in found if "/" not in name]
    own = [name for name in top if Path(name).suffix.lower() in known_suffixes()]
    own = ["saved_model.pb"] if "saved_model.pb" in own else own
    if len(own) != 1:
        told = f"{len(own)} models at its top: {', '.join(own)}" if own else "no model at its top"
        hint = "give its files by name, the model's own first: {'model.onnx': PATH, ...}"
        raise InputError(f"the folder {folder} has {told}", hint=hint)
    return {own[0]: found.pop(own[0]), **found}


def signature_of(name: str, path: Path, handler: str) -> Signature:
    """What the model says of itself; nothing where its format does not."""
    loader, location = find_handler(f"{handler}:{path}" if handler else str(path))
    if loader.runs_code and not location.endswith(getattr(loader, "safe_suffixes", ())):
        return Signature({}, {})  # to look would be to run what it carries
    return loader.signature(ModelSource(name, location))


def written(functions: Any, what: str) -> list[Any]:
    """Functions as graphs write them."""
    given = write_functions(as_functions(functions), what)
    return given if isinstance(given, list) else [given]


def code_of(functions: Sequence[Function]) -> dict[str, str]:
    """Digests of what functions do, by import path: so that a model is not served with others than it was trained with.

    Counts the source of each function itself, without comments and docstrings; not that of others it calls. Functions of
    motet, and those whose source is not there, are left out. Before each digest is the version of Python: those of
    different versions cannot be compared.
    """
    found = {}
    for function in functions:
        if function.path and not function.path.startswith("motet."):
            try:
                source = textwrap.dedent(inspect.getsource(inspect.unwrap(function.resolve())))
                tree = ast.parse(source)
            except (OSError, TypeError, SyntaxError, ValueError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node):
                    del node.body[0]
            python = f"{sys.version_info.major}.{sys.version_info.minor}"  # each writes trees in its own way
            found[function.path] = f"{python}:{hashlib.sha256(ast.dump(tree).encode()).hexdigest()}"
    return found


def as_json(said: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What can be written as JSON and read again."""
    try:
        found: dict[str, Any] = json.loads(json.dumps(said, allow_nan=False, default=_number))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what} cannot be written as JSON: {error}", hint="give numbers, texts, lists and mappings"
        ) from error
    return found


def _number(value: Any) -> Any:
    """Numbers of numpy as Python's own."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
